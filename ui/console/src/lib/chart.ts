// The arithmetic of the charts: round values for an axis, and places on it.

export interface Axis {
  most: number;
  lines: number[];
}

const minutes = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 28_800, 86_400].map((s) => s * 1000);

// roundUp is the least value of 1, 2, 5 times a power of ten that is not below;
// of times over a second, one that people count in.
export function roundUp(value: number, time = true): number {
  if (value <= 0) return 1;
  if (time && value > 1000) return minutes.find((m) => m >= value) ?? Math.ceil(value / 86_400_000) * 86_400_000;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((n) => n * power).find((n) => n >= value * 0.999999)!;
}

// axisOf is an axis from 0 that holds all values, with a few lines.
export function axisOf(values: number[], time = true): Axis {
  const top = Math.max(0, ...values);
  const step = roundUp(top / 4, time);
  const count = Math.max(1, Math.ceil(top / step));
  return { most: step * count, lines: Array.from({ length: count + 1 }, (_, i) => i * step) };
}
