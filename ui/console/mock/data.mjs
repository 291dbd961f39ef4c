// Made-up data in the shapes of the REST API, the same at every start.

let seed = 7;
const random = () => ((seed = (seed * 1103515245 + 12345) % 2147483648) / 2147483648);
export const pick = (list) => list[Math.floor(random() * list.length)];
export const id = (length = 15) => Array.from({ length }, () => pick([...'abcdefghijklmnopqrstuvwxyz0123456789'])).join('');
export const before = (seconds) => new Date(Date.now() - seconds * 1000).toISOString();

const stems = ['lib', 'python3-', 'golang-', 'node-', 'r-cran-', 'ruby-', ''];
const words = ['acl', 'zlib', 'brotli', 'curl', 'dav1d', 'expat', 'fuse', 'glib', 'harfbuzz', 'icu', 'jansson', 'krb5', 'lz4', 'mpfr', 'nettle', 'opus'];
const ends = ['', '-dev', '-doc', '1', '2', '-bin', '-utils', '-common'];
const sections = ['libs', 'libdevel', 'python', 'golang', 'javascript', 'net', 'doc', 'utils'];

function packageRecord(n) {
  const name = `${pick(stems)}${pick(words)}${pick(ends)}`;
  return {
    id: id(),
    collectionId: 'pbc_packages001',
    collectionName: 'packages',
    name,
    version: `${n % 9}.${n % 31}.${n % 7}-${1 + (n % 4)}+deb13u1`,
    section: pick(sections),
    priority: pick(['optional', 'optional', 'optional', 'required', 'standard']),
    architecture: pick(['amd64', 'all']),
    installed_size: Math.floor(random() * 90000),
    essential: n % 40 === 0,
    homepage: `https://example.org/${name}`,
    depends: { libc6: '>= 2.41', zlib1g: '>= 1:1.2' },
    description: `The ${name} package, with what other programs need to use it.`,
    created: before(86400 * 3),
    updated: before(3600 * (n % 70)),
  };
}

const field = (name, type) => ({ name, type });
const stamps = [field('created', 'autodate'), field('updated', 'autodate')];

export const collections = [
  {
    id: 'pbc_packages001', name: 'packages', type: 'base', system: false, records: 31842,
    fields: [
      field('id', 'text'), field('name', 'text'), field('version', 'text'), field('section', 'text'), field('priority', 'select'),
      field('architecture', 'text'), field('installed_size', 'number'), field('essential', 'bool'), field('homepage', 'url'),
      field('depends', 'json'), field('description', 'text'), ...stamps,
    ],
  },
  { id: 'pbc_maintainer01', name: 'maintainers', type: 'base', system: false, records: 1204, fields: [field('id', 'text'), field('name', 'text'), field('email', 'email'), ...stamps] },
  { id: 'pbc_sections0001', name: 'sections', type: 'view', system: false, records: 58, fields: [field('id', 'text'), field('section', 'text'), field('packages', 'number')] },
  { id: '_pb_users_auth_', name: 'users', type: 'auth', system: false, records: 0, fields: [field('id', 'text'), field('email', 'email'), field('name', 'text'), ...stamps] },
  { id: 'pbc_superusers01', name: '_superusers', type: 'auth', system: true, records: 1, fields: [field('id', 'text'), field('email', 'email')] },
];

export const packages = Array.from({ length: 640 }, (_, n) => packageRecord(n));

function tenant(slug, name, state, environments, age) {
  const at = (environment) => `http://${slug}${environment === 'prod' ? '' : `--${environment}`}.localhost:8090`;
  return {
    id: id(), slug, name, state, created: before(age), url: at('prod'),
    ...(state === 'parked' ? { parkedUntil: new Date(Date.now() + 5.3 * 86400e3).toISOString() } : {}),
    environments: environments.map((environment) => ({ name: environment, url: at(environment), state: state === 'live' ? 'live' : state })),
  };
}

export const tenants = [
  tenant('acme', 'Acme', 'live', ['prod', 'test', 'dev'], 86400 * 41),
  tenant('northwind', 'Northwind Traders', 'live', ['prod', 'test'], 86400 * 12),
  tenant('blue-heron', 'Blue Heron Clinic', 'live', ['prod'], 86400 * 3),
  tenant('quarry', 'Quarry & Daughters', 'live', ['prod'], 7200),
  tenant('old-mill', 'Old Mill Bakery', 'parked', ['prod'], 86400 * 200),
  tenant('lantern', 'Lantern Publishing', 'live', ['prod', 'dev'], 86400 * 90),
];

export const keys = [
  { id: id(), name: 'website', scope: 'read', collections: ['packages', 'sections'], created: before(86400 * 20), expires: new Date(Date.now() + 70 * 86400e3).toISOString(), lastUsed: before(42), state: 'active', hint: 'hfk_q7mz…' },
  { id: id(), name: 'nightly import', scope: 'write', collections: null, created: before(86400 * 35), expires: new Date(Date.now() + 55 * 86400e3).toISOString(), lastUsed: before(3600 * 9), state: 'active', hint: 'hfk_b01x…' },
  { id: id(), name: 'migration', scope: 'admin', collections: null, created: before(86400 * 120), expires: before(86400 * 30), lastUsed: before(86400 * 31), state: 'expired', hint: 'hfk_ttk4…' },
  { id: id(), name: 'lost laptop', scope: 'write', collections: ['packages'], created: before(86400 * 60), state: 'revoked', hint: 'hfk_ze9a…' },
];

export const targets = [
  { name: 'frankfurt', url: 's3://acme-backups/holdfast?endpoint=https://s3.example.org&region=eu-central-1', created: before(86400 * 40) },
  { name: 'nas', url: 'file:///mnt/nas/holdfast', created: before(86400 * 8) },
];

const position = (sequence) => ({ incarnation: 'k3v9x2m4', sequence });
export const snapshots = Array.from({ length: 34 }, (_, n) => ({
  store: 'a/prod', target: n % 2 ? 'nas' : 'frankfurt', seq: 34 - n, time: before(600 * n + 130), kind: n % 17 === 16 ? 'base' : 'segment',
  pages: n % 17 === 16 ? 18400 : 12 + ((n * 37) % 420), bytes: (n % 17 === 16 ? 18400 : 12 + ((n * 37) % 420)) * 1490, position: position(48210 - n * 61),
}));

const actions = [
  ['record.update', 'packages/k29d0s8f7a6s5d4', 'ok'], ['record.create', 'packages/p0o9i8u7y6t5r4e', 'ok'], ['snapshot.create', 'frankfurt', 'ok'],
  ['key.create', 'website', 'ok'], ['session.create', 'mara@example.org', 'refused'], ['session.create', 'mara@example.org', 'ok'],
  ['record.delete', 'maintainers/z1x2c3v4b5n6m7a', 'ok'], ['import.run', 'packages', 'ok'], ['key.revoke', 'lost laptop', 'ok'], ['snapshot.verify', 'nas', 'failed'],
];
const actors = ['person:mara', `key:${keys[0].id}`, 'system', 'host:1000', 'person:tomas'];
export const entries = Array.from({ length: 312 }, (_, n) => {
  const [action, target, outcome] = actions[n % actions.length];
  return {
    index: 311 - n, time: before(47 * n * (1 + (n % 5))), actor: actors[n % actors.length], action, target, outcome,
    ...(action.startsWith('record') ? { position: position(48210 - n) } : {}),
    detail: action.startsWith('record') ? { fields: 'version, installed_size' } : { address: '127.0.0.1' },
  };
});

export const operators = [
  { id: 'mara', email: 'mara@example.org', name: 'Mara Lindqvist', grants: [{ role: 'owner', scope: 'appliance' }], created: before(86400 * 41) },
  { id: 'tomas', email: 'tomas@northwind.example', name: 'Tomás Ferreira', grants: [{ role: 'owner', scope: 'northwind' }], created: before(86400 * 11) },
];

export const permissions = [
  'operator.manage', 'member.manage', 'tenant.create', 'tenant.read', 'tenant.delete', 'environment.create', 'data.read', 'data.write', 'schema.manage', 'key.manage', 'snapshot.read',
  'snapshot.create', 'snapshot.restore', 'target.read', 'target.manage', 'audit.read', 'operation.read', 'studio.open', 'custody.read', 'custody.manage', 'disposal.read', 'data.erase', 'doctor.read', 'drill.run', 'operation.cancel',
];

export const importResult = {
  collection: 'packages', read: 31850, created: 31842, updated: 0, failed: 8,
  inferred: collections[0].fields.slice(1, 10),
  errors: Array.from({ length: 8 }, (_, n) => ({ line: 912 + n * 3871, reason: n % 2 ? 'installed_size: must be a number, found "12,4 kB"' : 'the row has 9 columns, the header has 10' })),
};

export const keysOfTheAppliance = {
  root: '6f0c1de2a94b7785310f4dc2b98aa371',
  slots: [
    { id: '1e378d7d', kind: 'key-file', created: before(86400 * 40), proven: before(3600), unattended: true, damaged: false },
    { id: 'd540d56d', kind: 'recovery', created: before(86400 * 40), proven: null, unattended: false, damaged: false },
    { id: '77aa01c3', kind: 'shares', created: before(86400 * 3), proven: null, unattended: false, damaged: false, set: '5f3a9c01', need: 3, of: 5 },
  ],
  ring: { serial: 41, owners: 3, states: { live: 17, retired: 2 }, purposes: { pages: 5, files: 4 } },
  copies: {
    id: '0123456789abcdef',
    horizonSeconds: 604800,
    targets: [{ target: 'frankfurt', url: 's3://b/p', state: 'current', newest: { name: 'k', made: before(60), serial: 41, size: 14000, until: null }, held: [{ name: 'k', made: before(60), serial: 41, size: 14000, until: null }], checked: before(60), error: '', oldest: before(60) }],
  },
  findings: [{ id: 'recovery-unproven', severity: 'warning', text: 'A recovery key was never typed back: nobody has shown that it was written down right.', fix: 'holdfast keys prove d540d56d --recovery-key-stdin' }],
};

export const keyring = ['pages', 'files', 'segments'].map((purpose, i) => ({ owner: 'system', name: 'system', purpose, generation: 1 + i, state: 'live', created: before(86400 * (i + 1)), changed: before(86400), fingerprint: '61e2aa6410f5aa01' }));
