// Arithmetic without a page; the file itself allows its tests to run at the same time.
import { expect, test } from '@playwright/test';
import { discounted, money, postage } from '../shop/catalogue.js';

test.describe.configure({ mode: 'parallel' });

for (const [cents, text] of [[5, '0.05 €'], [123456, '1234.56 €']] as const) {
  test(`${cents} cents are ${text}`, () => {
    expect(money(cents)).toBe(text);
  });
}

for (const [cents, cost] of [[2999, 490], [3000, 0]]) {
  test(`postage for ${cents} is ${cost}`, () => {
    expect(postage(cents)).toBe(cost);
  });
}

test('a discount is rounded', () => {
  expect(discounted(999, 'TEN')).toBe(899);
});
