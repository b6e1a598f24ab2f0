// Switches, all by environment:
//   CHROMIUM        the browser's path; otherwise Debian's headless shell
//   PORT            of the web server; otherwise one of its own for every invocation, so that several may run side by side
//   FULLY_PARALLEL  1: tests of one file may run at the same time
//   RETRIES         of the test runner itself
//   E2E_MODE        what unstable.spec.ts and friends do: see tests/mode.ts
import { defineConfig } from '@playwright/test';

// Workers inherit the environment, so that the port chosen by the runner's process is the one they use. The range lies
// below the one from which Linux hands out ports by itself.
process.env.PORT ??= String(20_000 + (process.pid % 12_000));
const url = `http://127.0.0.1:${process.env.PORT}/`;

const browser = {
  browserName: 'chromium' as const,
  launchOptions: {
    executablePath: process.env.CHROMIUM || '/usr/bin/chromium-headless-shell',
    args: ['--no-sandbox', '--disable-dev-shm-usage'],
  },
};

export default defineConfig({
  testDir: 'tests',
  fullyParallel: process.env.FULLY_PARALLEL === '1',
  retries: Number(process.env.RETRIES ?? 0),
  forbidOnly: true,
  timeout: 120_000, // machines under test are often busy ones
  expect: { timeout: 15_000 },
  reporter: 'line',
  use: { ...browser, baseURL: url },
  projects: [
    { name: 'desktop', use: { viewport: { width: 1280, height: 800 } } },
    { name: 'mobile', use: { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true } },
    { name: 'tablet', use: { viewport: { width: 820, height: 1180 }, hasTouch: true } },
  ],
  webServer: { command: 'node serve.js', url, reuseExistingServer: false, timeout: 120_000 },
});
