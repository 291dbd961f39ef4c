import { get, path, query } from './api';
import { session } from './session.svelte';
import type { Operator, Page } from './shapes';

// Names of people, for "person:<id>" in logs. Whoever may not list the
// operators sees ids, apart from their own name.
class Names {
  #people = $state.raw(new Map<string, string>());

  reload = async () => {
    if (!session.can('operator.read')) return;
    try {
      const page = await get<Page<Operator>>(query(path('operators'), { perPage: 200 }));
      this.#people = new Map(page.items.map((o) => [o.id, o.name || o.email]));
    } catch {
      // Ids are shown then.
    }
  };

  person(id: string): string | undefined {
    const me = session.me?.person;
    if (me?.id === id) return me.name || me.email;
    return this.#people.get(id);
  }
}

export const names = new Names();
