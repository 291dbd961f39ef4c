import type { FieldError } from './shapes';

// Problem is a failed call in the form of RFC 9457; status 0 means that no
// answer came at all.
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly title: string,
    readonly detail = '',
    readonly code = '',
    readonly errors: FieldError[] = [],
  ) {
    super(detail || title);
  }

  field(name: string): string {
    return this.errors.find((e) => e.field === name)?.message ?? '';
  }
}

export function asProblem(cause: unknown): Problem {
  if (cause instanceof Problem) return cause;
  return new Problem(0, 'The appliance cannot be reached', cause instanceof Error ? cause.message : String(cause));
}

// Whoever shows the sign-in or unseal page listens here.
type Watcher = (problem: Problem) => void;
const watchers = new Set<Watcher>();

export function onProblem(watch: Watcher): () => void {
  watchers.add(watch);
  return () => watchers.delete(watch);
}

// Whoever asks for a factor again, when the appliance wants a fresh one; false when
// the reader would rather not.
let stepUp: () => Promise<boolean> = async () => false;

export function onStepUp(ask: () => Promise<boolean>) {
  stepUp = ask;
}

export async function problemOf(response: Response): Promise<Problem> {
  const body = await response.json().catch(() => ({}));
  return new Problem(
    response.status,
    body.title || response.statusText || `Status ${response.status}`,
    body.detail ?? body.message ?? '',
    body.code ?? '',
    body.errors ?? [],
  );
}

export function refuse(problem: Problem): never {
  for (const watch of watchers) watch(problem);
  throw problem;
}

export async function call<T>(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  const headers: Record<string, string> = { Accept: 'application/json' };
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  const response = await fetch(path, {
    method,
    headers,
    body: body === undefined ? undefined : JSON.stringify(body),
    credentials: 'same-origin',
    signal,
  }).catch((cause) => {
    if (signal?.aborted) throw cause;
    return refuse(asProblem(cause));
  });
  if (!response.ok) {
    const problem = await problemOf(response);
    if (problem.code === 'step-up-required' && (await stepUp())) return call(method, path, body, signal);
    refuse(problem);
  }
  if (response.status === 204) return undefined as T;
  return (await response.json()) as T;
}

export const get = <T>(path: string, signal?: AbortSignal) => call<T>('GET', path, undefined, signal);
export const post = <T>(path: string, body: unknown = {}) => call<T>('POST', path, body);
export const patch = <T = void>(path: string, body: unknown) => call<T>('PATCH', path, body);
export const remove = <T = void>(path: string, body?: unknown) => call<T>('DELETE', path, body);

export const v1 = '/api/v1';

// path builds an address from parts; a part is always escaped.
export function path(...parts: string[]): string {
  return [v1, ...parts.map(encodeURIComponent)].join('/');
}

export const storePath = (slug: string, env: string, ...rest: string[]) => path('stores', slug, env, ...rest);

// query appends the parameters that have a value.
export function query(address: string, parameters: Record<string, string | number | undefined | null>): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== undefined && value !== null && value !== '') search.set(name, String(value));
  }
  const text = search.toString();
  return text ? `${address}?${text}` : address;
}
