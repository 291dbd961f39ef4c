let numbers = new Intl.NumberFormat('en');
const relative = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });
let stamps = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'medium' });
let days = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium' });

// writeAs sets how dates, times and numbers are written, and in which time zone; what
// is empty, or not known to this browser, stays as it was made for.
export function writeAs(language: string, timeZone: string) {
  const known = <T>(make: (language: string | undefined, timeZone: string | undefined) => T): T => {
    for (const [l, z] of [[language, timeZone], ['', timeZone], [language, ''], ['', '']] as const) {
      try {
        return make(l || 'en-GB', z || undefined);
      } catch {
        // The next form says less.
      }
    }
    return make('en-GB', undefined);
  };
  numbers = known((l) => new Intl.NumberFormat(language ? l : 'en'));
  stamps = known((l, zone) => new Intl.DateTimeFormat(l, { dateStyle: 'medium', timeStyle: 'medium', timeZone: zone }));
  days = known((l, zone) => new Intl.DateTimeFormat(l, { dateStyle: 'medium', timeZone: zone }));
}

export const count = (n: number | undefined | null) => numbers.format(n ?? 0);

export function plural(n: number, one: string, many = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : many}`;
}

// bytes uses binary units, as disks and buckets are billed by them.
export function bytes(n: number | undefined | null): string {
  let value = n ?? 0;
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  const digits = unit === 0 || value >= 100 ? 0 : 1;
  return `${value.toFixed(digits)} ${units[unit]}`;
}

const steps: [Intl.RelativeTimeFormatUnit, number][] = [
  ['year', 31_536_000],
  ['month', 2_592_000],
  ['day', 86_400],
  ['hour', 3600],
  ['minute', 60],
];

export function ago(time: string | undefined, now = Date.now()): string {
  const seconds = (Date.parse(time ?? '') - now) / 1000;
  if (Number.isNaN(seconds)) return '';
  for (const [unit, size] of steps) {
    if (Math.abs(seconds) >= size) return relative.format(Math.trunc(seconds / size), unit);
  }
  return seconds > 5 ? relative.format(Math.trunc(seconds), 'second') : 'just now';
}

export function stamp(time: string | undefined): string {
  const at = Date.parse(time ?? '');
  return Number.isNaN(at) ? '' : stamps.format(at);
}

export function day(time: string | undefined): string {
  const at = Date.parse(time ?? '');
  return Number.isNaN(at) ? '' : days.format(at);
}

export function span(seconds: number | undefined | null): string {
  const s = Math.max(0, Math.round(seconds ?? 0));
  if (s < 60) return `${s} s`;
  const parts = (size: number, unit: string, lesser: number, small: string) => {
    const rest = Math.floor((s % size) / lesser);
    return `${Math.floor(s / size)} ${unit}${rest > 0 ? ` ${rest} ${small}` : ''}`;
  };
  if (s < 3600) return parts(60, 'min', 1, 's');
  if (s < 86_400) return parts(3600, 'h', 60, 'min');
  return parts(86_400, 'd', 3600, 'h');
}

// cell is a record's value in one line of a table.
export function cell(value: unknown): string {
  if (value === null || value === undefined || value === '') return '';
  if (typeof value === 'object') return JSON.stringify(value);
  return String(value);
}
