import { getContext, setContext } from 'svelte';
import type { Resource } from './resource.svelte';
import type { Collection, Page, Store, Tenant } from './shapes';

// What every tab of a tenant's page knows about the store it shows.
export interface StoreView {
  readonly slug: string;
  readonly env: string;
  readonly name: string; // "acme" or "acme/test", as commands take it
  readonly tenant: Resource<Tenant>;
  readonly info: Resource<Store>;
  readonly collections: Resource<Page<Collection>>;
}

const key = Symbol('store');

export const provideStore = (view: StoreView) => setContext(key, view);
export const useStore = () => getContext<StoreView>(key);
