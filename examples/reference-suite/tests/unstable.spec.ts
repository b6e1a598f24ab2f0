// Tests that pass, unless E2E_MODE wants otherwise: see mode.ts.
import { expect, test } from '@playwright/test';
import { firstTime, mode, slowSeconds } from './mode';

if (mode('unloadable')) throw new Error('this spec file cannot be loaded');

test('may fail', () => {
  expect(mode('failing') ? 'broken' : 'fine').toBe('fine');
});

test('may be flaky', ({}, info) => {
  expect(mode('flaky') && firstTime(`flaky-${info.project.name}`, info.retry) ? 'broken' : 'fine').toBe('fine');
});

test('may be slow', async () => {
  if (mode('slow')) await new Promise((wake) => setTimeout(wake, slowSeconds * 1000));
});

test('may crash', () => {
  if (mode('crashing')) process.exit(7);
  if (mode('killing')) process.kill(process.ppid, 'SIGKILL');
});

if (!mode('vanished')) {
  test('may vanish', () => {
    expect(mode('vanished')).toBe(false);
  });
}
