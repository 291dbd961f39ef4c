// People, roles and invites, as the control plane speaks of them.
import { get, path } from './api';
import type { Me, Person } from './shapes';

export interface Role {
  name: string;
  where: 'appliance' | 'tenant';
  about: string;
  allow: string[];
  deny: string[];
  custom: boolean;
}

export interface Permission {
  name: string;
  where: 'appliance' | 'tenant' | 'content';
  about: string;
}

export interface Member extends Person {
  state: string;
  grant: string;
  role: string;
  since: string;
  until: string | null;
  why: string;
  givenBy: string;
  glass: boolean;
  lastSeen: string | null;
}

export interface Invite {
  id: string;
  email: string;
  role: string;
  until: string | null;
  why: string;
  state: 'open' | 'accepted' | 'expired' | 'revoked';
  created: string;
  by: string;
  expires: string;
  mailed: boolean;
  link?: string; // only to who asked, where no mail is sent
}

export interface RoleTimeout {
  role: string; // empty: everybody
  idleMinutes: number;
  absoluteMinutes: number;
}

export interface SignInPolicy {
  required: boolean;
  roles: string[];
  everyone: boolean;
  from: string | null;
  noEmailCode: boolean;
}

export interface AccountPolicy {
  passwordHistory: number;
  rotateDays: number;
  emailCode: boolean;
  timeouts: RoleTimeout[];
}

// home is where the people of a tenant, or of the appliance, are found.
export const home = (slug: string) => (slug ? ['tenants', slug] : []);

// rolesOf lists the roles that can be given there.
export async function rolesOf(slug: string, signal?: AbortSignal): Promise<Role[]> {
  const list = await get<{ items: Role[] }>(path(...home(slug), 'roles'), signal);
  return slug ? list.items : list.items.filter((role) => role.where === 'appliance');
}

export const permissionList = async (signal?: AbortSignal) => (await get<{ items: Permission[] }>(path('permissions'), signal)).items;

// held is what somebody may in a tenant, or on the appliance: nobody hands out more.
export function held(me: Me | undefined, slug: string): Set<string> {
  const set = new Set<string>();
  for (const grant of me?.grants ?? []) {
    if (grant.scope !== 'appliance' && grant.scope !== slug) continue;
    for (const permission of grant.permissions ?? []) set.add(permission);
  }
  return set;
}

export const givable = (role: Role, may: Set<string>) => role.allow.every((permission) => may.has(permission));

export const roleOptions = (roles: Role[], may: Set<string>) =>
  roles.filter((role) => givable(role, may)).map((role) => ({ value: role.name, text: role.name, hint: role.about }));

// endOf is the end of a day that was picked, in the reader's own time; none for none.
export function endOf(day: string): string | undefined {
  if (!day) return undefined;
  const at = new Date(`${day}T00:00:00`);
  at.setDate(at.getDate() + 1);
  return Number.isNaN(at.getTime()) ? undefined : at.toISOString();
}

export const today = () => {
  const now = new Date();
  return `${now.getFullYear()}-${String(now.getMonth() + 1).padStart(2, '0')}-${String(now.getDate()).padStart(2, '0')}`;
};

const wheres = { appliance: 'Of the appliance', tenant: 'In a tenant', content: 'Tenants’ records and what reaches them' } as const;

// byWhere puts permissions into groups, each with its title, those without any left out.
export function byWhere(list: Permission[]): { title: string; items: Permission[] }[] {
  return (['tenant', 'content', 'appliance'] as const)
    .map((where) => ({ title: wheres[where], items: list.filter((p) => p.where === where) }))
    .filter((group) => group.items.length > 0);
}

// minutes as people say them.
export function lasting(minutes: number): string {
  if (minutes % 1440 === 0) return minutes === 1440 ? '1 day' : `${minutes / 1440} days`;
  if (minutes % 60 === 0) return minutes === 60 ? '1 hour' : `${minutes / 60} hours`;
  return minutes === 1 ? '1 minute' : `${minutes} minutes`;
}
