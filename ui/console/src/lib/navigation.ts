import type { IconName } from '../components/Icon.svelte';
import routes from '../../../routes.json';
import type { RouteName } from './routes';

// The places of the console, in the order of the navigation. The side bar, the bar
// of a narrow screen and the palette all read this one list; a new page is a line.
export interface Place {
  route: RouteName;
  text: string;
  icon: IconName;
  permission: string;
  operator?: boolean; // means nothing inside one tenant
  also?: RouteName[]; // pages that belong to it
  full?: string; // its name out of its group, where the short one is unclear
  bar?: boolean; // stands in the bar of a narrow screen; the others are behind “More”
}

export interface Group {
  title: string; // '' is the first, which needs none
  places: Place[];
}

// Every page of a tenant belongs to Tenants.
const inTenant = (Object.keys(routes) as RouteName[]).filter((name) => name !== 'tenants' && routes[name].startsWith('/tenants/'));

export const groups: Group[] = [
  {
    title: '',
    places: [
      { route: 'tenants', text: 'Tenants', icon: 'tenants', permission: 'tenant.read', also: inTenant, bar: true },
      { route: 'operations', text: 'Operations', icon: 'operations', permission: 'operation.read', also: ['operation'], bar: true },
      { route: 'health', text: 'Health', icon: 'health', permission: 'doctor.read', operator: true, bar: true },
    ],
  },
  {
    title: 'Recovery',
    places: [
      { route: 'shipping', text: 'Snapshots', icon: 'snapshot', permission: 'target.read', operator: true, full: 'Snapshots of all stores', bar: true },
      { route: 'targets', text: 'Targets', icon: 'targets', permission: 'target.read', operator: true },
      { route: 'drills', text: 'Drills', icon: 'drill', permission: 'snapshot.read', operator: true, full: 'Drills of all stores' },
    ],
  },
  {
    title: 'Access',
    places: [
      { route: 'access', text: 'Requests', icon: 'filter', permission: 'tenant.read', full: 'Requests for access' },
      { route: 'approvals', text: 'Approvals', icon: 'check', permission: 'operator.read', operator: true, full: 'What takes two persons' },
      { route: 'operators', text: 'Operators', icon: 'operators', permission: 'operator.read', operator: true, also: ['roles', 'signInPolicy', 'mail'] },
      { route: 'singleSignOn', text: 'Single sign-on', icon: 'external', permission: 'member.read' },
      { route: 'automation', text: 'Automation', icon: 'key', permission: 'operator.read', operator: true, full: 'Keys for automation' },
      { route: 'reviews', text: 'Reviews', icon: 'verify', permission: 'review.read', also: ['review'], full: 'Access reviews' },
    ],
  },
  {
    title: 'Trust',
    places: [
      { route: 'custody', text: 'Keys', icon: 'lock', permission: 'custody.read', operator: true, full: 'Keys of the appliance' },
      { route: 'disposals', text: 'Disposals', icon: 'trash', permission: 'disposal.read', operator: true },
      { route: 'audit', text: 'Audit', icon: 'audit', permission: 'audit.read', operator: true, full: 'Audit of the appliance' },
    ],
  },
];

// openTo leaves what this reader may see; groups without a place are left out.
export function openTo(can: (permission: string) => boolean, operator: boolean): Group[] {
  return groups
    .map(({ title, places }) => ({ title, places: places.filter((p) => can(p.permission) && (!p.operator || operator)) }))
    .filter((group) => group.places.length > 0);
}

export const isAt = (place: Place, here: RouteName | undefined): boolean => here !== undefined && (here === place.route || place.also?.includes(here) === true);

// narrow splits the places for a narrow screen: those in the bar, the others
// behind “More”. A few are all in the bar.
export function narrow(shown: Group[]): { bar: Place[]; rest: Group[] } {
  const all = shown.flatMap((group) => group.places);
  if (all.length <= 5) return { bar: all, rest: [] };
  const bar = all.filter((p) => p.bar);
  return { bar, rest: shown.map(({ title, places }) => ({ title, places: places.filter((p) => !p.bar) })).filter((group) => group.places.length > 0) };
}
