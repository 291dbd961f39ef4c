import { describe, expect, it } from 'vitest';
import css from '../src/styles/tokens.css?raw';

// WCAG AA for every pair of text and ground that the console uses, in both themes.
const pairs = new Map<string, [string, string]>();
for (const [, name, light, dark] of css.matchAll(/--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)/g)) pairs.set(name!, [light!, dark!]);
for (const [, name, value] of css.matchAll(/--([\w-]+): (#\w{6});/g)) pairs.set(name!, [value!, value!]);

function luminance(hex: string): number {
  const [r, g, b] = [1, 3, 5].map((at) => {
    const c = parseInt(hex.slice(at, at + 2), 16) / 255;
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  }) as [number, number, number];
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(a: string, b: string): number {
  const [high, low] = [luminance(a), luminance(b)].sort((x, y) => y - x) as [number, number];
  return (high + 0.05) / (low + 0.05);
}

const grounds = ['bg', 'surface', 'raised', 'sunken', 'hover'];
const texts = ['text', 'text-2', 'text-3', 'accent'];
const onGrounds = texts.flatMap((text) => grounds.map((ground) => [text, ground, 4.5] as const));
const tones = ['ok', 'warn', 'danger', 'info'].flatMap((tone) => [
  [tone, `${tone}-soft`, 4.5] as const,
  [tone, 'surface', 4.5] as const,
  ['text', `${tone}-soft`, 4.5] as const,
]);
const others = [
  ['on-accent', 'accent', 4.5],
  ['on-accent', 'accent-strong', 4.5],
  ['on-danger', 'danger-fill', 4.5],
  ['accent', 'accent-soft', 4.5],
  ['text-2', 'accent-soft', 4.5],
  ['text-3', 'accent-soft', 4.5],
  ['text', 'chosen', 4.5],
  ['danger', 'bg', 4.5],
  ['danger', 'raised', 4.5],
  ['danger', 'hover', 4.5],
  ['warn', 'hover', 4.5],
  ['field-line', 'surface', 3],
  ['field-line', 'bg', 3],
  ['accent', 'surface', 3],
] as const;

describe.each([...onGrounds, ...tones, ...others])('%s on %s', (text, ground, least) => {
  it.each([0, 1] as const)('theme %i', (theme) => {
    const [front, back] = [pairs.get(text), pairs.get(ground)];
    expect(front && back, 'both tokens are there').toBeTruthy();
    expect(contrast(front![theme], back![theme])).toBeGreaterThanOrEqual(least);
  });
});
