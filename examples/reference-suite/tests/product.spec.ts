import { expect, test } from '@playwright/test';
import { goods, money } from '../shop/catalogue.js';

for (const item of goods.slice(0, 2)) {
  test(`${item.name} has a page`, async ({ page }) => {
    await page.goto(`/#/goods/${item.id}`);
    await expect(page.getByRole('heading', { level: 2 })).toHaveText(item.name);
    await expect(page.getByTestId('price')).toHaveText(money(item.cents));
  });
}

test('says how many are left', async ({ page }) => {
  await page.goto('/#/goods/cheese');
  await expect(page.getByTestId('stock')).toHaveText('3 in stock');
});

test('what is sold out cannot be bought', async ({ page }) => {
  await page.goto('/#/goods/cocoa');
  await expect(page.getByRole('button', { name: 'Add to cart' })).toBeDisabled();
});

test('an unknown item is not found', async ({ page }) => {
  await page.goto('/#/goods/unicorn');
  await expect(page.getByRole('heading', { level: 2 })).toHaveText('Not found');
});
