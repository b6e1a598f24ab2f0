// SAMPLE_MODE changes what happens here; the samples of the other runners know the same words.
const { test, expect } = require('@playwright/test');

const mode = process.env.SAMPLE_MODE ?? '';
if (mode === 'unloadable') throw new Error('this file cannot be loaded');

test('passes', () => {});
test('fails', () => expect(1, 'one is').toBe(2));
test('is skipped', () => test.skip(true, 'not today'));
test('may wait', () => (mode === 'waiting' ? new Promise((wake) => setTimeout(wake, 60_000)) : undefined));
test('may kill', () => mode === 'killing' && process.kill(process.ppid, 'SIGKILL'));
test('may crash', () => mode === 'crashing' && process.exit(7));
test('may flake', ({}, info) => expect(mode === 'flaky' && info.retry === 0).toBe(false));
if (mode !== 'gone') test('may go', () => {});
test('comes last', () => {});
if (mode === 'complaining') test.afterAll(() => setTimeout(() => { throw new Error('too late for any test'); }, 10));
