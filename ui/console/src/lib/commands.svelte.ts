import type { IconName } from '../components/Icon.svelte';
import { openTo } from './navigation';
import type { Command } from './rank';
import { router } from './router.svelte';
import { href, type RouteName } from './routes';
import { session } from './session.svelte';
import { tenants } from './tenants.svelte';
import { theme } from './theme.svelte';

// What the palette offers: the open page's own actions first, then the open
// tenant's pages, then everything else.
class PageCommands {
  list = $state.raw<Command[]>([]);
}

const page = new PageCommands();

// offer adds a page's actions while the page is open. Call it in component setup.
export function offer(list: () => Command[]) {
  $effect(() => {
    page.list = list();
    return () => (page.list = []);
  });
}

const tabs: [RouteName, string, IconName][] = [
  ['overview', 'Overview', 'overview'],
  ['collections', 'Collections', 'collections'],
  ['import', 'Import', 'import'],
  ['keys', 'API keys', 'key'],
  ['snapshots', 'Snapshots', 'snapshot'],
  ['policy', 'Snapshot policy', 'settings'],
  ['storeDrills', 'Drills', 'drill'],
  ['log', 'Audit', 'audit'],
  ['danger', 'Danger zone', 'danger'],
];

function ofTenant(): Command[] {
  const { slug, env } = router.route?.params ?? {};
  if (!slug || !env) return [];
  return tabs.map(([route, text, icon]) => ({ id: `tab-${route}`, text, group: `${slug}/${env}`, icon, href: href(route, { slug, env }) }));
}

function ofAppliance(): Command[] {
  const shown = openTo((permission) => session.can(permission), session.operator);
  const list = shown.flatMap((group) => group.places.map((place): Command => ({ id: place.route, text: place.full ?? place.text, group: 'Go to', icon: place.icon, href: href(place.route) })));
  if (session.can('tenant.create')) {
    list.push({ id: 'new-tenant', text: 'Create tenant', group: 'Action', icon: 'plus', href: `${href('tenants')}?new=1` });
  }
  return list;
}

function ofTenants(): Command[] {
  return tenants.list.flatMap((tenant) =>
    (tenant.environments ?? []).map((environment): Command => ({
      id: `store-${tenant.id}-${environment.name}`,
      text: environment.name === 'prod' ? tenant.name || tenant.slug : `${tenant.name || tenant.slug} (${environment.name})`,
      group: environment.name === 'prod' ? tenant.slug : `${tenant.slug}/${environment.name}`,
      icon: 'tenants',
      href: href('overview', { slug: tenant.slug, env: environment.name }),
    })),
  );
}

function ofReader(): Command[] {
  return [
    { id: 'theme-light', text: 'Light theme', group: 'Theme', icon: 'sun', run: () => theme.choose('light') },
    { id: 'theme-dark', text: 'Dark theme', group: 'Theme', icon: 'moon', run: () => theme.choose('dark') },
    { id: 'theme-system', text: 'Theme of the system', group: 'Theme', icon: 'system', run: () => theme.choose('system') },
    { id: 'docs', text: 'Documentation', group: 'Help', icon: 'book', href: '/docs/' },
    { id: 'sign-out', text: 'Sign out', group: 'Account', icon: 'signout', run: () => void session.signOut() },
  ];
}

export function places(): Command[] {
  return [...page.list, ...ofTenant(), ...ofAppliance(), ...ofTenants(), ...ofReader()];
}
