import { expect, it } from 'vitest';
import { also, equals, expression } from '../src/lib/filter';

const fields = [
  { name: 'name', type: 'text' },
  { name: 'size', type: 'number' },
  { name: 'mail', type: 'email' },
];

it('looks for plain words in every text field', () => {
  expect(expression(' lib ', fields)).toBe('name ~ "lib" || mail ~ "lib"');
});

it('leaves an expression alone', () => {
  expect(expression('size > 5 && name ~ "x"', fields)).toBe('size > 5 && name ~ "x"');
  expect(expression('name!="x"', fields)).toBe('name!="x"');
});

it('cannot be broken out of', () => {
  expect(expression('a" || id != "', [])).toBe('a" || id != "'); // an expression: the server reads it
  expect(expression('it"s \\', fields)).toBe('name ~ "it\\"s \\\\" || mail ~ "it\\"s \\\\"');
});

it('compares by the type of the value', () => {
  expect(equals('size', 5)).toBe('size = 5');
  expect(equals('essential', false)).toBe('essential = false');
  expect(equals('name', 'a "b"')).toBe('name = "a \\"b\\""');
});

it('narrows a filter', () => {
  expect(also('', 'a = 1')).toBe('a = 1');
  expect(also('b = 2 || c = 3', 'a = 1')).toBe('(b = 2 || c = 3) && a = 1');
  expect(also('b = 2', 'a = 1')).toBe('b = 2 && a = 1');
});
