import { asProblem, Problem, refuse } from './api';

// upload sends a file as the body and tells how much of it went; fetch cannot.
export function upload<T>(address: string, file: File, sent: (fraction: number) => void, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open('POST', address);
    request.responseType = 'json';
    request.setRequestHeader('Accept', 'application/json');
    request.setRequestHeader('Content-Type', contentType(file.name));
    request.upload.onprogress = (event) => event.lengthComputable && sent(event.loaded / event.total);
    request.onload = () => finish<T>(request, resolve, reject);
    request.onerror = () => reject(asProblem(new Error('The connection was lost while the file was sent.')));
    request.onabort = () => reject(new Problem(0, 'Stopped', 'The upload was stopped.'));
    signal.addEventListener('abort', () => request.abort());
    request.send(file);
  });
}

function finish<T>(request: XMLHttpRequest, resolve: (value: T) => void, reject: (cause: unknown) => void) {
  if (request.status >= 200 && request.status < 300) return resolve(request.response as T);
  const body = request.response ?? {};
  try {
    refuse(new Problem(request.status, body.title ?? `Status ${request.status}`, body.detail ?? '', body.code ?? '', body.errors ?? []));
  } catch (cause) {
    reject(cause);
  }
}

export type Format = 'csv' | 'jsonl' | 'json';

export function formatOf(name: string): Format | undefined {
  const end = name.toLowerCase().split('.').pop() ?? '';
  if (end === 'csv') return 'csv';
  if (end === 'jsonl' || end === 'ndjson') return 'jsonl';
  return end === 'json' ? 'json' : undefined;
}

function contentType(name: string): string {
  const types: Record<Format, string> = { csv: 'text/csv', jsonl: 'application/jsonl', json: 'application/json' };
  return types[formatOf(name) ?? 'jsonl'];
}
