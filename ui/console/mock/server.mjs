// A stand-in for the appliance while the console is developed: the REST shapes
// with made-up data. Never shipped.
//   node mock/server.mjs [--port 5190] [--mode full|empty|setup|sealed|signed-out] [--slow MS]
import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';
import { extname, join, normalize } from 'node:path';
import { parseArgs } from 'node:util';
import * as data from './data.mjs';
import { operations, start } from './operations.mjs';
import * as recovery from './recovery.mjs';

const { values: options } = parseArgs({
  options: { port: { type: 'string', default: '5190' }, mode: { type: 'string', default: 'full' }, slow: { type: 'string', default: '0' } },
});
const full = options.mode !== 'empty' && options.mode !== 'setup';
const state = { sealed: options.mode === 'sealed', setup: options.mode === 'setup', signedIn: full && options.mode === 'full' || options.mode === 'empty' };
const list = (items) => (full ? items : []);
const mine = { tenants: list([...data.tenants]), keys: list([...data.keys]), targets: list([...data.targets]), operators: data.operators.slice(0, full ? 2 : 1) };
const ops = () => (full ? operations : operations.filter((o) => o.state === 'running'));

class Refusal extends Error {
  constructor(status, code, detail, errors = []) {
    super(detail);
    Object.assign(this, { status, code, errors });
  }
}

function paged(items, url) {
  const page = Number(url.searchParams.get('page') || 1);
  const perPage = Number(url.searchParams.get('perPage') || 50);
  const sort = url.searchParams.get('sort') || '';
  const name = sort.replace(/^-/, '');
  const by = (a, b) => (a[name] > b[name] ? 1 : a[name] < b[name] ? -1 : 0) * (sort.startsWith('-') ? -1 : 1);
  const rows = sort ? [...items].sort(by) : items;
  return { items: rows.slice((page - 1) * perPage, page * perPage), page, perPage, totalItems: items.length, totalPages: Math.ceil(items.length / perPage) };
}

const me = () => ({ person: { id: 'mara', email: 'mara@example.org', name: 'Mara Lindqvist' }, grants: [{ role: 'owner', scope: 'appliance' }], permissions: data.permissions });
const find = (slug) => mine.tenants.find((t) => t.slug === slug) ?? fail(404, 'not-found', `There is no tenant "${slug}".`);
const fail = (...args) => {
  throw new Refusal(...args);
};

function createTenant({ body }) {
  const wrong = !/^[a-z0-9]+(-[a-z0-9]+)*$/.test(body.slug ?? '') ? 'Use a-z, 0-9 and single hyphens.' : ['api', 'admin', 'www'].includes(body.slug) ? 'This slug is reserved.' : '';
  if (wrong) fail(422, 'invalid', 'The tenant cannot be made.', [{ field: 'slug', message: wrong }]);
  if (mine.tenants.some((t) => t.slug === body.slug)) fail(409, 'exists', `A tenant "${body.slug}" already exists.`, [{ field: 'slug', message: 'Taken.' }]);
  const url = `http://${body.slug}.localhost:8090`;
  const tenant = { id: data.id(), slug: body.slug, name: body.name, state: 'live', created: data.before(0), url, environments: [{ name: 'prod', url, state: 'live' }] };
  mine.tenants.push(tenant);
  return [201, tenant];
}

function listRecords({ url, params }) {
  const filter = url.searchParams.get('filter');
  if (params.c !== 'packages') return [200, paged([], url)];
  if (filter && !/[~=<>]/.test(filter)) fail(400, 'bad-filter', 'The filter cannot be read: expected an operator after the first word.');
  const wanted = /~\s*["']([^"']*)["']/.exec(filter ?? '')?.[1];
  const answer = paged(data.packages.filter((r) => !wanted || JSON.stringify(r).includes(wanted)), url);
  return [200, filter ? answer : { ...answer, totalItems: 31842, totalPages: Math.ceil(31842 / answer.perPage) }];
}

const store = ({ params }) => [
  200,
  { id: `${find(params.slug).id}/${params.env}`, slug: params.slug, environment: params.env, url: find(params.slug).url, position: { incarnation: 'k3v9x2m4', sequence: full ? 48210 : 0 }, collections: full ? 4 : 0, records: full ? 33104 : 0, bytes: full ? 75366400 : 401408, state: find(params.slug).state },
];

const S = '/stores/:slug/:env';
const routes = {
  'GET /status': () => [200, { version: '0.1.0-dev', setupNeeded: state.setup, sealed: state.sealed, domain: 'localhost:8090', insecure: true }],
  'POST /unseal': ({ body }) => (body.passphrase === 'wrong' ? fail(401, 'unseal', 'No slot opens with that passphrase. The next try is possible in 2 seconds.') : ((state.sealed = false), [200, {}])),
  'POST /setup': ({ body }) => ((body.password ?? '').length < 12 ? fail(422, 'invalid', 'Check the form.', [{ field: 'password', message: 'At least 12 characters.' }]) : ((state.setup = false), (state.signedIn = true), [201, me()])),
  'POST /session': ({ body }) => (body.password === 'wrong' ? fail(401, 'unauthenticated', 'Unknown e-mail or password.') : ((state.signedIn = true), [201, me()])),
  'GET /session': () => (state.signedIn ? [200, me()] : fail(401, 'unauthenticated', 'Sign in first.')),
  'DELETE /session': () => ((state.signedIn = false), [204]),
  'GET /operators': ({ url }) => [200, paged(mine.operators, url)],
  'POST /operators': ({ body }) => (mine.operators.push({ ...body, id: data.id(), grants: [{ role: body.role, scope: 'appliance' }], created: data.before(0) }), [201, mine.operators.at(-1)]),
  'GET /tenants': ({ url }) => [200, paged(mine.tenants.filter((t) => (url.searchParams.get('state') || t.state) === t.state).filter((t) => `${t.slug} ${t.name}`.toLowerCase().includes((url.searchParams.get('filter') ?? '').toLowerCase())), url)],
  'POST /tenants': createTenant,
  'GET /tenants/:slug': ({ params }) => [200, find(params.slug)],
  'DELETE /tenants/:slug': ({ params, url }) => [200, Object.assign(find(params.slug), url.searchParams.get('now') ? { state: 'destroyed' } : { state: 'parked', parkedUntil: new Date(Date.now() + 7 * 86400e3).toISOString() })],
  'POST /tenants/:slug/undelete': ({ params }) => [200, Object.assign(find(params.slug), { state: 'live', parkedUntil: undefined })],
  'POST /tenants/:slug/environments': ({ params, body }) => [201, (find(params.slug).environments.push({ ...body, url: '', state: 'live' }), find(params.slug))],
  [`GET ${S}`]: store,
  [`GET ${S}/collections`]: () => [200, { items: list(data.collections), page: 1, perPage: 200, totalItems: list(data.collections).length }],
  [`GET ${S}/collections/:c/records`]: listRecords,
  [`POST ${S}/collections/:c/import`]: ({ params }) => [202, start('import', params.c, `${params.slug}/${params.env}`, 5, 31850, 'rows', { ...data.importResult, collection: params.c })],
  [`GET ${S}/keys`]: ({ url }) => [200, paged(mine.keys, url)],
  [`POST ${S}/keys`]: ({ body }) => {
    if (!body.name) fail(422, 'invalid', 'The key cannot be made.', [{ field: 'name', message: 'Give the key a name.' }]);
    const key = { ...body, id: data.id(), created: data.before(0), expires: body.expires ? new Date(Date.now() + 90 * 86400e3).toISOString() : undefined, state: 'active', hint: 'hfk_new0…' };
    mine.keys.unshift(key);
    return [201, { ...key, key: `hfk_${data.id(22)}_${data.id(22)}` }];
  },
  [`DELETE ${S}/keys/:id`]: ({ params }) => (Object.assign(mine.keys.find((k) => k.id === params.id) ?? {}, { state: 'revoked' }), [204]),
  [`GET ${S}/snapshots`]: ({ url }) => [200, paged(list(data.snapshots), url)],
  [`POST ${S}/snapshots`]: ({ params }) => [202, start('snapshot', 'frankfurt', `${params.slug}/${params.env}`, 3, 420, 'pages', { store: 'acme/prod', seq: 35, pages: 420, bytes: 610000, files: 3 })],
  [`GET ${S}/snapshots/status`]: () => [200, full ? recovery.status() : { targets: [] }],
  [`GET ${S}/snapshots/points`]: ({ url }) => [200, full ? recovery.points(url) : { step_seconds: 0, points: [] }],
  [`GET ${S}/snapshots/policy`]: () => [200, recovery.policy],
  [`PUT ${S}/snapshots/policy`]: ({ body }) => [200, Object.assign(recovery.policy, body)],
  [`GET ${S}/restores`]: ({ url }) => [200, paged([], url)],
  [`GET ${S}/drills`]: ({ url, params }) => [200, paged(list(recovery.drills.filter((d) => d.name === params.slug)), url)],
  [`POST ${S}/drills`]: ({ params }) => [202, start('drill', 'frankfurt', `${params.slug}/${params.env}`, 4, 18400, 'pages', { ok: true, rto_seconds: 8.2, rpo_seconds: 0.9 })],
  'GET /drills/overview': ({ url }) => [200, paged(list(recovery.standings), url)],
  'GET /drill-reports': ({ url }) => [200, paged(list(recovery.reports), url)],
  'POST /drill-reports': ({ body }) => (body.from < body.until ? (recovery.reports.unshift({ id: data.id(), made: data.before(0), by: 'person:mara', drills: 31, ...body }), [201, recovery.reports[0]]) : fail(422, 'invalid', '', [{ field: 'from', message: 'is not before until' }])),
  'GET /drills/:id': ({ params }) => [200, recovery.drills.find((d) => d.id === params.id)],
  'GET /drills': ({ url }) => [200, paged(list(recovery.drills), url)],
  'POST /drills': () => [202, start('drill', 'all stores', '', 6, 6, 'stores', { ok: true })],
  'GET /doctor': () => [200, full ? recovery.doctor : { ok: true, findings: [] }],
  'GET /snapshots/overview': ({ url }) => [200, paged(list(recovery.overview).filter((o) => ['', o.state].includes(url.searchParams.get('filter') ?? '') || (url.searchParams.get('filter') === 'trouble' && o.state !== 'current')), url)],
  [`POST ${S}/snapshots/verify`]: ({ params }) => [202, start('verify', 'frankfurt', `${params.slug}/${params.env}`, 3, 34, 'objects', { ok: true, objects: 34, bytes: 51000000, problems: [] })],
  [`POST ${S}/restores`]: ({ params, body }) => [202, start('restore', body.as ?? params.slug, `${params.slug}/${params.env}`, body.dry_run ? 1 : 4, 18400, 'pages', body.dry_run ? { plan: recovery.preview } : { id: 'r1', slug: body.as ?? params.slug, in_place: body.in_place, records: 33104, files: 214, rto_seconds: 3.9 })],
  [`POST ${S}/restores/:id/confirm`]: () => [200, {}],
  [`POST ${S}/restores/:id/undo`]: ({ params }) => [202, start('restore.undo', params.slug, `${params.slug}/${params.env}`, 1, 1, 'steps', {})],
  [`GET ${S}/audit`]: ({ url }) => [200, paged(data.entries, url)],
  [`POST ${S}/audit/verify`]: () => [200, { ok: true, size: 312, root: 'p8uHk3Zb0cVg1W3vJq2mXg5l2s8E1yQm7dT0fR6nYkA=', problems: [] }],
  'GET /audit': ({ url }) => [200, paged(data.entries.filter((e) => !e.action.startsWith('record')), url)],
  'POST /audit/verify': () => [200, { ok: false, size: 311, root: 'p8uHk3Zb0cVg1W3vJq2mXg5l2s8E1yQm7dT0fR6nYkA=', problems: ['leaf 12: the hash does not match its tile'] }],
  'GET /targets': ({ url }) => [200, paged(mine.targets, url)],
  'GET /keys': () => [200, data.keysOfTheAppliance],
  'GET /keys/entries': ({ url }) => [200, paged(data.keyring, url)],
  'POST /targets': ({ body }) => (/^(s3|file):/.test(body.url) ? (mine.targets.push({ name: body.name, url: body.url, created: data.before(0) }), [201, mine.targets.at(-1)]) : fail(422, 'invalid', 'The target cannot be added.', [{ field: 'url', message: 'Begin with s3:// or file:///' }])),
  'POST /targets/:name/test': ({ params }) => (params.name === 'nas' ? fail(502, 'target', 'write the probe object: dial: no route to the share') : [200, { ok: true }]),
  'DELETE /targets/:name': ({ params }) => ((mine.targets = mine.targets.filter((t) => t.name !== params.name)), [204]),
  'GET /operations': ({ url }) => [200, paged(ops().filter((o) => (url.searchParams.get('state') || o.state) === o.state && (url.searchParams.get('store') || o.store) === o.store), url)],
  'GET /operations/:id': ({ params }) => [200, ops().find((o) => o.id === params.id) ?? fail(404, 'not-found', 'There is no such operation.')],
  'POST /operations/:id/cancel': ({ params }) => [200, Object.assign(ops().find((o) => o.id === params.id), { state: 'cancelled' })],
  [`POST ${S}/studio`]: ({ params }) => [200, { url: `http://${params.slug}--studio.localhost:8090/enter?ticket=made-up` }],
};

const table = Object.entries(routes).map(([key, run]) => {
  const [method, pattern] = key.split(' ');
  return { method, run, expression: new RegExp(`^/api/v1${pattern.replace(/:(\w+)/g, '(?<$1>[^/]+)')}$`) };
});

async function answerApi(request, url, response) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  try {
    const raw = Buffer.concat(chunks).toString();
    const body = request.headers['content-type']?.includes('json') && raw.startsWith('{') ? JSON.parse(raw) : {};
    const route = table.find((r) => r.method === request.method && r.expression.test(url.pathname)) ?? fail(404, 'not-found', 'No such route.');
    const params = Object.fromEntries(Object.entries(route.expression.exec(url.pathname).groups ?? {}).map(([k, v]) => [k, decodeURIComponent(v)]));
    const [status, value] = route.run({ body, url, params });
    response.writeHead(status, { 'content-type': 'application/json' }).end(value === undefined ? undefined : JSON.stringify(value));
  } catch (cause) {
    const { status = 500, code = 'internal', errors = [], message } = cause;
    response.writeHead(status, { 'content-type': 'application/problem+json' }).end(JSON.stringify({ type: 'about:blank', title: { 404: 'Not found', 422: 'Not valid', 409: 'Already there' }[status] ?? 'Refused', status, detail: message, code, errors }));
  }
}

const kinds = { '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml', '.woff2': 'font/woff2', '.html': 'text/html; charset=utf-8' };
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'self'";

async function answerFile(url, response) {
  const root = new URL('../../dist/', import.meta.url).pathname;
  const path = extname(url.pathname) ? normalize(url.pathname) : '/index.html';
  const body = await readFile(join(root, path)).catch(() => undefined);
  response.writeHead(body ? 200 : 404, { 'content-type': kinds[extname(path)] ?? 'text/plain', 'content-security-policy': policy }).end(body ?? 'not found');
}

const server = createServer((request, response) => {
  const url = new URL(request.url, 'http://localhost');
  const answer = () => (url.pathname.startsWith('/api/') ? answerApi(request, url, response) : answerFile(url, response));
  setTimeout(answer, url.pathname.startsWith('/api/') ? Number(options.slow) : 0);
});
server.listen(Number(options.port), '127.0.0.1', () => console.log(`mock (${options.mode}) on http://127.0.0.1:${options.port}`));
