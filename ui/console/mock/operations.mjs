import { before, id, importResult } from './data.mjs';

const past = (kind, target, state, age, more = {}) => ({
  id: id(), kind, target, store: 'acme/prod', state, actor: 'person:mara', created: before(age), updated: before(age - 40), progress: { done: 100, total: 100, unit: 'rows', text: '' }, ...more,
});

export const operations = [
  past('import', 'packages', 'done', 3600, { result: importResult, progress: { done: 31850, total: 31850, unit: 'rows', text: '' } }),
  past('snapshot', 'frankfurt', 'done', 5400, { result: { store: 'acme/prod', seq: 33, pages: 120, bytes: 178800, files: 2 } }),
  past('verify', 'nas', 'failed', 7200, { error: 'segment 00000031: the hash does not match the manifest', progress: { done: 31, total: 34, unit: 'objects', text: 'reading segment 31' } }),
  past('restore', 'acme-copy', 'interrupted', 86400, { error: 'the process ended while this ran', progress: { done: 40, total: 100, unit: 'pages', text: '' } }),
];

// start makes an operation that finishes by itself after `seconds`.
export function start(kind, target, store, seconds, total, unit, result) {
  const operation = { id: id(), kind, target, store, state: 'running', actor: 'person:mara', created: before(0), updated: before(0), progress: { done: 0, total, unit, text: 'starting' } };
  operations.unshift(operation);
  const steps = Math.max(1, Math.round(seconds / 0.3));
  let step = 0;
  const timer = setInterval(() => {
    step++;
    if (operation.state !== 'running') return clearInterval(timer);
    operation.updated = before(0);
    operation.progress = { done: Math.min(total, Math.round((total * step) / steps)), total, unit, text: `${kind} ${target}` };
    if (step < steps) return;
    clearInterval(timer);
    Object.assign(operation, { state: 'done', result });
  }, 300);
  return operation;
}
