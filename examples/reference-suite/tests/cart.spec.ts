import { expect, test, type Page } from '@playwright/test';

async function buy(page: Page, id: string, times = 1) {
  await page.goto(`/#/goods/${id}`);
  for (let i = 0; i < times; i++) await page.getByRole('button', { name: 'Add to cart' }).click();
}

test('starts empty', async ({ page }) => {
  await page.goto('/#/cart');
  await expect(page.getByText('Your cart is empty.')).toBeVisible();
});

test('counts what was put in', async ({ page }) => {
  await buy(page, 'tea', 3);
  await expect(page.getByTestId('count')).toHaveText('3');
});

test('adds up', async ({ page }) => {
  await buy(page, 'tea', 2);
  await buy(page, 'bread');
  await page.goto('/#/cart');
  await expect(page.getByTestId('total')).toHaveText('13.47 €');
});

test('survives a reload', async ({ page }) => {
  await buy(page, 'mug');
  await page.reload();
  await expect(page.getByTestId('count')).toHaveText('1');
});

test('never holds more than there is', async ({ page }) => {
  await buy(page, 'cheese', 5);
  await expect(page.getByTestId('count')).toHaveText('3');
});

test.describe('a line', () => {
  test.beforeEach(async ({ page }) => {
    await buy(page, 'honey', 2);
    await page.goto('/#/cart');
  });

  test('can be changed', async ({ page }) => {
    await page.getByRole('spinbutton', { name: 'Forest honey' }).fill('4');
    await page.getByRole('spinbutton', { name: 'Forest honey' }).blur();
    await expect(page.getByTestId('total')).toHaveText('31.20 €');
  });

  test('can be removed', async ({ page }) => {
    await page.getByRole('button', { name: 'Remove' }).click();
    await expect(page.getByText('Your cart is empty.')).toBeVisible();
  });
});
