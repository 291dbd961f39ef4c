// Signing in through identity providers: the way out, and what comes back.
import { get, path, post, query } from './api';
import type { IconName } from '../components/Icon.svelte';
import type { PendingSignIn } from './factors';
import type { Me } from './shapes';

export type ProviderKind = 'google' | 'github' | 'microsoft' | 'oidc';

export interface ProviderWay {
  id: string;
  name: string;
  kind: ProviderKind;
}

export interface SignInWays {
  providers: ProviderWay[];
  passwords: boolean;
}

export interface Provider extends ProviderWay {
  scope: string;
  issuer: string;
  clientId: string;
  domains: string[];
  role: string;
  mfa: boolean;
  mfaAcr: string;
  redirect: string;
  enabled: boolean;
  links: number;
  created: string;
  updated: string;
}

export interface ProviderLink {
  id: string;
  provider: ProviderWay;
  email: string;
  created: string;
  lastUsed: string | null;
}

export interface Finished {
  purpose: 'sign-in' | 'step-up' | 'link';
  return: string;
  answer: Me | PendingSignIn | null;
}

export const kindText: Record<ProviderKind, string> = { google: 'Google', github: 'GitHub', microsoft: 'Microsoft', oidc: 'OpenID Connect' };
// rolesFor are the roles that a provider may give to new accounts: never owner.
export const rolesFor = (tenant: string) => (tenant ? ['viewer', 'analyst', 'developer', 'auditor', 'admin'] : ['support', 'security', 'auditor', 'billing', 'admin']);

// domainsOf reads domains as they are typed.
export const domainsOf = (typed: string) => typed.split(/[\s,]+/).filter(Boolean);

export const providerIcon: IconName = 'external';

export const signInWays = (tenant: string, signal?: AbortSignal) => get<SignInWays>(query(path('sso'), { tenant }), signal);

// scopePath is an address of the appliance's single sign-on, or of a tenant's.
export const scopePath = (tenant: string, ...rest: string[]) => (tenant ? path('tenants', tenant, ...rest) : path(...rest));

// leave sends the browser to a provider; it comes back to /sso.
export async function leave(address: string, back = location.pathname + location.search) {
  const { url } = await post<{ url: string }>(address, { return: back });
  location.assign(url);
  await new Promise(() => undefined); // until this page is gone
}

export interface Back {
  provider: string;
  state: string;
  code?: string;
  iss?: string;
  error?: string;
}

// readBack reads what the provider sent, as the server put it into the fragment.
export function readBack(hash: string): Back | undefined {
  const found = new URLSearchParams(hash.replace(/^#/, ''));
  const provider = found.get('provider') ?? '';
  const state = found.get('state') ?? '';
  if (!provider || !state) return undefined;
  const back: Back = { provider, state };
  for (const name of ['code', 'iss', 'error'] as const) {
    const value = found.get(name);
    if (value) back[name] = value;
  }
  return back;
}

// readConfirm reads the token of a letter's link.
export const readConfirm = (hash: string): string => new URLSearchParams(hash.replace(/^#/, '')).get('confirm') ?? '';

export const confirmAddress = (token: string) => post<{ provider: ProviderWay; tenant: string }>(path('sso', 'confirm'), { token });

export const finish = (back: Back) => post<Finished>(path('sso', 'finish'), back);
