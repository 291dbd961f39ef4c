// The JSON of /api/v1/keys, and the words for it.
import { plural, span } from './format';

export interface Slot {
  id: string;
  kind: string;
  created: string | null;
  proven: string | null;
  unattended: boolean;
  damaged: boolean;
  recipient?: string;
  set?: string;
  need?: number;
  of?: number;
}

export interface HeldCopy {
  name: string;
  made: string;
  serial: number;
  size: number;
  until: string | null;
}

export interface CopyTarget {
  target: string;
  url: string;
  state: 'current' | 'behind' | 'failed';
  newest: HeldCopy | null;
  held: HeldCopy[];
  checked: string | null;
  error: string;
  oldest: string | null;
}

export interface CopyState {
  id: string;
  horizonSeconds: number;
  targets: CopyTarget[];
}

// What is wrong with the keys; the doctor's findings (recovery.ts) have another shape.
export interface KeyFinding {
  id: string;
  severity: 'info' | 'warning' | 'critical';
  text: string;
  fix: string;
}

export interface KeysStatus {
  root: string;
  slots: Slot[];
  ring: { serial: number; owners: number; states: Record<string, number>; purposes: Record<string, number> };
  copies: CopyState;
  findings: KeyFinding[];
}

export interface KeyEntry {
  owner: string;
  name: string;
  purpose: string;
  generation: number;
  state: string;
  created: string;
  changed: string;
  fingerprint: string;
  needed?: string;
  seals?: number;
  bound?: number;
}

// How often a key sealed, where that is counted and what it seals is open, and the
// share of what it may.
export function sealsText(entry: KeyEntry): string {
  if (!entry.bound) return '';
  const share = (100 * (entry.seals ?? 0)) / entry.bound;
  return `${(entry.seals ?? 0).toLocaleString('en')} (${share < 0.1 ? 'under 0.1' : share.toFixed(1)} %)`;
}

export interface AddedSlot {
  id: string;
  kind: string;
  proven: boolean;
  challenge?: string;
  shares?: string[];
}

export interface NewRecovery {
  id: string;
  recoveryKey: string;
  replaces: string[];
}

export interface NewRoot {
  id: string;
  slots: string[];
  ended: string[];
  recoveryKey: string;
  shares: string[];
}

export interface Gathered {
  set: string;
  have: number;
  need: number;
  of: number;
}

export interface UnsealWays {
  kinds: string[];
  shares: Gathered[];
  wrong: number;
  waitSeconds: number;
}

const kinds: Record<string, string> = {
  'key-file': 'Key file',
  passphrase: 'Passphrase',
  recovery: 'Recovery key',
  credential: 'Credential of the service manager',
  age: 'age identity',
  shares: 'Shares',
  damaged: 'Damaged',
};

export const kindText = (slot: Pick<Slot, 'kind' | 'need' | 'of'>): string =>
  slot.kind === 'shares' && slot.need ? `Shares, ${slot.need} of ${slot.of}` : (kinds[slot.kind] ?? slot.kind);

// The horizon in words: whole days where it can be.
export const horizon = (seconds: number): string => (seconds > 0 && seconds % 86400 === 0 ? plural(seconds / 86400, 'day') : span(seconds));

// How a secret of that kind is called in the body of an unseal or a proof.
export const secretField: Record<string, string> = { passphrase: 'passphrase', recovery: 'recoveryKey', age: 'ageIdentity', shares: 'share' };
