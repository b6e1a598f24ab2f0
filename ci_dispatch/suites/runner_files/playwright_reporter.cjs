// Reports to ci-dispatch which tests Playwright is about to run and how each ends: one JSON line at a time, appended to
// the file CI_DISPATCH_LIVE, so that what is written survives whatever happens to this process. The format: docs/suites.md.
'use strict';
const fs = require('node:fs');
const path = require('node:path');

const MESSAGE = 10_000; // characters
const DETAIL = 60_000;
const SETUP = /config\.webServer|is already used, make sure|Cannot find (module|package)|ERR_MODULE_NOT_FOUND/;

const posix = (file) => path.relative(process.cwd(), file).split(path.sep).join('/');
const key = (...parts) => JSON.stringify(parts);
const textOf = (error) => error.message ?? error.value ?? '';
const detailOf = (error) => [error.stack || textOf(error), error.snippet].filter(Boolean).join('\n\n');

function chain(suite) {
  return suite ? [...chain(suite.parent), suite] : [];
}

// What Playwright itself would keep in one worker: createTestGroups in packages/playwright/src/runner/testGroups.ts.
// Inside `parallel` mode every test is free, but for the outermost suite in `serial` or `default` mode below it;
// elsewhere a file is one piece. `_parallelMode` is private: where it is missing, files stay whole.
function unitOf(test, project, file) {
  const suites = chain(test.parent);
  const outermost = (...modes) => suites.find((suite) => modes.includes(suite._parallelMode));
  const keyOf = (suite) => suite && key(...suite.titlePath());
  const group = keyOf(outermost('serial')) ?? '';
  const unit = outermost('parallel') ? keyOf(outermost('serial', 'default')) ?? '' : key(project, file);
  return { unit, group };
}

// Projects that run in every invocation, whatever it selects: dependencies and teardowns of others.
function preparing(projects) {
  const names = new Set(projects.flatMap((project) => [...(project.dependencies ?? []), project.teardown]));
  return (name) => names.has(name);
}

// Older versions keep `failOnFlakyTests` to themselves; `--fail-on-flaky-tests` is in the same place.
function failsOnFlaky(config) {
  const internal = Object.getOwnPropertySymbols(config).map((symbol) => config[symbol]);
  return [config, ...internal].some((known) => known?.failOnFlakyTests === true);
}

// What the configuration itself leaves out, as notes: nothing else says so.
function selections(config) {
  const all = ({ grep, grepInvert }) => !grepInvert && String(grep) === '/.*/';
  return config.projects.filter((project) => !all(project)).map(({ name, grep, grepInvert }) => {
    const parts = [String(grep) === '/.*/' ? '' : `grep ${grep}`, grepInvert ? `grepInvert ${grepInvert}` : ''];
    return `the configuration leaves out tests${name && ` of ${name}`}: ${parts.filter(Boolean).join(', ')}`;
  });
}

class Reporter {
  constructor() {
    this.live = fs.openSync(process.env.CI_DISPATCH_LIVE, 'a');
    this.planned = 0;
  }

  write(kind, fields) {
    fs.writeSync(this.live, `${JSON.stringify({ kind, ...fields })}\n`);
  }

  printsToStdio() {
    return false;
  }

  onBegin(config, root) {
    this.config = config;
    this.root = root;
    this.setup = preparing(config.projects);
    const tests = root.allTests().map((test) => this.describe(test));
    this.planned = tests.length;
    this.write('plan', { version: config.version, tests, flaky_is_failure: failsOnFlaky(config) });
    for (const message of selections(config)) this.write('note', { message });
  }

  describe(test) {
    const [, project, within, ...title] = test.titlePath(); // `within`: the file as reports of its own name it
    const file = posix(chain(test.parent)[2].location.file); // root, project, file
    const setup = this.setup(project);
    const unit = setup ? { unit: key(project), group: key(project) } : unitOf(test, project, file);
    const classname = within === file ? '' : within;
    const { tags } = test; // since 1.42
    return { id: test.id, project, file, title, line: test.location.line, setup, classname, tags, ...unit };
  }

  onTestBegin(test) {
    this.write('begin', { id: test.id });
  }

  onTestEnd(test, result) {
    const outcome = test.outcome();
    const ran = test.results.filter(({ status }) => status !== 'skipped' && status !== 'interrupted');
    const errors = (outcome === 'flaky' ? ran[0] : result).errors;
    const word = this.verdict(test, result, outcome);
    const mayRunAgain = ['failed', 'not run'].includes(word.verdict) && test.results.length <= test.retries;
    this.write('end', {
      id: test.id,
      ...word,
      final: !mayRunAgain,
      seconds: result.duration / 1000,
      retries: Math.max(0, ran.length - 1),
      message: textOf(errors[0] ?? {}).slice(0, MESSAGE),
      detail: errors.map(detailOf).join('\n\n').slice(0, DETAIL),
    });
  }

  verdict(test, result, outcome) {
    if (outcome === 'flaky') return { verdict: 'flaky' };
    if (outcome === 'unexpected') return { verdict: 'failed' };
    if (outcome === 'expected') return { verdict: 'passed' };
    if (result.status === 'interrupted') return { verdict: 'not run', reason: 'it was interrupted' };
    if (test.expectedStatus === 'skipped') return { verdict: 'skipped', reason: this.skipReason(test) };
    return { verdict: 'not run', reason: 'what it needs failed: an earlier test of its serial group, a hook or a fixture' };
  }

  skipReason(test) {
    const note = test.annotations.find(({ type }) => type === 'skip' || type === 'fixme');
    return note?.description ?? '';
  }

  onError(error) {
    const message = textOf(error).slice(0, MESSAGE);
    if (message.includes('No tests found')) return; // an empty plan already says so
    const file = error.location ? posix(error.location.file) : '';
    this.write('problem', { cause: this.cause(error), message, detail: (error.stack ?? '').slice(0, DETAIL), file });
  }

  // Before anything was planned either the suite cannot be loaded or this machine lacks something; later it is neither.
  cause(error) {
    const text = `${textOf(error)}\n${error.stack ?? ''}`;
    if (this.planned) return 'crash';
    const { globalSetup } = this.config ?? {};
    return SETUP.test(text) || (globalSetup && text.includes(globalSetup)) ? 'setup' : 'load error';
  }

  onEnd(result) {
    const tests = this.root.allTests();
    const broken = tests.filter((test) => this.setup(test.titlePath()[1]) && !test.ok());
    const why = broken.map((test) => `what it depends on failed: ${test.titlePath().slice(1).join(' › ')}`);
    for (const { id } of tests.filter((test) => !test.results.length)) {
      this.write('end', { id, verdict: 'not run', reason: why[0] ?? 'the runner stopped before it' });
    }
    this.write('done', { status: result.status });
  }
}

module.exports = Reporter;
