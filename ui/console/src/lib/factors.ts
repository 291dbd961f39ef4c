// What somebody shows to sign in, and how the browser makes and uses passkeys.
import { path, post, Problem } from './api';

export type Way = 'totp' | 'passkey' | 'recovery-code' | 'password' | 'mail-code';

export interface Shown {
  totp?: string;
  recoveryCode?: string;
  mailCode?: string;
  passkey?: unknown;
  password?: string;
}

export interface PendingSignIn {
  factors: Way[];
  expires: string;
}

export interface Factor {
  id: string;
  name: string;
  created: string;
  lastUsed: string | null;
}

export interface Passkey extends Factor {
  host: string;
  synced: boolean;
}

export interface Factors {
  password: boolean;
  totp: Factor | null;
  passkeys: Passkey[];
  recoveryCodes: { left: number; of: number; created: string | null };
  passkeysHere: boolean;
}

export interface NewTOTP {
  secret: string;
  typed: string;
  uri: string;
  qr: string[];
  expires: string;
}

export interface Enrolled {
  factor: Factor;
  recoveryCodes: string[];
}

export interface SessionShown {
  id: string;
  device: string;
  agent: string;
  address: string;
  method?: string;
  created: string;
  seen: string;
  ends: string;
  current: boolean;
}

export interface SignIn {
  at: string;
  outcome: 'ok' | 'failed';
  method: string;
  address: string;
  device: string;
  newDevice: boolean;
}

const words: Record<string, string> = {
  password: 'Password',
  'password+totp': 'Password and code',
  'password+recovery-code': 'Password and recovery code',
  'password+passkey': 'Password and passkey',
  passkey: 'Passkey',
  sso: 'Single sign-on',
  'sso+mfa': 'Single sign-on with a second factor',
  'sso+totp': 'Single sign-on and code',
  'sso+recovery-code': 'Single sign-on and recovery code',
  'sso+mail-code': 'Single sign-on and code by mail',
  'sso+passkey': 'Single sign-on and passkey',
  'setup-link': 'Setup link',
  invite: 'Invite',
  'password+mail-code': 'Password and code by mail',
};

export const methodText = (method = '') => words[method] ?? method;

// The browser's dialog was closed, or there was nothing in it to choose.
function refused(cause: unknown): never {
  if (cause instanceof DOMException && cause.name === 'NotAllowedError') {
    throw new Problem(0, 'No passkey was used', 'The browser’s dialog was closed or took too long. Try again.', 'passkey-dismissed');
  }
  if (cause instanceof DOMException && cause.name === 'InvalidStateError') {
    throw new Problem(0, 'It has one already', 'This device already has a passkey for this account.', 'passkey-exists');
  }
  throw new Problem(0, 'Passkeys do not work here', cause instanceof Error ? cause.message : String(cause), 'passkey-failed');
}

export const passkeysWork = () => typeof PublicKeyCredential !== 'undefined' && 'parseRequestOptionsFromJSON' in PublicKeyCredential;

// usePasskey asks the browser for a passkey that answers the options found at the address.
export async function usePasskey(...address: string[]): Promise<unknown> {
  const { publicKey } = await post<{ publicKey: PublicKeyCredentialRequestOptionsJSON }>(path(...address));
  const found = await navigator.credentials
    .get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(publicKey) })
    .catch(refused);
  return (found as PublicKeyCredential).toJSON();
}

// makePasskey has the browser make a passkey for who is signed in.
export const makePasskey = () => newPasskey(undefined, 'session', 'factors', 'passkeys', 'options');

// newPasskey has the browser make a passkey that answers the options found at the address.
export async function newPasskey(body: unknown, ...address: string[]): Promise<unknown> {
  const { publicKey } = await post<{ publicKey: PublicKeyCredentialCreationOptionsJSON }>(path(...address), body);
  const made = await navigator.credentials
    .create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(publicKey) })
    .catch(refused);
  return (made as PublicKeyCredential).toJSON();
}

// squares draws the rows of a QR code as one path, a module one unit wide.
export function squares(rows: string[]): string {
  return rows.flatMap((row, y) => [...row.matchAll(/1+/g)].map((run) => `M${run.index} ${y}h${run[0].length}v1h-${run[0].length}z`)).join('');
}

// deviceGuess names a new passkey by the system that the browser is on.
export function deviceGuess(agent: string): string {
  const found = [/iPhone/, /iPad/, /Android/, /CrOS/, /Windows/, /Mac OS X/, /Linux/].find((system) => system.test(agent));
  const names: Record<string, string> = { CrOS: 'Chromebook', 'Mac OS X': 'Mac', Linux: 'Linux computer', Windows: 'Windows computer', Android: 'Android phone' };
  return found ? (names[found.source] ?? found.source) : 'This device';
}
