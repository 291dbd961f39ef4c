// The arithmetic of the timeline: what it shows, where its ticks stand, where a
// key leads. Times are milliseconds of Unix time; markup is Timeline's.
import type { LifeSpan } from './lives';

export type Kind = 'second' | 'minute' | 'hour' | 'day' | 'base';

export interface Point {
  time: string;
  sequence: number;
  targets: string[];
  bytes: number;
  pages: number;
  files: number;
  snapshots: number;
  position: number;
  incarnation: string; // the life that it is of
  kind: Kind;
  drilled: boolean;
}

export interface Points {
  first?: string;
  last?: string;
  step_seconds: number;
  points: Point[];
  lives?: LifeSpan[]; // of the whole history, oldest first
}

export type Span = 'hour' | 'day' | 'week' | 'all';

export interface View {
  from: number;
  until: number;
}

export const second = 1000;
export const minute = 60 * second;
export const hour = 60 * minute;
export const day = 24 * hour;
const week = 7 * day;
const widths: Record<Exclude<Span, 'all'>, number> = { hour, day, week };

export const spans: Span[] = ['hour', 'day', 'week', 'all'];

// viewOf is the stretch to show: the one before where the moment is still well
// inside it, else one with the moment in its middle, never far beyond the ends.
export function viewOf(span: Span, at: number, first: number, last: number, before?: View): View {
  if (span === 'all') {
    const pad = Math.max((last - first) * 0.02, 5 * second);
    return { from: first - pad, until: last + pad };
  }
  const width = widths[span];
  const edge = width * 0.03;
  if (before && Math.abs(before.until - before.from - width) < 1 && at >= before.from + edge / 2 && at <= before.until - edge / 2) return before;
  const until = Math.max(Math.min(at + width / 2, last + edge), Math.min(first - edge + width, last + edge));
  return { from: until - width, until };
}

// startingSpan is what a history is first shown at.
export function startingSpan(first: number, last: number): Span {
  if (last - first <= hour) return 'all';
  return last - first > 2 * day ? 'week' : 'day';
}

export interface Tick {
  at: number;
  label: string;
  strong: boolean; // a day begins here
}

const tickSteps = [second, 2 * second, 5 * second, 10 * second, 15 * second, 30 * second, minute, 2 * minute, 5 * minute, 10 * minute, 15 * minute, 30 * minute, hour, 2 * hour, 3 * hour, 6 * hour, 12 * hour];
const dayParts = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short' });
const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit' });
const clockSeconds = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });

// ticks are at round times of the reader's clock, at most so many.
export function ticks(view: View, most: number): Tick[] {
  const step = tickSteps.find((s) => (view.until - view.from) / s <= most);
  return step ? withinDays(view, step) : ofDays(view, most);
}

function midnight(at: number): Date {
  const date = new Date(at);
  date.setHours(0, 0, 0, 0);
  return date;
}

function withinDays(view: View, step: number): Tick[] {
  const found: Tick[] = [];
  const start = midnight(view.from);
  while (start.getTime() <= view.until) {
    const next = new Date(start);
    next.setDate(next.getDate() + 1);
    const from = start.getTime() + Math.max(0, Math.ceil((view.from - start.getTime()) / step)) * step;
    for (let at = from; at < next.getTime() && at <= view.until; at += step) {
      const strong = at === start.getTime();
      found.push({ at, strong, label: strong ? dayParts.format(at) : (step < minute ? clockSeconds : clock).format(at) });
    }
    start.setTime(next.getTime());
  }
  return found;
}

function ofDays(view: View, most: number): Tick[] {
  const total = (view.until - view.from) / day;
  const step = [1, 2, 3, 7, 14, 30, 91, 182, 365].find((s) => total / s <= most) ?? 730;
  const found: Tick[] = [];
  for (const at = midnight(view.from); at.getTime() <= view.until; at.setDate(at.getDate() + step)) {
    if (at.getTime() >= view.from) found.push({ at: at.getTime(), strong: false, label: dayParts.format(at) });
  }
  return found;
}

const timeOf = (point: Point) => Date.parse(point.time);

// pointAt is what a moment is restored as: the newest point that is not after it.
export function pointAt(points: Point[], at: number): Point | undefined {
  let low = 0;
  let high = points.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (timeOf(points[middle]!) <= at) low = middle + 1;
    else high = middle;
  }
  return points[low - 1];
}

// neighbour is the next point before or after a moment.
export function neighbour(points: Point[], at: number, direction: -1 | 1): Point | undefined {
  if (direction > 0) return points.find((p) => timeOf(p) > at);
  return pointAt(points, at - 1);
}

export interface Range {
  first: number;
  last: number;
}

export const clamp = (at: number, range: Range) => Math.max(range.first, Math.min(range.last, at));

// keyed is the moment that a key of the slider leads to; undefined for keys that
// it has no use for. Pages are an hour, or a day where more than a day is shown
// or Shift is held.
export function keyed(key: string, shift: boolean, at: number, span: Span, range: Range, points: Point[]): number | undefined {
  const page = shift || span === 'week' || (span === 'all' && range.last - range.first > day) ? day : hour;
  const to = (direction: -1 | 1) => {
    const next = neighbour(points, at, direction);
    return next ? timeOf(next) : direction < 0 ? range.first : range.last;
  };
  switch (key) {
    case 'ArrowLeft':
    case 'ArrowDown':
      return clamp(to(-1), range);
    case 'ArrowRight':
    case 'ArrowUp':
      return clamp(to(1), range);
    case 'PageUp':
      return clamp(at + page, range);
    case 'PageDown':
      return clamp(at - page, range);
    case 'Home':
      return range.first;
    case 'End':
      return range.last;
  }
  return undefined;
}

// scale turns times into pixels of a picture that wide.
export const scale = (view: View, width: number) => (at: number) => ((at - view.from) / (view.until - view.from)) * width;

// share is how high a size's bar is, 0 to 1: by its logarithm, so that a whole
// image does not hide what a second ships.
export function share(bytes: number, most: number): number {
  if (bytes <= 0 || most <= 0) return 0;
  const floor = 256;
  if (most <= floor) return 1;
  return Math.max(0.06, Math.log(Math.max(bytes, floor) / floor) / Math.log(most / floor));
}

// local is a moment as <input type="datetime-local"> has it, and back.
export function local(at: number): string {
  const date = new Date(at);
  const two = (n: number) => String(n).padStart(2, '0');
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}T${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}
