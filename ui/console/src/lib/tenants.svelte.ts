import { get, path, query } from './api';
import type { Operation, Page, Tenant } from './shapes';

// The tenants that the switch and the palette offer: the first 200, by slug.
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

// operationTarget is what an operation acts on, without the store's own name,
// which is shown beside it.
export function operationTarget(operation: Operation): string {
  const id = operation.store.split('/')[1] ?? '';
  const name = storeName(operation.store);
  const slug = name.split('/')[0] ?? '';
  for (const own of [`${slug}/${id}/`, `${name}/`]) {
    if (slug && operation.target.startsWith(own)) return operation.target.slice(own.length);
  }
  return operation.target === name ? '' : operation.target;
}

// storeName makes "acme/test" of a store's id ("<tenant id>/test"), as people
// and commands write it; prod is left out.
export function storeName(store: string): string {
  const [tenant = '', env = ''] = store.split('/');
  const slug = tenants.list.find((t) => t.id === tenant)?.slug ?? tenant;
  return !env || env === 'prod' ? slug : `${slug}/${env}`;
}
