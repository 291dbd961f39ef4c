import type { IconName } from '../components/Icon.svelte';

// One thing that the palette (Ctrl+K) can do.
export interface Command {
  id: string;
  text: string;
  group: string;
  icon: IconName;
  href?: string;
  run?: () => void;
}

// score is lower for better; undefined does not match. Letters must come in order.
export function score(text: string, wanted: string): number | undefined {
  const hay = text.toLowerCase();
  const need = wanted.trim().toLowerCase();
  if (!need) return 0;
  const at = hay.indexOf(need);
  if (at >= 0) return at === 0 ? 0 : /\W/.test(hay[at - 1] ?? '') ? 1 : 2;
  let from = 0;
  for (const letter of need) {
    from = hay.indexOf(letter, from) + 1;
    if (from === 0) return undefined;
  }
  return 3;
}

export function rank(list: Command[], wanted: string): Command[] {
  return list
    .map((command, order) => ({ command, order, score: score(`${command.text} ${command.group}`, wanted) }))
    .filter((found): found is typeof found & { score: number } => found.score !== undefined)
    .sort((a, b) => a.score - b.score || a.order - b.order)
    .map((found) => found.command);
}
