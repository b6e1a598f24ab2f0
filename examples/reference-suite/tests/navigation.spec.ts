import { expect, test } from '@playwright/test';

for (const [name, heading] of [['cart', 'Cart'], ['nowhere', 'Not found']]) {
  test(`#/${name} leads to ${heading}`, async ({ page }) => {
    await page.goto(`/#/${name}`);
    await expect(page.getByRole('heading', { level: 2 })).toHaveText(heading);
  });
}

test('back leads back', async ({ page }) => {
  await page.goto('/#/help');
  await page.goto('/#/cart');
  await page.goBack();
  await expect(page.getByRole('heading', { level: 2 })).toHaveText('Help');
});

test('answers open on demand', async ({ page }) => {
  await page.goto('/#/help');
  await page.getByText('Can I return goods?').click();
  await expect(page.getByText('Within 30 days.')).toBeVisible();
});
