import { expect, it } from 'vitest';
import { axisOf, roundUp } from '../src/lib/chart';
import { every, lagText, nameOf, preview, reach, stateOf, verdictOf, type Policy } from '../src/lib/recovery';
import { ids, missing, orderOf, sumOf } from '../src/lib/restore';

it('counts in round figures', () => {
  expect(roundUp(0)).toBe(1);
  expect(roundUp(3)).toBe(5);
  expect(roundUp(900)).toBe(1000);
  expect(roundUp(1001)).toBe(2000);
  expect(roundUp(61_000)).toBe(120_000);
  expect(roundUp(1001, false)).toBe(2000);
});

it('makes an axis that holds every value', () => {
  for (const values of [[], [0], [3, 8], [800, 61_000], [1e9]]) {
    const axis = axisOf(values);
    expect(axis.most).toBeGreaterThanOrEqual(Math.max(0, ...values));
    expect(axis.lines[0]).toBe(0);
    expect(axis.lines.at(-1)).toBe(axis.most);
    expect(axis.lines.length).toBeLessThanOrEqual(6);
  }
});

const policy: Policy = {
  every_seconds: 1,
  retention: { all_hours: 24, last: 0, hourly: 48, daily: 14, weekly: 0, monthly: 0, yearly: 0 },
  regions: [],
  targets: [],
  lock: { mode: '', days: 0 },
  erasure_horizon_days: 30,
  rto_seconds: 60,
  rpo_seconds: 5,
  drill_every_days: 7,
};
const words = (p: Policy) => preview(p, ['frankfurt', 'nas']).map((l) => l.text).join(' ');

it('says what a policy keeps', () => {
  expect(words(policy)).toContain('shipped every second to every target (frankfurt, nas)');
  expect(words(policy)).toContain('every point of the last day; one of each hour for 48 hours; one of each day for 14 days');
  expect(words(policy)).toContain('about 14 days old');
  expect(words(policy)).toContain('lose at most 5 seconds of writes, and be back within 1 minute');
  expect(words(policy)).toContain('every 7 days');
  expect(reach(policy.retention)).toBe(14);
});

it('says where a policy is at odds with itself', () => {
  expect(preview(policy, []).some((l) => l.tone === 'warn')).toBe(false);
  expect(words({ ...policy, lock: { mode: 'compliance', days: 90 } })).toContain('longer than an erased record may last');
  expect(words({ ...policy, every_seconds: 60 })).toContain('cannot lose less than that');
  expect(words({ ...policy, drill_every_days: 0 })).toContain('No drill proves it');
  expect(words({ ...policy, retention: { all_hours: 0, last: 0, hourly: 0, daily: 0, weekly: 0, monthly: 0, yearly: 0 } })).toContain('Nothing would be kept');
  expect(words({ ...policy, erasure_horizon_days: 7 })).toContain('older ones still hold it');
});

it('words times and states', () => {
  expect([every(1), every(60), every(5400), every(86_400)]).toEqual(['1 second', '1 minute', '90 minutes', '1 day']);
  expect([lagText(0), lagText(0.4), lagText(61)]).toEqual(['none', 'under 1 s', '1 min 1 s']);
  const target = { target: 'a', seq: 1, dirtyPages: 0, lagSeconds: 0 };
  expect(stateOf(target)).toBe('current');
  expect(stateOf({ ...target, seq: 0 })).toBe('behind');
  expect(stateOf({ ...target, error: 'gone' })).toBe('absent');
  expect(stateOf({ ...target, error: 'gone', state: 'fenced' })).toBe('fenced');
});

it('calls stores by their names', () => {
  const one = { store: 'k3/prod', slug: 'acme', state: 'current' as const, lag_seconds: 0, targets: 0, places: 0, bytes: 0, files: 0, lanes: [] };
  expect(nameOf(one)).toEqual({ text: 'acme', slug: 'acme', env: 'prod' });
  expect(nameOf({ ...one, store: 'k3/test' }).text).toBe('acme/test');
  expect(nameOf({ ...one, store: 'vault', slug: undefined })).toEqual({ text: 'Vault', env: '' });
  expect([verdictOf(true, false).text, verdictOf(true, true).text, verdictOf(false, true).text]).toEqual(['passed', 'goal missed', 'failed']);
});

it('orders restores', () => {
  const choice = { what: 'new' as const, at: '', target: '', as: ' copy ', collections: ['a'], collection: 'a', records: 'x, y x' };
  expect(orderOf(choice, true)).toEqual({ as: 'copy', dry_run: true });
  expect(orderOf({ ...choice, what: 'in-place', at: 'T', target: 'nas' }, false)).toEqual({ at: 'T', target: 'nas', in_place: true });
  expect(orderOf({ ...choice, what: 'collections' }, false)).toEqual({ collections: ['a'] });
  expect(orderOf({ ...choice, what: 'records' }, false)).toEqual({ collections: ['a'], records: ['x', 'y'] });
  expect(ids(' a,b;c\nd ')).toEqual(['a', 'b', 'c', 'd']);
  expect(missing({ ...choice, as: ' ' })).toContain('Name');
  expect(missing({ ...choice, what: 'records', records: '' })).toContain('ids');
  expect(missing(choice)).toBe('');
  expect(sumOf([{ collection: 'a', added: 1, changed: 2, removed: 3 }])).toBe(6);
});
