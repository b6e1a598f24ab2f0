import { expect, test, type Page } from '@playwright/test';

async function logIn(page: Page, name: string, word: string) {
  await page.goto('/#/account');
  await page.getByLabel('Name').fill(name);
  await page.getByLabel('Password').fill(word);
  await page.getByRole('button', { name: 'Log in' }).click();
}

test('greets who logs in', async ({ page }) => {
  await logIn(page, 'Ada', 'sesame');
  await expect(page.getByRole('heading', { level: 2 })).toHaveText('Hello, Ada');
});

test('refuses a wrong password', async ({ page }) => {
  await logIn(page, 'Ada', 'guess');
  await expect(page.getByRole('alert')).toHaveText('Wrong name or password');
});

test('shows a hostile name as text', async ({ page }) => {
  await logIn(page, '<i>Eve</i>', 'sesame');
  await expect(page.getByRole('heading', { level: 2 })).toHaveText('Hello, <i>Eve</i>');
});

test('can be left', async ({ page }) => {
  await logIn(page, 'Ada', 'sesame');
  await page.getByRole('button', { name: 'Log out' }).click();
  await expect(page.getByRole('heading', { level: 2 })).toHaveText('Log in');
});
