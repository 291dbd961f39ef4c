import { get, path, query } from './api';
import type { RouteName } from './routes';
import { session } from './session.svelte';
import type { Page, Person } from './shapes';
import type { Tone } from './tones';

// A request that takes two persons.
export interface Approval {
  id: string;
  requester: Person;
  action: string;
  title: string;
  facts: { name: string; value: string }[];
  secrets: string[];
  digest: string;
  asked: string;
  expires: string;
  state: 'open' | 'approved' | 'refused' | 'withdrawn' | 'expired' | 'used' | 'alone';
  decided: string | null;
  decidedBy: Person | null;
  note: string;
  used: string | null;
  mine: boolean;
  mayDecide: boolean;
}

export interface PairPolicy {
  mode: 'auto' | 'on' | 'off';
  force: { permission: string; since: string | null; until: string | null; could: number }[];
}

const words: Record<Approval['state'], [string, Tone]> = {
  open: ['waits', 'info'],
  approved: ['approved', 'ok'],
  refused: ['refused', 'quiet'],
  withdrawn: ['withdrawn', 'quiet'],
  expired: ['expired', 'quiet'],
  used: ['carried out', 'quiet'],
  alone: ['by the host alone', 'danger'],
};

export const stateText = (approval: Approval) => words[approval.state][0];
export const stateTone = (approval: Approval) => words[approval.state][1];

// What has a value, as it is read: an empty field says nothing.
export const factsOf = (approval: Approval) => approval.facts.filter((fact) => fact.value !== '' && fact.value !== 'null');

// Where what was approved is carried out.
export function placeOf(approval: Approval): { route: RouteName; text: string } {
  if (approval.action.startsWith('target')) return { route: 'targets', text: 'Targets' };
  if (approval.action.startsWith('tenant') || approval.action.startsWith('snapshot')) return { route: 'tenants', text: 'Tenants' };
  return approval.action.startsWith('two-persons') ? { route: 'approvals', text: 'this page' } : { route: 'custody', text: 'Keys' };
}

const seenKey = 'holdfast.alone';

// What waits for this reader, and what the host did alone of late; the navigation and a
// note on every page show it.
class Pairs {
  count = $state(0);
  alone = $state.raw<Approval[]>([]);

  reload = async () => {
    if (!session.operator || !session.can('operator.read')) return;
    try {
      const [open, alone] = await Promise.all([this.#list('open'), this.#list('alone')]);
      const since = Math.max(Date.now() - 7 * 86_400_000, Number(localStorage.getItem(seenKey) ?? 0));
      this.count = open.filter((approval) => approval.mayDecide).length;
      this.alone = alone.filter((approval) => Date.parse(approval.asked) > since);
    } catch {
      this.count = 0; // a number that is not known is not shown
    }
  };

  seen = () => {
    const newest = Math.max(0, ...this.alone.map((approval) => Date.parse(approval.asked)));
    localStorage.setItem(seenKey, String(newest));
    this.alone = [];
  };

  #list = async (state: string) => (await get<Page<Approval>>(query(path('approvals'), { state, perPage: 50 }))).items;
}

export const pairs = new Pairs();
