import { expect, test } from '@playwright/test';

const searches: [text: string, found: string][] = [
  ['tea', '1 found'],
  ['HONEY', '1 found'],
  ['  mug ', '1 found'],
  ['b', '4 found'],
  ['<script>', 'Nothing found'],
  ['größe', 'Nothing found'],
];

for (const [text, found] of searches) {
  test(`search for "${text}"`, async ({ page }) => {
    await page.goto('/');
    await page.getByLabel('Search').fill(text);
    await expect(page.getByRole('status')).toHaveText(found);
  });
}
