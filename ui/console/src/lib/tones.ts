export type Tone = 'ok' | 'warn' | 'danger' | 'info' | 'quiet';

const tones: Record<string, Tone> = {
  live: 'ok',
  active: 'ok',
  done: 'ok',
  ok: 'ok',
  parked: 'warn',
  retired: 'info',
  expired: 'warn',
  disabled: 'warn',
  interrupted: 'warn',
  refused: 'warn',
  failed: 'danger',
  destroyed: 'danger',
  running: 'info',
};

// stateTone is the colour of a state; the word always stands beside it.
export const stateTone = (state: string | undefined): Tone => tones[state ?? ''] ?? 'quiet';
