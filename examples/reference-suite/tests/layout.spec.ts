import { expect, test } from '@playwright/test';

test.beforeEach(({ page }) => page.goto('/'));

test('has as many columns as fit', async ({ page }, info) => {
  const columns = await page.locator('#goods').evaluate((list) => getComputedStyle(list).gridTemplateColumns.split(' '));
  expect(columns).toHaveLength({ desktop: 4, tablet: 2, mobile: 1 }[info.project.name] ?? 0);
});

test('never scrolls sideways', async ({ page }) => {
  expect(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth)).toBe(true);
});

test('folds the menu on a telephone', async ({ page }, info) => {
  test.skip(info.project.name !== 'mobile', 'only telephones fold the menu');
  await expect(page.getByRole('navigation')).toBeHidden();
  await page.getByRole('button', { name: 'Menu' }).click();
  await expect(page.getByRole('navigation')).toBeVisible();
});

test('shows the menu where there is room', async ({ page }, info) => {
  test.skip(info.project.name === 'mobile', 'telephones fold the menu');
  await expect(page.getByRole('navigation')).toBeVisible();
});
