// Made-up snapshots, drills, policies, findings.
import { before, id, targets } from './data.mjs';

const now = Date.now();
const second = 1000, minute = 60 * second, hour = 60 * minute, day = 24 * hour;
let seed = 11;
const random = () => ((seed = (seed * 1103515245 + 12345) % 2147483648) / 2147483648);

// Eleven days: days, hours, minutes, and the seconds of the last hour; quiet at night.
function history() {
  const found = [];
  const busy = (at) => { const h = new Date(at).getHours(); return h > 7 && h < 20; };
  let sequence = 0;
  const add = (at, kind) => found.push({ at, kind, bytes: kind === 'base' ? 27_400_000 : Math.round((400 + random() ** 3 * 90_000) * (busy(at) ? 3 : 0.4)) });
  add(now - 11 * day, 'base');
  for (let at = now - 11 * day + hour; at < now - 2 * day; at += hour) if (busy(at) || random() < 0.2) add(at, new Date(at).getUTCHours() === 23 ? 'day' : 'hour');
  add(now - 4.3 * day, 'base');
  for (let at = now - 2 * day; at < now - hour; at += minute) if (busy(at) ? random() < 0.7 : random() < 0.05) add(at, new Date(at).getMinutes() === 59 ? 'hour' : 'minute');
  for (let at = now - hour; at < now - 2000; at += second) if (random() < 0.4) add(at, new Date(at).getSeconds() > 57 ? 'minute' : 'second');
  found.sort((a, b) => a.at - b.at);
  return found.map((p) => ({ ...p, sequence: ++sequence, targets: p.at > now - 40 * minute && p.at < now - 22 * minute ? ['frankfurt'] : p.at > now - 8 * day ? ['frankfurt', 'nas'] : ['frankfurt'] }));
}
const all = history();
// Restored in place twice: three lives.
const turns = [now - 6.2 * day, now - 26 * minute];
const lifeOf = (at) => ['t2u6w0y3', 'p7q1r8s5', 'k3v9x2m4'][turns.filter((turn) => at >= turn).length];
const lives = () => {
  const found = new Map();
  for (const p of all) found.set(lifeOf(p.at), { incarnation: lifeOf(p.at), first: found.get(lifeOf(p.at))?.first ?? new Date(p.at).toISOString(), last: new Date(p.at).toISOString() });
  return [...found.values()];
};
const drilled = new Set([all[4].sequence, all[60].sequence, all.at(-700).sequence, all.at(-90).sequence]);

export function points(url) {
  const asked = (name, other) => (url.searchParams.get(name) ? Date.parse(url.searchParams.get(name)) : other);
  const limit = Number(url.searchParams.get('limit') || 400);
  const inside = all.filter((p) => p.at >= asked('from', 0) && p.at <= asked('until', Infinity));
  const ends = { first: new Date(all[0].at).toISOString(), last: new Date(all.at(-1).at).toISOString() };
  let step = 0, kept = inside;
  if (inside.length > limit) {
    const range = inside.at(-1).at - inside[0].at;
    step = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400].find((s) => range / 1000 / s <= limit - 2) ?? 86400;
    const last = new Map();
    for (const p of inside) {
      const key = Math.floor(p.at / 1000 / step);
      last.set(key, { ...p, bytes: p.bytes + (last.get(key)?.bytes ?? 0) });
    }
    kept = [...last.values()];
    if (limit === 1) kept = inside.slice(-1);
  }
  return { ...ends, lives: lives(), step_seconds: limit === 1 ? 0 : step, points: kept.map((p) => ({ time: new Date(p.at).toISOString(), sequence: p.sequence, targets: p.targets, bytes: p.bytes, pages: Math.ceil(p.bytes / 1400), files: 214, snapshots: 1, position: 40000 + p.sequence, incarnation: lifeOf(p.at), new_life: false, kind: p.kind, drilled: drilled.has(p.sequence) })) };
}

export const status = () => ({
  targets: [
    { target: 'frankfurt', seq: 4812, time: before(2), dirtyPages: 0, lagSeconds: 0.4, lag_seconds: 0.4, state: 'current', staged_bytes: 0, newest: before(2) },
    { target: 'nas', seq: 4790, time: before(1320), dirtyPages: 512, lagSeconds: 1320, lag_seconds: 1320, state: 'absent', staged_bytes: 7_340_032, newest: before(1320), why: 'dial: no route to the share', error: 'dial: no route to the share' },
  ],
});

export const policy = { every_seconds: 1, retention: { all_hours: 24, last: 0, hourly: 48, daily: 14, weekly: 8, monthly: 12, yearly: 0 }, regions: ['eu-central-1'], targets: [], lock: { mode: '', days: 0 }, erasure_horizon_days: 30, rto_seconds: 60, rpo_seconds: 5, drill_every_days: 7 };

export const drills = Array.from({ length: 31 }, (_, n) => {
  const failed = n === 9;
  const name = ['acme', 'acme', 'northwind', 'acme', 'blue-heron'][n % 5];
  const rto = failed ? null : Math.round(8200 + random() * 5000 + (n === 16 ? 61000 : 0));
  const rpo = Math.round(600 + random() * 900 + (n === 3 ? 7000 : 0));
  const started = n * 0.36 * 86400 + 900;
  return {
    id: `drill${id(8)}`, name, store: `${id()}/prod`, target: n % 3 ? 'frankfurt' : 'nas', sequence: 4700 - n * 90, position: { incarnation: 'k3v9x2m4', sequence: 48000 - n * 700 }, point: before(started + 30),
    started: before(started), ended: before(started - (rto ?? 3000) / 1000 - 1.4), ok: !failed, rto_ms: rto, rpo_ms: rpo, rto_goal_ms: 60000, rpo_goal_ms: 5000, rto_met: failed ? false : rto <= 60000, rpo_met: rpo <= 5000,
    bytes: 27_400_000 + n * 40_000, pages: 18400, records: 33104 - n * 11, files: 214, compared: 32900 - n * 11, cause: n % 6 ? 'schedule' : 'asked', actor: n % 6 ? 'system' : 'person:mara',
    checks: ['chain', 'checksum', 'integrity', 'probe', 'records', 'files'].map((check, i) => ({ name: check, state: failed && i > 3 ? (i === 4 ? 'failed' : 'skipped') : 'passed', text: 'as it should be' })),
    findings: failed ? ['packages: 3 records differ from what was recorded when they were shipped'] : [],
  };
});

export const standings = [
  { name: 'blue-heron', target: 'nas', every_seconds: 604800, last: drills[9], last_good: before(86400 * 9), due: before(86400 * 2), overdue: true, alarm: true },
  { name: 'acme', target: 'frankfurt', every_seconds: 604800, last: drills[1], last_good: drills[1].started, due: new Date(now + 6.6 * day).toISOString(), overdue: false, alarm: false },
  { name: 'acme', target: 'nas', every_seconds: 604800, last: drills[3], last_good: drills[3].started, due: new Date(now + 5.9 * day).toISOString(), overdue: false, alarm: false },
  { name: 'northwind', target: 'frankfurt', every_seconds: 604800, last: drills[2], last_good: drills[2].started, due: new Date(now + 6.2 * day).toISOString(), overdue: false, alarm: false },
  { name: 'quarry', target: 'frankfurt', every_seconds: 604800, last: null, last_good: null, due: new Date(now + 2 * day).toISOString(), overdue: false, alarm: false },
].map((s) => ({ store: `${id()}/prod`, ...s }));

export const doctor = {
  ok: false,
  findings: [
    { id: 'target-absent', severity: 'critical', what: 'The target nas has not answered for 22 minutes; acme is 22 minutes behind there.', fix: 'holdfast target test nas' },
    { id: 'places', severity: 'warning', what: 'All healthy targets are in one place (eu-central-1).', fix: 'holdfast target add NAME URL --place ELSEWHERE' },
    { id: 'recovery-unproven', severity: 'warning', what: 'A recovery key was never typed back.', fix: 'holdfast keys prove d540d56d --recovery-key-stdin' },
    { id: 'drill-due', severity: 'info', what: 'quarry has not been drilled for 9 days; its policy asks for 7.', fix: 'holdfast drill quarry' },
  ],
};

export const preview = {
  collections: [
    { collection: 'packages', added: 12, changed: 431, removed: 57 },
    { collection: 'maintainers', added: 0, changed: 2, removed: 0 },
    { collection: 'users', added: 0, changed: 0, removed: 0 },
  ],
  files: { added: 3, removed: 1, bytes: 90000 }, erasures: 2, undone_changes: 502, need_bytes: 82_000_000, free_bytes: 41_000_000_000, enough_room: true,
};

Object.assign(targets[0], { place: 'Frankfurt', region: 'eu-central-1', storage_class: 'STANDARD', health: 'healthy', tried: before(40) });
Object.assign(targets[1], { place: 'Office', region: '', storage_class: '', health: 'failed', tried: before(10), why: 'dial: no route to the share' });

// Every store, worst first; enough of them for a second page.
const lane = (target, state, lag, age, why) => ({ target, state, lag_seconds: lag, newest: before(age), ...(why ? { why } : {}) });
const kept = (n, slug, environment, state, lanes, drill, bytes, files) => ({
  store: slug ? `store${n}/${environment}` : environment, ...(slug ? { slug } : {}), state, why: lanes.find((l) => l.state === state)?.why, lag_seconds: Math.max(...lanes.map((l) => l.lag_seconds)),
  newest: lanes.map((l) => l.newest).sort().at(-1), targets: lanes.length, places: lanes.filter((l) => l.state === 'current').length, bytes, files, lanes, ...(drill ? { drill } : {}),
});
const well = (age) => [lane('frankfurt', 'current', 0, age), lane('nas', 'current', 0, age)];
const drill = (age, ok = true, met = true) => ({ at: before(age), target: 'frankfurt', ok, met });
export const overview = [
  kept(1, 'northwind', 'test', 'fenced', [lane('frankfurt', 'fenced', 4100, 4100, 'Another appliance goes on with this chain since 11:02.'), lane('nas', 'current', 0, 30)], drill(86400 * 3), 4_300_000, 0),
  kept(2, 'acme', 'prod', 'absent', [lane('frankfurt', 'current', 0.4, 2), lane('nas', 'absent', 1320, 1320, 'dial: no route to the share')], drill(86400 * 0.4), 75_366_400, 214),
  kept(3, 'blue-heron', 'prod', 'behind', [lane('frankfurt', 'behind', 41, 41, 'Changes come faster than the target takes them, or it is slow.'), lane('nas', 'current', 0.8, 3)], drill(86400 * 9, false), 1_912_602_624, 18_204),
  kept(4, 'lantern', 'dev', 'paused', [lane('frankfurt', 'paused', 0, 86400 * 4, 'The policy ships it only when asked.')], undefined, 401_408, 0),
  kept(5, '', 'system', 'current', well(9), undefined, 2_100_000, 0),
  kept(6, '', 'vault', 'current', well(9), undefined, 8_700_000, 0),
  ...Array.from({ length: 24 }, (_, n) => kept(7 + n, `tenant-${n + 1}`, n % 5 === 4 ? 'test' : 'prod', 'current', well(60 + n * 400), n % 7 === 3 ? undefined : drill(86400 * (1 + n / 3), true, n !== 5), 600_000 + n * 3_100_000, n * 17)),
];

export const reports = [1, 2, 3].map((n) => ({ id: `report${id(6)}`, made: before(86400 * 92 * n), by: n === 2 ? 'host' : 'person:mara', from: before(86400 * (92 * n + 90)), until: before(86400 * 92 * n), drills: 31 - n }));
