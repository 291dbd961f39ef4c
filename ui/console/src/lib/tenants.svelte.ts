import { get, path, query } from './api';
import type { Page, Tenant } from './shapes';

// The tenants that the switch and the palette offer: the first 200, by name.
class Tenants {
  list = $state.raw<Tenant[]>([]);

  reload = async () => {
    try {
      const page = await get<Page<Tenant>>(query(path('tenants'), { perPage: 200, sort: 'slug' }));
      this.list = page.items;
    } catch {
      // The page that is open shows the problem; the switch keeps what it had.
    }
  };
}

export const tenants = new Tenants();
