import { afterEach, expect, it, vi } from 'vitest';
import { asProblem, call, onProblem, path, Problem, query, storePath } from '../src/lib/api';

afterEach(() => vi.unstubAllGlobals());

function answer(status: number, body: unknown, type = 'application/problem+json') {
  vi.stubGlobal('fetch', async () => new Response(body === undefined ? null : JSON.stringify(body), { status, headers: { 'content-type': type } }));
}

it('escapes every part of an address', () => {
  expect(storePath('acme', 'prod', 'collections', 'a/b?')).toBe('/api/v1/stores/acme/prod/collections/a%2Fb%3F');
  expect(query(path('tenants'), { page: 2, sort: '', filter: 'a&b', state: undefined })).toBe('/api/v1/tenants?page=2&filter=a%26b');
});

it('makes a problem of a refusal, and tells whoever watches', async () => {
  answer(422, { title: 'Unprocessable Entity', status: 422, detail: 'slug: taken', code: 'invalid', errors: [{ field: 'slug', message: 'taken' }] });
  const seen: Problem[] = [];
  const stop = onProblem((problem) => seen.push(problem));
  const problem = await call('POST', '/x', {}).catch(asProblem);
  stop();
  expect(problem).toBeInstanceOf(Problem);
  expect(problem).toMatchObject({ status: 422, code: 'invalid', message: 'slug: taken' });
  expect((problem as Problem).field('slug')).toBe('taken');
  expect((problem as Problem).field('name')).toBe('');
  expect(seen).toHaveLength(1);
});

it('bears an answer that is no JSON', async () => {
  vi.stubGlobal('fetch', async () => new Response('<html>', { status: 502, statusText: 'Bad Gateway' }));
  expect(await call('GET', '/x').catch(asProblem)).toMatchObject({ status: 502, title: 'Bad Gateway' });
});

it('says so when nobody answers', async () => {
  vi.stubGlobal('fetch', async () => Promise.reject(new TypeError('Failed to fetch')));
  expect(await call('GET', '/x').catch(asProblem)).toMatchObject({ status: 0, title: 'The appliance cannot be reached' });
});

it('expects nothing of a 204', async () => {
  answer(204, undefined);
  expect(await call('DELETE', '/x')).toBeUndefined();
});
