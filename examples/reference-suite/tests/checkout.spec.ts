// A purchase in steps on one page: each needs the one before, so that they must stay together and in order.
import { expect, test, type Page } from '@playwright/test';

test.describe('a purchase', () => {
  test.describe.configure({ mode: 'serial' });
  let page: Page;

  test.beforeAll(async ({ browser }) => {
    page = await browser.newPage();
  });
  test.afterAll(() => page.close());

  test('begins with an item', async () => {
    await page.goto('/#/goods/tea');
    await page.getByRole('button', { name: 'Add to cart' }).click();
    await expect(page.getByTestId('count')).toHaveText('1');
  });

  test('goes on to the checkout', async () => {
    await page.goto('/#/cart');
    await page.getByRole('link', { name: 'Check out' }).click();
    await expect(page.getByTestId('postage')).toHaveText('4.90 €');
  });

  test('asks for a town', async () => {
    await page.getByLabel('Name').fill('Ada');
    await page.getByRole('button', { name: 'Order' }).click();
    await expect(page.getByRole('heading', { level: 2 })).toHaveText('Checkout');
  });

  test('ends with thanks', async () => {
    await page.getByLabel('Town').fill('London');
    await page.getByRole('button', { name: 'Order' }).click();
    await expect(page.getByText('On its way to London.')).toBeVisible();
  });

  test('leaves an empty cart', async () => {
    await expect(page.getByTestId('count')).toHaveText('0');
  });
});
