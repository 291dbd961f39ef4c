// What can be told of targets: health in words, and whether they are apart.
import type { Target } from './shapes';
import type { Tone } from './tones';

export function healthOf(target: Target): { text: string; tone: Tone } {
  const health = target.health ?? '';
  if (health === 'healthy') return { text: 'healthy', tone: 'ok' };
  if (health === '' || health === 'unknown') return { text: 'not tried yet', tone: 'quiet' };
  return { text: health, tone: 'danger' };
}

export const kindOf = (target: Target) => (target.url.startsWith('s3:') ? 'S3 bucket' : target.url.startsWith('file:') ? 'Folder' : (target.url.split(':')[0] ?? ''));

// whereOf is where a target lies, as far as it says: its place, else its region.
const whereOf = (target: Target) => (target.place || target.region || '').trim().toLowerCase();

// apart says what is missing for one place to burn down without harm; '' if nothing.
export function apart(targets: Target[]): string {
  if (targets.length === 0) return '';
  const healthy = targets.filter((t) => healthOf(t).tone !== 'danger');
  if (targets.length === 1) return 'There is one target only. What lies there and this host can be lost in one day; add another, elsewhere.';
  if (healthy.length < 2) return 'Only one target answers. Until the others do, there is one copy off this host.';
  const unsaid = healthy.filter((t) => !whereOf(t));
  if (new Set(healthy.map(whereOf).filter(Boolean)).size >= 2) return '';
  if (unsaid.length > 0) return `Say where ${unsaid.map((t) => t.name).join(' and ')} ${unsaid.length === 1 ? 'lies' : 'lie'}: it is not known whether the targets are in different places.`;
  return `All targets are in one place (${healthy[0]!.place || healthy[0]!.region}). A fire or a closed account there takes every copy.`;
}
