// The lives of a store. A restore in place begins one, and so does its undo; what was
// written before stays where it was shipped, and can be restored all the same.
import type { Point, Range } from './timeline';

// LifeSpan is a life as the API tells it.
export interface LifeSpan {
  incarnation: string;
  first: string;
  last: string;
  began?: 'restore' | 'undo'; // how, where that is known
}

// Life is a stretch of the timeline: from its first point until the next life's first.
export interface Life {
  incarnation: string;
  from: number;
  until: number;
  last: number; // its newest point
  current: boolean; // the one that the store lives now
  words: string; // what began it
}

// livesOf orders lives into stretches without gaps. now is the store's own life; where
// it is not known, the newest one is. A life of which nothing was shipped yet has none.
export function livesOf(spans: LifeSpan[], now: string, range: Range): Life[] {
  const own = now || spans.at(-1)?.incarnation;
  return spans.map((span, i) => {
    const next = spans[i + 1];
    return {
      incarnation: span.incarnation,
      from: Date.parse(span.first),
      until: next ? Date.parse(next.first) : range.last,
      last: Date.parse(span.last),
      current: span.incarnation === own,
      words: span.began === 'undo' ? 'undo of a restore' : 'restore in place',
    };
  });
}

// lifeAt is the life that a moment is restored from.
export const lifeAt = (lives: Life[], at: number): Life | undefined => lives.findLast((life) => life.from <= at) ?? lives[0];

// turns are the moments at which one life ended and the next began, oldest first.
export const turns = (lives: Life[]): { at: number; before: Life; after: Life }[] =>
  lives.slice(1).map((after, i) => ({ at: after.from, before: lives[i]!, after }));

// acrossLives is where Shift with an arrow leads: to the last point of the life before,
// or the first one of the next; undefined where there is none.
export function acrossLives(lives: Life[], at: number, direction: -1 | 1): number | undefined {
  const here = lives.findLastIndex((life) => life.from <= at);
  const next = lives[here + direction];
  if (!next) return undefined;
  return direction < 0 ? Math.min(next.last, lives[here]!.from - 1) : next.from;
}

// splitByLife parts points into those of the life that the store lives now and others.
export function splitByLife(points: Point[], lives: Life[]): { present: Point[]; past: Point[] } {
  if (lives.length === 0) return { present: points, past: [] };
  const own = lives.find((life) => life.current)?.incarnation;
  return { present: points.filter((p) => p.incarnation === own), past: points.filter((p) => p.incarnation !== own) };
}
