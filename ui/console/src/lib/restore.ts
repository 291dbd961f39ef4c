// What a restore is asked for, and what a dry run of it answers.

export type What = 'new' | 'in-place' | 'collections' | 'records';

export interface Choice {
  what: What;
  at: string; // RFC 3339; '' is the newest
  target: string; // '' is the best one
  as: string;
  collections: string[];
  collection: string; // of the records
  records: string; // ids, as typed
}

export interface Order {
  at?: string;
  target?: string;
  as?: string;
  in_place?: boolean;
  collections?: string[];
  records?: string[];
  dry_run?: boolean;
}

export const ids = (typed: string): string[] => [...new Set(typed.split(/[\s,;]+/).filter(Boolean))];

// orderOf is the body of POST …/restores.
export function orderOf(choice: Choice, dryRun: boolean): Order {
  const order: Order = {};
  if (choice.at) order.at = choice.at;
  if (choice.target) order.target = choice.target;
  if (choice.what === 'new') order.as = choice.as.trim();
  if (choice.what === 'in-place') order.in_place = true;
  if (choice.what === 'collections') order.collections = choice.collections;
  if (choice.what === 'records') Object.assign(order, { collections: [choice.collection], records: ids(choice.records) });
  if (dryRun) order.dry_run = true;
  return order;
}

// missing says what a choice still lacks; '' when nothing does.
export function missing(choice: Choice): string {
  if (choice.what === 'new' && !choice.as.trim()) return 'Name the new tenant.';
  if (choice.what === 'collections' && choice.collections.length === 0) return 'Choose at least one collection.';
  if (choice.what === 'records' && !choice.collection) return 'Choose the collection.';
  if (choice.what === 'records' && ids(choice.records).length === 0) return 'Give the ids of the records.';
  return '';
}

export interface Change {
  collection: string;
  added: number;
  changed: number;
  removed: number;
}

// Preview is what a dry run found out; Kept, a restore as GET …/restores lists it.
export interface Preview {
  collections: Change[] | null;
  files: { added: number; removed: number; bytes: number };
  erasures: number;
  undone_changes: number; // committed after the point
  need_bytes: number;
  free_bytes?: number;
  enough_room: boolean;
}

export interface Kept {
  id: string;
  kind: string;
  state: string;
  order: Order;
  created: string;
}

export const sumOf = (changes: Change[]) => changes.reduce((n, c) => n + c.added + c.changed + c.removed, 0);
