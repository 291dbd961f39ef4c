import { get, path, query } from './api';
import type { Page, Person } from './shapes';
import type { Tone } from './tones';

// A request to be let into a tenant for a while.
export interface AccessRequest {
  id: string;
  tenant: string;
  requester: Person;
  role: string;
  glass: boolean;
  emergency: boolean;
  lasts: string;
  why: string;
  asked: string;
  expires: string;
  state: 'open' | 'approved' | 'refused' | 'withdrawn' | 'expired' | 'ended';
  decided: string | null;
  decidedBy: Person[];
  note: string;
  until: string | null;
  mine: boolean;
  mayDecide: '' | 'owner' | 'operators';
}

export interface AccessRead {
  at: string;
  store: string;
  person: Person;
  request: string;
  what: string;
  name: string;
  query: string;
}

export const nameOf = (person: Person) => person.name || person.email || person.id;

// wordsOf says what a request is for.
export function wordsOf(request: AccessRequest): string {
  if (request.role === 'glass') return 'read records';
  if (request.role === 'glass-export') return 'read and take out records';
  return `be ${request.role}`;
}

export const toneOf = (request: AccessRequest): Tone => (request.state === 'approved' ? 'warn' : request.state === 'open' ? 'info' : 'quiet');

// How many requests wait for this reader; the navigation shows it.
class Waiting {
  count = $state(0);

  reload = async () => {
    try {
      this.count = (await get<Page<AccessRequest>>(query(path('access-requests'), { state: 'open', decide: '1', perPage: 1 }))).totalItems;
    } catch {
      this.count = 0; // a number that is not known is not shown
    }
  };
}

export const waiting = new Waiting();
