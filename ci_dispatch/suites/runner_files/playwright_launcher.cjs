// Becomes the Playwright that the suite itself has installed, found as Node finds modules from the working folder.
// In this very process: signals reach it, unlike behind npx (https://github.com/npm/cli/issues/6547).
'use strict';
const path = require('node:path');
const { createRequire } = require('node:module');

const fromHere = createRequire(path.join(process.cwd(), 'package.json'));

function installed() {
  for (const name of ['@playwright/test', 'playwright']) {
    try {
      return path.join(path.dirname(fromHere.resolve(`${name}/package.json`)), 'cli.js');
    } catch (error) {
      if (error.code !== 'MODULE_NOT_FOUND') throw error;
    }
  }
  return undefined;
}

const cli = installed();
if (cli) {
  process.argv[1] = cli;
  require(cli);
} else {
  console.error(`@playwright/test is not installed for ${process.cwd()}`);
  process.exitCode = 127;
}
