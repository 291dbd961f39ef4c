import { describe, expect, it } from 'vitest';
import { clamp, day, hour, keyed, local, minute, neighbour, pointAt, scale, second, share, startingSpan, ticks, viewOf, type Point } from '../src/lib/timeline';

const noon = new Date(2026, 2, 1, 12, 0, 0).getTime();
const point = (at: number): Point => ({ time: new Date(at).toISOString(), sequence: 1, targets: ['a'], bytes: 1, pages: 1, files: 0, snapshots: 1, position: 1, incarnation: 'a', kind: 'second', drilled: false });
const points = [noon, noon + 10 * second, noon + hour].map(point);
const range = { first: noon, last: noon + hour };

describe('the stretch that is shown', () => {
  it('has the moment in its middle', () => {
    expect(viewOf('hour', noon, noon - day, noon + day)).toEqual({ from: noon - hour / 2, until: noon + hour / 2 });
  });
  it('goes a little beyond the newest point, and no further', () => {
    const view = viewOf('day', noon, noon - 10 * day, noon);
    expect(view.until).toBe(noon + day * 0.03);
    expect(view.until - view.from).toBe(day);
  });
  it('stays where it was while the moment moves inside it', () => {
    const before = viewOf('hour', noon, noon - day, noon + day);
    expect(viewOf('hour', noon + 20 * minute, noon - day, noon + day, before)).toBe(before);
    expect(viewOf('hour', noon + 40 * minute, noon - day, noon + day, before)).not.toBe(before);
    expect(viewOf('day', noon, noon - day, noon + day, before).until).not.toBe(before.until);
  });
  it('shows a short history at its right end', () => {
    const view = viewOf('week', noon, noon - hour, noon);
    expect(view.until).toBeGreaterThan(noon);
    expect(view.from).toBeLessThan(noon - 6 * day);
  });
  it('has both ends with all', () => {
    const view = viewOf('all', noon, noon, noon);
    expect(view.from).toBeLessThan(noon);
    expect(view.until).toBeGreaterThan(noon);
  });
  it('begins with what suits the history', () => {
    expect(startingSpan(noon, noon + minute)).toBe('all');
    expect(startingSpan(noon, noon + day)).toBe('day');
    expect(startingSpan(noon, noon + 9 * day)).toBe('week');
  });
});

describe('ticks', () => {
  it('stand at round times, no more than asked for', () => {
    for (const width of [30 * second, hour, day, 7 * day, 90 * day, 2000 * day]) {
      const found = ticks({ from: noon - width, until: noon + 17 }, 8);
      expect(found.length, `${width}`).toBeGreaterThan(0);
      expect(found.length, `${width}`).toBeLessThanOrEqual(9);
      expect(found.every((t) => new Date(t.at).getMilliseconds() === 0)).toBe(true);
    }
  });
  it('name the day where one begins', () => {
    const found = ticks({ from: noon - day, until: noon }, 8);
    expect(found.filter((t) => t.strong).map((t) => t.label)).toEqual(['1 Mar']);
    expect(found.some((t) => t.label === '06:00')).toBe(true);
  });
});

describe('moments', () => {
  it('are restored as the point before them', () => {
    expect(pointAt(points, noon - 1)).toBeUndefined();
    expect(pointAt(points, noon)).toBe(points[0]);
    expect(pointAt(points, noon + 11 * second)).toBe(points[1]);
    expect(pointAt([], noon)).toBeUndefined();
  });
  it('have neighbours', () => {
    expect(neighbour(points, noon + second, 1)).toBe(points[1]);
    expect(neighbour(points, noon + second, -1)).toBe(points[0]);
    expect(neighbour(points, noon, -1)).toBeUndefined();
  });
  it('follow the keys of a slider', () => {
    const at = noon + 5 * minute;
    expect(keyed('ArrowLeft', false, at, 'day', range, points)).toBe(noon + 10 * second);
    expect(keyed('ArrowRight', false, at, 'day', range, points)).toBe(noon + hour);
    expect(keyed('ArrowRight', false, noon + hour, 'day', range, points)).toBe(noon + hour);
    expect(keyed('ArrowLeft', false, noon, 'day', range, points)).toBe(noon);
    expect(keyed('Home', false, at, 'day', range, points)).toBe(noon);
    expect(keyed('End', false, at, 'day', range, points)).toBe(noon + hour);
    expect(keyed('x', false, at, 'day', range, points)).toBeUndefined();
    const wide = { first: noon - 9 * day, last: noon + 9 * day };
    expect(keyed('PageUp', false, noon, 'hour', wide, points)).toBe(noon + hour);
    expect(keyed('PageDown', true, noon, 'hour', wide, points)).toBe(noon - day);
    expect(keyed('PageDown', false, noon, 'week', wide, points)).toBe(noon - day);
    expect(keyed('PageDown', false, noon, 'hour', range, points)).toBe(noon);
  });
  it('stay within what there is', () => {
    expect(clamp(noon - 1, range)).toBe(noon);
    expect(clamp(noon + day, range)).toBe(noon + hour);
  });
  it('are written for a field of the browser', () => {
    expect(local(noon)).toBe('2026-03-01T12:00:00');
    expect(new Date(local(noon)).getTime()).toBe(noon);
  });
});

it('draws to scale', () => {
  const x = scale({ from: 100, until: 200 }, 1000);
  expect([x(100), x(150), x(200)]).toEqual([0, 500, 1000]);
  expect(share(0, 100)).toBe(0);
  expect(share(1 << 20, 1 << 20)).toBe(1);
  expect(share(300, 1 << 20)).toBeGreaterThan(0);
  expect(share(1 << 10, 1 << 20)).toBeLessThan(share(1 << 15, 1 << 20));
});
