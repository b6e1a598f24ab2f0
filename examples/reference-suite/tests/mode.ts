// What goes wrong on purpose. E2E_MODE is a comma-separated list of:
//   failing     a test fails every time
//   flaky       a test fails the first time: in a retry by the test runner, or, with E2E_STATE (a folder), once for ever
//   slow        a test sleeps E2E_SLOW seconds (5)
//   crashing    a test ends its worker process
//   killing     a test kills the whole test runner, as an out-of-memory killer would
//   unloadable  a spec file throws while it is loaded
//   vanished    a test that was there is gone
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const modes = new Set((process.env.E2E_MODE ?? '').split(',').map((mode) => mode.trim()));

export const mode = (name: string) => modes.has(name);

export const slowSeconds = Number(process.env.E2E_SLOW ?? 5);

export function firstTime(name: string, retry: number): boolean {
  const folder = process.env.E2E_STATE;
  if (!folder) return retry === 0;
  const mark = join(folder, name);
  if (existsSync(mark)) return false;
  mkdirSync(folder, { recursive: true });
  writeFileSync(mark, '');
  return true;
}
