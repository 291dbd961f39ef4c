// Access reviews as the control plane speaks of them, and the words for them.
import type { Tone } from './tones';

export interface Summary {
  items: number;
  waiting: number;
  confirmed: number;
  revoked: number;
  lapsed: number;
  kept: number;
  gone: number;
}

export interface Review {
  id: string;
  scope: string;
  name: string;
  state: 'open' | 'notice' | 'closed';
  cause: 'asked' | 'schedule';
  started: string;
  startedBy: string;
  due: string;
  ends: string;
  closed: string | null;
  summary: Summary;
}

export interface Item {
  id: string;
  kind: 'grant' | 'key';
  held: string;
  store?: string;
  holder: string;
  name: string;
  detail: string;
  role: string;
  since: string;
  until: string | null;
  used: string | null;
  decision: '' | 'confirmed' | 'revoked' | 'lapsed' | 'kept' | 'gone';
  note?: string;
  decided: string | null;
  decidedBy?: string;
}

export interface Policy {
  every_days: number;
  answer_days: number;
  notice_days: number;
  dormant_days: number;
  warn_days: number;
  unused_key_days: number;
}

const said: Record<Item['decision'], { text: string; tone: Tone }> = {
  '': { text: 'waits', tone: 'info' },
  confirmed: { text: 'confirmed', tone: 'ok' },
  revoked: { text: 'revoked', tone: 'danger' },
  lapsed: { text: 'revoked unanswered', tone: 'danger' },
  kept: { text: 'last owner, kept', tone: 'warn' },
  gone: { text: 'ended before', tone: 'quiet' },
};

export const decisionOf = (item: Item) => said[item.decision] ?? { text: item.decision, tone: 'quiet' as Tone };

export function stateOf(review: Review): { text: string; tone: Tone } {
  if (review.state === 'closed') return { text: 'closed', tone: 'quiet' };
  return review.state === 'notice' ? { text: 'overdue', tone: 'danger' } : { text: 'under way', tone: 'info' };
}

// done is how much of a review is decided, from 0 to 1.
export const done = (sum: Summary) => (sum.items === 0 ? 1 : (sum.items - sum.waiting) / sum.items);

export const titleOf = (review: Review) => (review.scope === 'appliance' ? 'The appliance' : review.name);

// automatable is what a key of the control plane can hold.
export const automatable = [
  { name: 'tenant.create', about: 'Create tenants.' },
  { name: 'tenant.read', about: "See tenants' names, states and sizes." },
  { name: 'environment.create', about: 'Create test and dev environments.' },
  { name: 'snapshot.read', about: 'See and verify snapshots.' },
  { name: 'snapshot.create', about: 'Ship snapshots.' },
  { name: 'drill.run', about: 'Run restore drills.' },
  { name: 'target.read', about: 'See snapshot targets.' },
  { name: 'target.manage', about: 'Add, test and remove snapshot targets.' },
  { name: 'operation.read', about: 'See long actions.' },
  { name: 'operation.cancel', about: 'Cancel long actions.' },
  { name: 'doctor.read', about: 'See what is wrong.' },
  { name: 'audit.read', about: 'Read the audit logs.' },
  { name: 'review.read', about: 'See access reviews.' },
  { name: 'operator.read', about: 'See the operators.' },
  { name: 'member.read', about: "See tenants' members." },
  { name: 'disposal.read', about: 'Read certificates of disposal.' },
  { name: 'custody.read', about: 'See slots, keys and copies.' },
];
