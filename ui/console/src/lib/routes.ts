import table from '../../../routes.json';

// The one table of client routes; the server reads the same file to know which
// addresses the console answers.
export type RouteName = keyof typeof table;
export type Params = Record<string, string>;

export interface Match {
  name: RouteName;
  params: Params;
}

const names = Object.keys(table) as RouteName[];

function matchPattern(pattern: string, parts: string[]): Params | undefined {
  const wanted = pattern.split('/').filter(Boolean);
  if (wanted.length !== parts.length) return undefined;
  const params: Params = {};
  for (const [i, want] of wanted.entries()) {
    const part = parts[i] ?? '';
    if (want.startsWith('{')) params[want.slice(1, -1)] = part;
    else if (want !== part) return undefined;
  }
  return params;
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export function match(pathname: string): Match | undefined {
  const parts = pathname.split('/').filter(Boolean).map(decode);
  for (const name of names) {
    const params = matchPattern(table[name], parts);
    if (params) return { name, params };
  }
  return undefined;
}

// ofStore takes a store's name, slug or slug/env, apart.
export function ofStore(name: string): Params {
  const [slug = '', env = 'prod'] = name.split('/');
  return { slug, env };
}

export function href(name: RouteName, params: Params = {}): string {
  return table[name].replace(/\{(\w+)\}/g, (_, key: string) => encodeURIComponent(params[key] ?? ''));
}
