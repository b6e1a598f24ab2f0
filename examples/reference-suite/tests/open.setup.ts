import { expect, test } from '@playwright/test';

test('the shop is open', async ({ request }) => {
  expect((await request.get('/')).ok()).toBe(true);
});

test('the shelves are filled', async ({ request }) => {
  expect(await (await request.get('/catalogue.js')).text()).toContain('goods');
});
