import type { Component } from 'svelte';
import type { RouteName } from '../lib/routes';
import AccessRequests from './AccessRequests.svelte';
import Approvals from './Approvals.svelte';
import Audit from './Audit.svelte';
import Automation from './Automation.svelte';
import Custody from './Custody.svelte';
import Disposals from './Disposals.svelte';
import Drills from './Drills.svelte';
import Health from './Health.svelte';
import MailPage from './Mail.svelte';
import Operation from './Operation.svelte';
import Operations from './Operations.svelte';
import Operators from './Operators.svelte';
import Profile from './Profile.svelte';
import Roles from './Roles.svelte';
import Review from './Review.svelte';
import Reviews from './Reviews.svelte';
import Shipping from './Shipping.svelte';
import SignInPolicy from './SignInPolicy.svelte';
import SingleSignOn from './SingleSignOn.svelte';
import Store from './Store.svelte';
import Targets from './Targets.svelte';
import Tenants from './Tenants.svelte';

// Which component shows which address. Addresses without one lead elsewhere.
export const pages: Partial<Record<RouteName, Component>> = {
  tenants: Tenants,
  overview: Store,
  collections: Store,
  records: Store,
  userPolicy: Store,
  import: Store,
  keys: Store,
  snapshots: Store,
  policy: Store,
  restore: Store,
  storeDrills: Store,
  tenantAccess: Store,
  log: Store,
  members: Store,
  tenantRoles: Store,
  tenantSignIn: Store,
  danger: Store,
  operations: Operations,
  operation: Operation,
  access: AccessRequests,
  approvals: Approvals,
  shipping: Shipping,
  targets: Targets,
  drills: Drills,
  health: Health,
  custody: Custody,
  operators: Operators,
  singleSignOn: SingleSignOn,
  roles: Roles,
  signInPolicy: SignInPolicy,
  mail: MailPage,
  automation: Automation,
  reviews: Reviews,
  review: Review,
  disposals: Disposals,
  audit: Audit,
  profile: Profile,
};
