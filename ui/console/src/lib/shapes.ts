// The JSON that the control plane speaks (see /api/v1/openapi.json).
import type { UnsealWays } from './custody';

export interface Status {
  version: string;
  setupNeeded: boolean;
  sealed: boolean;
  domain: string;
  insecure: boolean;
  unseal?: UnsealWays;
}

export interface Grant {
  role: string;
  scope: string;
  permissions?: string[]; // what the role allows there
  until?: string;
  glass?: boolean; // came of an access request: each use is recorded
}

export interface Person {
  id: string;
  email: string;
  name: string;
}

export interface Me {
  person: Person | null;
  grants: Grant[];
  permissions: string[];
  factor?: { due: string; overdue: boolean }; // a second factor that is still to be enrolled
  profile?: { language: string; timeZone: string };
  passwordDue?: boolean; // it is too old: nothing else is open before a new one
}

export interface Operator extends Person {
  role?: string;
  state?: string;
  grants?: Grant[];
  created?: string;
  lastSignIn?: string | null;
}

export interface Page<T> {
  items: T[];
  page: number;
  perPage: number;
  totalItems: number;
}

export interface Environment {
  name: string;
  url: string;
  state: string;
}

export interface Tenant {
  id: string;
  slug: string;
  name: string;
  state: 'live' | 'parked' | 'destroyed';
  created: string;
  parkedUntil?: string;
  url: string;
  environments: Environment[];
}

export interface Disposal {
  id: string;
  tenant: { id: string; slug: string };
  begun: string;
  certified: string | null;
  sha256?: string;
  verifierKey?: string;
  targets: number;
}

export interface Ledger {
  entries: number;
  head: string[];
  missing: string[];
  targets: { target: string; compared: string | null; waiting: number; error?: string }[];
}

// What became of an erasure in a tenant that was restored from snapshots of this one.
export interface CopyErasure {
  store: string;
  name?: string;
  state: 'erased' | 'parked' | 'refused' | 'failed' | 'named';
  records: number;
  reason?: string;
  fix?: string;
}

export interface Erasure {
  id: string;
  store: string;
  collection: string;
  records: number;
  reason?: string;
  asked: string;
  by?: string;
  finished: string | null;
  targets: number;
  origin?: string;
  copies: CopyErasure[];
}

export interface Position {
  incarnation: string;
  sequence: number;
}

export interface Store {
  id: string;
  slug: string;
  environment: string;
  url: string;
  position: Position;
  collections: number;
  records: number;
  bytes: number;
  state: string;
  durability?: string;
}

export interface FieldShape {
  name: string;
  type: string;
}

export interface Collection {
  id: string;
  name: string;
  type: string;
  system: boolean;
  records: number;
  fields: FieldShape[];
}

export type RecordRow = Record<string, unknown> & { id: string };

export interface ApiKey {
  id: string;
  name: string;
  scope: 'read' | 'write' | 'admin' | 'snapshot' | 'control';
  permissions?: string[];
  collections: string[] | null;
  addresses?: string[];
  created: string;
  createdBy?: string;
  expires?: string;
  warning?: number; // ends within so many days, and nothing follows it
  lastUsed?: string;
  lastAddress?: string;
  state: 'active' | 'expired' | 'revoked' | 'disabled';
  rate?: number;
  predecessor?: string;
  successor?: string;
  hint: string;
}

export interface NewKey {
  id: string;
  name: string;
  scope: string;
  collections: string[] | null;
  expires?: string;
  key: string;
}

export interface Snapshot {
  store: string;
  target: string;
  seq: number;
  time: string;
  kind: string;
  pages: number;
  bytes: number;
  position?: Position;
}

export interface TargetStatus {
  target: string;
  seq: number;
  time?: string;
  dirtyPages: number;
  lagSeconds: number;
  error?: string;
  lag_seconds?: number;
  state?: 'current' | 'behind' | 'absent' | 'fenced' | 'paused';
  staged_bytes?: number;
  newest?: string;
  why?: string;
}

export interface Target {
  name: string;
  url: string;
  created?: string;
  region?: string;
  place?: string;
  storage_class?: string;
  health?: string;
  why?: string;
  tried?: string | null;
}

export interface Entry {
  index: number;
  time: string;
  actor: string;
  action: string;
  target?: string;
  outcome?: string;
  position?: Position;
  detail?: Record<string, unknown>;
}

export interface Verification {
  ok: boolean;
  size: number;
  root: string;
  problems?: string[] | null;
}

export interface Progress {
  done: number;
  total: number;
  unit: string;
  text: string;
  per_second?: number;
  seconds_left?: number;
}

export interface Operation {
  id: string;
  kind: string;
  target: string;
  store: string;
  state: 'running' | 'done' | 'failed' | 'interrupted' | 'cancelled';
  progress?: Progress | null;
  result?: Record<string, unknown> | null;
  error?: string | { title?: string; detail?: string } | null;
  actor: string;
  created: string;
  updated: string;
}

export interface FieldError {
  field: string;
  message: string;
}
