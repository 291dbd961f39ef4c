import { expect, it } from 'vitest';
import { groups, isAt, narrow, openTo } from '../src/lib/navigation';
import { match } from '../src/lib/routes';
import routes from '../../routes.json';

const everything = openTo(() => true, true);
const texts = (shown: typeof groups) => shown.flatMap((g) => g.places.map((p) => p.text));

it('has each place once, with an address that leads to it', () => {
  const places = groups.flatMap((g) => g.places);
  expect(new Set(places.map((p) => p.route)).size).toBe(places.length);
  expect(new Set(places.map((p) => p.full ?? p.text)).size).toBe(places.length);
  for (const place of places) expect(match(routes[place.route])?.name).toBe(place.route);
});

it('shows what the reader may see, and no empty group', () => {
  const shown = openTo((p) => p === 'tenant.read' || p === 'audit.read', false);
  expect(texts(shown)).toContain('Tenants');
  for (const place of shown.flatMap((g) => g.places)) expect([place.permission, place.operator ?? false]).toEqual(['tenant.read', false]);
  expect(shown.every((g) => g.places.length > 0)).toBe(true);
  expect(openTo((p) => p === 'disposal.read', true).map((g) => g.title)).toEqual(['Trust']);
});

it('keeps a narrow bar to four and leaves nothing out', () => {
  const { bar, rest } = narrow(everything);
  expect(bar).toHaveLength(4);
  expect([...bar.map((p) => p.text), ...texts(rest)].sort()).toEqual(texts(everything).sort());
  expect(narrow(openTo((p) => p === 'tenant.read', true)).rest).toEqual([]);
});

it('takes every page of a tenant for Tenants', () => {
  const tenants = groups[0]!.places[0]!;
  for (const name of ['tenants', 'snapshots', 'policy', 'danger'] as const) expect(isAt(tenants, name)).toBe(true);
  expect(isAt(tenants, 'shipping')).toBe(false);
});
