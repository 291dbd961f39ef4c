import { describe, expect, it } from 'vitest';
import { acrossLives, lifeAt, livesOf, splitByLife, turns, type LifeSpan } from '../src/lib/lives';
import { hour, minute, type Point } from '../src/lib/timeline';

const noon = Date.UTC(2026, 2, 1, 12);
const iso = (at: number) => new Date(at).toISOString();
const span = (incarnation: string, first: number, last: number): LifeSpan => ({ incarnation, first: iso(first), last: iso(last) });
const spans = [span('a', noon, noon + 50 * minute), span('b', noon + hour, noon + hour), span('c', noon + 2 * hour, noon + 3 * hour)];
const range = { first: noon, last: noon + 3 * hour };
const lives = livesOf(spans, 'c', range);

describe('lives', () => {
  it('follow each other without a gap', () => {
    expect(lives.map((life) => [life.from, life.until])).toEqual([
      [noon, noon + hour],
      [noon + hour, noon + 2 * hour],
      [noon + 2 * hour, noon + 3 * hour],
    ]);
    expect(lives.map((life) => life.current)).toEqual([false, false, true]);
    expect(livesOf([spans[0]!, { ...spans[1]!, began: 'undo' }], '', range).map((life) => life.words)).toEqual(['restore in place', 'undo of a restore']);
  });
  it('are all past after a restore of which nothing was shipped yet', () => {
    expect(livesOf(spans, 'd', range).some((life) => life.current)).toBe(false);
  });
  it('end with the present one where the store does not say which it lives', () => {
    expect(livesOf(spans, '', range).map((life) => life.current)).toEqual([false, false, true]);
    expect(livesOf([], '', range)).toEqual([]);
  });
  it('have turns between them', () => {
    expect(turns(lives).map((turn) => [turn.at, turn.before.incarnation, turn.after.incarnation])).toEqual([
      [noon + hour, 'a', 'b'],
      [noon + 2 * hour, 'b', 'c'],
    ]);
    expect(turns(lives.slice(0, 1))).toEqual([]);
  });
});

describe('a moment', () => {
  it('is restored from the life that it lies in', () => {
    expect(lifeAt(lives, noon + 55 * minute)?.incarnation).toBe('a');
    expect(lifeAt(lives, noon + hour)?.incarnation).toBe('b');
    expect(lifeAt(lives, noon - hour)?.incarnation).toBe('a');
    expect(lifeAt([], noon)).toBeUndefined();
  });
  it('leads to the lives beside it', () => {
    expect(acrossLives(lives, noon + 2 * hour + minute, -1)).toBe(noon + hour);
    expect(acrossLives(lives, noon + hour, -1)).toBe(noon + 50 * minute);
    expect(acrossLives(lives, noon, -1)).toBeUndefined();
    expect(acrossLives(lives, noon, 1)).toBe(noon + hour);
    expect(acrossLives(lives, noon + 2 * hour, 1)).toBeUndefined();
  });
});

it('parts points by life', () => {
  const point = (incarnation: string) => ({ incarnation }) as Point;
  const points = ['a', 'a', 'b', 'c'].map(point);
  expect(splitByLife(points, lives).present.length).toBe(1);
  expect(splitByLife(points, lives).past.length).toBe(3);
  expect(splitByLife(points, []).present.length).toBe(4);
  expect(splitByLife(points.slice(0, 2), livesOf(spans.slice(0, 1), 'd', range)).past.length).toBe(2);
});
