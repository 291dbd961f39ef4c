import { expect, it } from 'vitest';
import { href, match } from '../src/lib/routes';

it('finds the page and its parameters', () => {
  expect(match('/tenants/acme/test/keys')).toEqual({ name: 'keys', params: { slug: 'acme', env: 'test' } });
  expect(match('/')).toEqual({ name: 'home', params: {} });
  expect(match('/tenants/')).toEqual({ name: 'tenants', params: {} });
});

it('knows nothing else', () => {
  expect(match('/nothing')).toBeUndefined();
  expect(match('/tenants/acme/prod/keys/more')).toBeUndefined();
});

it('escapes parameters and reads them back', () => {
  const address = href('records', { slug: 'acme', env: 'prod', collection: 'a/b ü?' });
  expect(address).toBe('/tenants/acme/prod/collections/a%2Fb%20%C3%BC%3F');
  expect(match(address)?.params.collection).toBe('a/b ü?');
});

it('bears a broken escape', () => {
  expect(match('/operations/%E0%A4%A')).toEqual({ name: 'operation', params: { id: '%E0%A4%A' } });
});
