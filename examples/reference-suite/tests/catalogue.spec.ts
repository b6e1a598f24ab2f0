import { expect, test } from '@playwright/test';
import { goods, money } from '../shop/catalogue.js';

test.beforeEach(({ page }) => page.goto('/'));

test('shows every item', async ({ page }) => {
  await expect(page.locator('#goods li')).toHaveCount(goods.length);
});

test('shows every price', async ({ page }) => {
  for (const item of goods) await expect(page.locator('#goods')).toContainText(money(item.cents));
});

test('is ordered by name', async ({ page }) => {
  await expect(page.locator('#goods a').first()).toHaveText('Beeswax candle');
});

test('can be ordered by price', async ({ page }) => {
  await page.getByLabel('Order').selectOption('price');
  await expect(page.locator('#goods a').first()).toHaveText('Rye bread');
});

for (const kind of ['drinks', 'food']) {
  test(`can show only ${kind}`, async ({ page }) => {
    await page.getByLabel('Kind').selectOption(kind);
    await expect(page.getByRole('status')).toHaveText(`${goods.filter((item) => item.kind === kind).length} found`);
  });
}
