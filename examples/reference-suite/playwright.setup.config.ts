// The same suite with a project that prepares and one that cleans up: both run in every invocation, whatever it selects.
import { defineConfig } from '@playwright/test';
import base from './playwright.config';

const { projects = [], ...rest } = base;

export default defineConfig({
  ...rest,
  projects: [
    { name: 'open', testMatch: 'open.setup.ts', teardown: 'close' },
    { name: 'close', testMatch: 'close.teardown.ts' },
    ...projects.map((project) => ({ ...project, dependencies: ['open'] })),
  ],
});
