// The JSON of snapshot policies, restores, drills and the doctor, and the words for it.
import { bytes, count, plural, span } from './format';
import type { TargetStatus } from './shapes';
import type { Tone } from './tones';

export type ShippingState = 'current' | 'behind' | 'absent' | 'fenced' | 'paused';

// stateOf is the state of a store on a target.
export function stateOf(target: TargetStatus): ShippingState {
  if (target.state) return target.state;
  if (target.error) return 'absent';
  return target.dirtyPages > 0 || !target.seq ? 'behind' : 'current';
}

export const shippingTones: Record<ShippingState, Tone> = { current: 'ok', behind: 'warn', absent: 'danger', fenced: 'danger', paused: 'quiet' };

// Lane is how a store is kept on one target; Overview, on all of them.
export interface Lane {
  target: string;
  state: ShippingState;
  why?: string;
  lag_seconds: number;
  newest?: string;
}

export interface Overview {
  store: string;
  slug?: string;
  state: ShippingState;
  why?: string;
  lag_seconds: number;
  newest?: string;
  targets: number;
  places: number;
  bytes: number;
  files: number;
  lanes: Lane[];
  drill?: { at: string; target: string; ok: boolean; met: boolean };
}

// What the appliance keeps of its own is shipped and drilled like a store, but is no tenant's.
const own: Record<string, string> = { system: 'System database', vault: 'Vault' };
export const ownName = (name: string): string => own[name] ?? '';

// nameOf is what a store is called: slug or slug/env; parts of the appliance have no slug.
export function nameOf(one: Overview): { text: string; slug?: string; env: string } {
  const env = one.store.split('/')[1] ?? '';
  if (!one.slug) return { text: ownName(one.store) || one.store, env };
  return { text: env === 'prod' ? one.slug : `${one.slug}/${env}`, slug: one.slug, env };
}

export const lagOf = (target: TargetStatus): number => target.lag_seconds ?? target.lagSeconds ?? 0;

// lagText is how far behind, as short as can be read at a glance.
export function lagText(seconds: number): string {
  if (seconds <= 0) return 'none';
  if (seconds < 1) return 'under 1 s';
  return span(seconds);
}

// every is a step of time in words: "5 minutes", "1 day".
export function every(seconds: number): string {
  const units: [number, string][] = [
    [86_400, 'day'],
    [3600, 'hour'],
    [60, 'minute'],
  ];
  for (const [size, name] of units) {
    if (seconds >= size && seconds % size === 0) return plural(seconds / size, name);
  }
  return plural(seconds, 'second');
}

export interface Retention {
  all_hours: number;
  last: number;
  hourly: number;
  daily: number;
  weekly: number;
  monthly: number;
  yearly: number;
}

export interface Policy {
  every_seconds: number;
  retention: Retention;
  regions: string[] | null;
  targets: string[] | null;
  lock: { mode: string; days: number };
  erasure_horizon_days: number;
  rto_seconds: number;
  rpo_seconds: number;
  drill_every_days: number;
}

const kept: [keyof Retention, string, number][] = [
  ['hourly', 'hour', 1 / 24],
  ['daily', 'day', 1],
  ['weekly', 'week', 7],
  ['monthly', 'month', 30],
  ['yearly', 'year', 365],
];

// reach is about how many days back the oldest kept point lies.
export const reach = (retention: Retention): number => Math.max(0, retention.all_hours / 24, ...kept.map(([name, , days]) => retention[name] * days));

export interface Line {
  tone: 'ok' | 'warn' | 'info';
  text: string;
}

// preview says in plain words what a policy will do.
export function preview(policy: Policy, targets: string[]): Line[] {
  const lines: Line[] = [{ tone: 'info', text: shipped(policy, targets) }];
  lines.push(...retained(policy.retention));
  lines.push(locked(policy));
  if (policy.erasure_horizon_days > 0) lines.push({ tone: 'info', text: `An erased record may stand in snapshots for at most ${plural(policy.erasure_horizon_days, 'day')}.` });
  lines.push(...clashes(policy));
  lines.push(goals(policy));
  return lines;
}

function shipped(policy: Policy, targets: string[]): string {
  const where = policy.targets?.length ? policy.targets.join(' and ') : targets.length > 0 ? `every target (${targets.join(', ')})` : 'every target';
  const regions = policy.regions?.length ? `, which must lie in ${policy.regions.join(' or ')}` : '';
  if (!policy.every_seconds) return `Nothing is shipped by itself; “Snapshot now” ships to ${where}${regions}.`;
  return `What changed is shipped every ${every(policy.every_seconds).replace(/^1 /, '')} to ${where}${regions}. A store without changes costs nothing.`;
}

function retained(retention: Retention): Line[] {
  const parts = kept.filter(([name]) => retention[name] > 0).map(([name, unit]) => `one of each ${unit} for ${plural(retention[name], unit)}`);
  if (parts.length === 0 && !retention.last && !retention.all_hours) return [{ tone: 'warn', text: 'Nothing would be kept. Choose at least one rule.' }];
  const last = [
    ...(retention.all_hours > 0 ? [`every point of the last ${every(retention.all_hours * 3600).replace(/^1 /, '')}`] : []),
    ...(retention.last > 0 ? [`the newest ${count(retention.last)}`] : []),
  ];
  const days = reach(retention);
  const lines: Line[] = [{ tone: 'ok', text: `Kept: ${[...last, ...parts].join('; ')}.` }];
  if (days > 0) lines.push({ tone: 'info', text: `So the oldest point is about ${days < 2 ? plural(Math.round(days * 24), 'hour') : plural(Math.round(days), 'day')} old. The rest is pruned, after a drill has proven that what stays can be restored.` });
  return lines;
}

function locked(policy: Policy): Line {
  if (!policy.lock.mode || !policy.lock.days) return { tone: 'info', text: 'Objects are not locked: whoever has the bucket’s credentials can delete them.' };
  const who = policy.lock.mode === 'compliance' ? 'nobody, not even the bucket’s owner,' : 'only somebody with a special permission on the bucket';
  return { tone: 'ok', text: `For ${plural(policy.lock.days, 'day')} ${who} can delete an object.` };
}

function clashes(policy: Policy): Line[] {
  const found: Line[] = [];
  const horizon = policy.erasure_horizon_days;
  if (horizon > 0 && policy.lock.mode && policy.lock.days > horizon) {
    found.push({ tone: 'warn', text: `The lock (${plural(policy.lock.days, 'day')}) is longer than an erased record may last (${plural(horizon, 'day')}). It will be cut to that.` });
  }
  if (horizon > 0 && reach(policy.retention) > horizon) {
    found.push({ tone: 'warn', text: `Points are kept for about ${plural(Math.round(reach(policy.retention)), 'day')}, longer than an erased record may last: older ones still hold it, encrypted.` });
  }
  if (policy.rpo_seconds > 0 && policy.every_seconds > policy.rpo_seconds) {
    found.push({ tone: 'warn', text: `Shipping every ${every(policy.every_seconds).replace(/^1 /, '')} cannot lose less than that; the goal is ${every(policy.rpo_seconds)}.` });
  }
  return found;
}

function goals(policy: Policy): Line {
  const parts: string[] = [];
  if (policy.rpo_seconds > 0) parts.push(`lose at most ${every(policy.rpo_seconds)} of writes`);
  if (policy.rto_seconds > 0) parts.push(`be back within ${every(policy.rto_seconds)}`);
  const drill = policy.drill_every_days > 0 ? `A drill proves it every ${policy.drill_every_days === 1 ? 'day' : plural(policy.drill_every_days, 'day')}` : 'No drill proves it by itself';
  return { tone: policy.drill_every_days > 0 ? 'ok' : 'warn', text: `${parts.length > 0 ? `The goal: ${parts.join(', and ')}. ` : 'No goals are set. '}${drill}.` };
}

export interface Check {
  name: string;
  state: 'passed' | 'failed' | 'skipped';
  text: string;
}

// Drill is one drill; durations are in milliseconds, null where not measured or not set.
export interface Drill {
  id: string;
  store: string;
  name: string;
  target: string;
  sequence: number;
  point: string | null;
  started: string;
  ended: string;
  ok: boolean;
  rto_ms: number | null;
  rpo_ms: number | null;
  rto_goal_ms: number | null;
  rpo_goal_ms: number | null;
  rto_met: boolean | null;
  rpo_met: boolean | null;
  bytes: number;
  records: number;
  files: number;
  compared: number;
  checks: Check[] | null;
  findings: string[] | null;
  cause: 'asked' | 'schedule';
  actor: string;
}

// KeptReport is a signed report of a period, as it is listed.
export interface KeptReport {
  id: string;
  made: string;
  by: string;
  from: string;
  until: string;
  drills: number;
}

// Standing is where one store is with one target.
export interface Standing {
  store: string;
  name: string;
  target: string;
  every_seconds: number;
  last: Drill | null;
  last_good: string | null;
  due: string | null;
  overdue: boolean;
  alarm: boolean;
}

// verdict is a drill in one word. Whole, but a goal was missed, is a warning.
export const verdict = (drill: Drill) => verdictOf(drill.ok, drill.rto_met === false || drill.rpo_met === false);

export function verdictOf(ok: boolean, missed: boolean): { text: string; tone: Tone } {
  if (!ok) return { text: 'failed', tone: 'danger' };
  return missed ? { text: 'goal missed', tone: 'warn' } : { text: 'passed', tone: 'ok' };
}

// milliseconds in words.
export function duration(ms: number | null | undefined): string {
  if (ms === undefined || ms === null || ms < 0) return '–';
  if (ms === 0) return '0';
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms % 60_000 === 0 && ms < 3_600_000) return `${ms / 60_000} min`;
  if (ms % 1000 === 0 && ms < 60_000) return `${ms / 1000} s`;
  return ms < 60_000 ? `${(ms / 1000).toFixed(1)} s` : span(ms / 1000);
}

export interface Finding {
  id: string;
  severity: 'info' | 'warning' | 'error' | 'critical';
  what: string;
  fix: string;
}

export interface Doctor {
  ok: boolean;
  findings: Finding[] | null;
}

const severityOrder = { critical: 0, error: 0, warning: 1, info: 2 };

export const worstFirst = (findings: Finding[]): Finding[] => [...findings].sort((a, b) => severityOrder[a.severity] - severityOrder[b.severity]);

export const severityTones = { critical: 'danger', error: 'danger', warning: 'warn', info: 'info' } as const;

// remaining is the time that is left of a work that goes on at its rate.
export function remaining(progress: { per_second?: number; seconds_left?: number } | null | undefined, inBytes: boolean): string {
  if (!progress) return '';
  const rate = progress.per_second ? `${inBytes ? bytes(progress.per_second) : count(Math.round(progress.per_second))}/s` : '';
  const left = progress.seconds_left ? `about ${span(progress.seconds_left)} left` : '';
  return [rate, left].filter(Boolean).join(', ');
}
