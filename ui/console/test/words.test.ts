import { expect, it } from 'vitest';
import { ago, bytes, cell, plural, span } from '../src/lib/format';
import { apart, healthOf } from '../src/lib/places';
import { slugOf } from '../src/lib/slug';
import { targetUrl } from '../src/lib/target';
import { formatOf } from '../src/lib/upload';

it('proposes slugs that the server takes', () => {
  expect(slugOf('Blå Hägern & Co.')).toBe('bla-hagern-co');
  expect(slugOf('--Acme -- 2--')).toBe('acme-2');
  expect(slugOf('日本')).toBe('');
  expect(slugOf(`${'a'.repeat(39)} b`)).toBe('a'.repeat(39));
});

it('writes sizes and spans', () => {
  expect(bytes(0)).toBe('0 B');
  expect(bytes(1023)).toBe('1023 B');
  expect(bytes(1536)).toBe('1.5 KiB');
  expect(bytes(75_366_400)).toBe('71.9 MiB');
  expect(span(59)).toBe('59 s');
  expect(span(7260)).toBe('2 h 1 min');
  expect([span(1320), span(7200), span(90_000)]).toEqual(['22 min', '2 h', '1 d 1 h']);
  expect(plural(1, 'page')).toBe('1 page');
  expect(plural(1200, 'entry', 'entries')).toBe('1,200 entries');
});

it('tells times by their distance', () => {
  const now = Date.parse('2026-11-22T12:00:00Z');
  expect(ago('2026-11-22T11:59:58Z', now)).toBe('just now');
  expect(ago('2026-11-22T10:00:00Z', now)).toBe('2 hours ago');
  expect(ago('2026-11-29T12:00:00Z', now)).toBe('in 7 days');
  expect(ago(undefined, now)).toBe('');
});

it('shows any value in one line', () => {
  expect(cell(null)).toBe('');
  expect(cell(0)).toBe('0');
  expect(cell({ a: 1 })).toBe('{"a":1}');
});

it('writes the address of a target', () => {
  const form = { kind: 's3', bucket: ' b ', prefix: '/p/q/', endpoint: 'https://s3.example.org', region: 'eu', folder: '' };
  expect(targetUrl(form)).toBe('s3://b/p/q?endpoint=https%3A%2F%2Fs3.example.org&region=eu');
  expect(targetUrl({ ...form, endpoint: '', region: '', prefix: '' })).toBe('s3://b');
  expect(targetUrl({ ...form, kind: 'file', folder: ' /mnt/b ' })).toBe('file:///mnt/b');
});

it('tells the format from the name', () => {
  expect(formatOf('a.CSV')).toBe('csv');
  expect(formatOf('a.b.ndjson')).toBe('jsonl');
  expect(formatOf('json')).toBe('json');
  expect(formatOf('a.xlsx')).toBeUndefined();
});

it('tells whether targets are apart', () => {
  const t = (name: string, more = {}) => ({ name, url: 'file:///x', health: 'healthy', ...more });
  expect(apart([])).toBe('');
  expect(apart([t('a')])).toContain('one target only');
  expect(apart([t('a', { place: 'A' }), t('b', { place: 'B', health: 'absent' })])).toContain('Only one target answers');
  expect(apart([t('a', { place: 'A' }), t('b')])).toContain('Say where b lies');
  expect(apart([t('a', { place: 'A' }), t('b', { place: 'a ' })])).toContain('in one place (A)');
  expect(apart([t('a', { place: 'A' }), t('b', { region: 'eu' })])).toBe('');
  expect(healthOf(t('a', { health: 'failed' }))).toEqual({ text: 'failed', tone: 'danger' });
  expect(healthOf(t('a', { health: undefined })).text).toBe('not tried yet');
});
