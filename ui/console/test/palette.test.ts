import { expect, it } from 'vitest';
import { rank, score, type Command } from '../src/lib/rank';

const command = (text: string, group = 'x'): Command => ({ id: text, text, group, icon: 'plus' });

it('puts beginnings before words before letters', () => {
  const list = [command('Rename keys'), command('Open API keys'), command('Keys'), command('Kept easily')];
  expect(rank(list, 'key').map((c) => c.text)).toEqual(['Keys', 'Rename keys', 'Open API keys', 'Kept easily']);
});

it('keeps the order when nothing is asked', () => {
  const list = [command('b'), command('a')];
  expect(rank(list, ' ')).toEqual(list);
});

it('drops what does not match', () => {
  expect(score('Operations', 'zz')).toBeUndefined();
  expect(rank([command('Operations')], 'zz')).toEqual([]);
});
