import type { FieldShape } from './shapes';

const searchable = new Set(['text', 'email', 'url', 'editor', 'select']);
const operator = /(\?|!)?(=|~|<|>)|&&|\|\|/;

export const quoted = (text: string) => `"${text.replace(/\\/g, '\\\\').replace(/"/g, '\\"')}"`;

// expression turns what the reader typed into a filter of the records API: an
// expression stays as it is, plain words are looked for in every text field.
export function expression(typed: string, fields: FieldShape[]): string {
  const text = typed.trim();
  if (!text || operator.test(text)) return text;
  return fields
    .filter((field) => searchable.has(field.type))
    .map((field) => `${field.name} ~ ${quoted(text)}`)
    .join(' || ');
}

// equals is the filter for "has the same value here".
export function equals(field: string, value: unknown): string {
  const literal = typeof value === 'number' || typeof value === 'boolean' ? String(value) : quoted(String(value ?? ''));
  return `${field} = ${literal}`;
}

export function also(filter: string, more: string): string {
  if (!filter) return more;
  if (!operator.test(filter)) return more;
  return filter.includes('||') ? `(${filter}) && ${more}` : `${filter} && ${more}`;
}
