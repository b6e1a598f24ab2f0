import { expect, test } from '@playwright/test';

const uses: [code: string, total: string][] = [
  ['TEN', '10.71 €'],
  [' half ', '5.95 €'],
];

test.beforeEach(async ({ page }) => {
  await page.goto('/#/goods/mug');
  await page.getByRole('button', { name: 'Add to cart' }).click();
  await page.goto('/#/cart');
});

for (const [code, total] of uses) {
  test(`the code '${code}' makes it ${total}`, async ({ page }) => {
    await page.getByLabel('Voucher').fill(code);
    await page.getByRole('button', { name: 'Apply' }).click();
    await expect(page.getByTestId('total')).toHaveText(total);
  });
}

for (const code of ['', 'STOLEN', '<img src=x onerror=alert(1)>']) {
  test(`the code '${code}' is refused`, async ({ page }) => {
    await page.getByLabel('Voucher').fill(code);
    await page.getByRole('button', { name: 'Apply' }).click();
    await expect(page.getByRole('alert')).toHaveText(`No voucher ${code}`.trim());
    await expect(page.getByTestId('total')).toHaveText('11.90 €');
  });
}
