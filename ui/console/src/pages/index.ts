import type { Component } from 'svelte';
import type { RouteName } from '../lib/routes';
import Tenants from './Tenants.svelte';

// Which component shows which address. Addresses without one lead elsewhere.
export const pages: Partial<Record<RouteName, Component>> = {
  tenants: Tenants,
};
