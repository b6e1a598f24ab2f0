import { expect, test } from '@playwright/test';

test('the lights are out', () => {
  expect(true).toBe(true);
});
