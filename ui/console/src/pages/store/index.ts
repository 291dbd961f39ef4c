import type { Component } from 'svelte';
import type { RouteName } from '../../lib/routes';
import Access from './Access.svelte';
import Collections from './Collections.svelte';
import Danger from './Danger.svelte';
import Drills from './Drills.svelte';
import Import from './Import.svelte';
import Keys from './Keys.svelte';
import Log from './Log.svelte';
import Members from './Members.svelte';
import Overview from './Overview.svelte';
import Policy from './Policy.svelte';
import Records from './Records.svelte';
import Restore from './Restore.svelte';
import Roles from './Roles.svelte';
import SignIn from './SignIn.svelte';
import Snapshots from './Snapshots.svelte';
import UserPolicy from './UserPolicy.svelte';

// The tabs of a tenant's page.
export const tabs: Partial<Record<RouteName, Component>> = {
  overview: Overview,
  collections: Collections,
  records: Records,
  userPolicy: UserPolicy,
  import: Import,
  keys: Keys,
  snapshots: Snapshots,
  policy: Policy,
  restore: Restore,
  storeDrills: Drills,
  tenantAccess: Access,
  log: Log,
  members: Members,
  tenantRoles: Roles,
  tenantSignIn: SignIn,
  danger: Danger,
};
