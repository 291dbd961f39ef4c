// How a tenant's own users sign in.
export interface UserPolicy {
  collection?: string;
  totp: boolean;
  passkeys: boolean;
  secondFactor: 'enrolled' | 'always';
  origins: string[];
  keepUnproven: boolean;
  password: { minLength: number; refuseCommon: boolean; minBits: number; history: number };
  sessions: { tokenSeconds: number; maxAgeSeconds: number; endOnChange: boolean };
  attempts: { account: number; address: number; longestWait: number };
}

export interface UserFactor {
  id: string;
  kind: 'totp' | 'passkey';
  name: string;
  host?: string;
  created: string;
  lastUsed: string | null;
}

export interface UserFactors {
  items: UserFactor[];
  recoveryCodes: number;
}

const span = (seconds: number): string => {
  const units: [number, string][] = [
    [86400, 'day'],
    [3600, 'hour'],
    [60, 'minute'],
    [1, 'second'],
  ];
  const [size, name] = units.find(([size]) => seconds % size === 0) ?? [1, 'second'];
  return `${seconds / size} ${name}${seconds === size ? '' : 's'}`;
};

export interface PolicyLine {
  tone: 'ok' | 'warn' | 'info';
  text: string;
}

// tell says what a policy means, the way a tired person reads it.
export function tell(p: UserPolicy): PolicyLine[] {
  const lines: PolicyLine[] = [];
  const kinds = [p.totp && 'an authenticator app', p.passkeys && 'a passkey'].filter(Boolean).join(' or ');
  if (!kinds) lines.push({ tone: 'warn', text: 'A password alone is enough to sign in, as in PocketBase itself.' });
  else if (p.secondFactor === 'always') lines.push({ tone: 'ok', text: `Everybody needs a second factor. Who has none adds ${kinds} while signing in.` });
  else lines.push({ tone: 'ok', text: `Users may add ${kinds}. Who has done so needs it each time.` });
  if (p.passkeys) lines.push({ tone: 'info', text: 'A passkey alone signs in, too: it is both factors.' });
  if (p.password.minLength || p.password.minBits || p.password.refuseCommon) lines.push({ tone: 'ok', text: 'Weak passwords are refused when they are set; those that users have already stay.' });
  if (p.password.history) lines.push({ tone: 'ok', text: `The last ${p.password.history} passwords cannot be used again.` });
  if (p.keepUnproven) lines.push({ tone: 'warn', text: 'Who signs up first with somebody else’s address keeps the password once its owner verifies it.' });
  else lines.push({ tone: 'ok', text: 'Verifying an address drops a password from before, unless the app sends it, or a token, along.' });
  if (p.sessions.maxAgeSeconds) lines.push({ tone: 'ok', text: `Everybody signs in again after ${span(p.sessions.maxAgeSeconds)}.` });
  else lines.push({ tone: 'info', text: 'Who keeps coming back stays signed in for ever.' });
  if (p.attempts.account) lines.push({ tone: 'ok', text: `After ${p.attempts.account} failed tries an account waits, for up to ${span(p.attempts.longestWait)}.` });
  else lines.push({ tone: 'warn', text: 'An account can be guessed at without limit.' });
  return lines;
}
