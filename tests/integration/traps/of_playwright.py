"""Traps of Playwright: something keeps its tests from running, or their failures from being seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from tests.components import REFERENCE_SUITE, chromium
from tests.integration.traps.trap import INCOMPLETE, NOTHING, RED, USAGE, Trap
from tests.integration.whole_run import repository

CONFIG = """
const atRun = 'PLAYWRIGHT_JUNIT_OUTPUT_FILE' in process.env; // and not when the tests are listed
{before}
module.exports = {{
  testDir: '.', workers: 2, {more}
  use: {{ launchOptions: {{ executablePath: {browser!r}, args: ['--no-sandbox'] }} }},
}};
"""
SPEC = """
const { test, expect } = require('@playwright/test');
const atRun = 'PLAYWRIGHT_JUNIT_OUTPUT_FILE' in process.env;
"""
ONE_TWO = f"""{SPEC}
test('one', () => {{ expect(1).toBe(1); }});
test('two', () => {{ expect(2).toBe(2); }});
"""
THREE_FOUR = ONE_TWO.replace("one", "three").replace("two", "four")


def playwright_suite(
    *, before: str = "", more: str = "", browser: str = "", files: Mapping[str, str] | None = None, **specs: str
) -> Callable[[Path], Path]:
    def playwright_in(folder: Path) -> Path:
        config = CONFIG.format(before=before, more=more, browser=browser or chromium() or "")
        sources = {f"{name}.spec.js": text for name, text in specs.items()}
        root = repository(
            folder, 'runner = "playwright"', **{"playwright.config.js": config, **sources, **(files or {})}
        )
        (root / "node_modules").symlink_to(REFERENCE_SUITE / "node_modules")
        return root

    return playwright_in


BROKEN = (
    SPEC
    + """
test.describe('hooks', () => {
  test.beforeAll(() => { throw new Error('the hook is broken'); });
  test('behind a hook', () => {});
});
test.describe('after', () => {
  test.afterEach(() => { throw new Error('afterwards'); });
  test('before a hook', () => {});
});
test('fails as expected', () => { test.fail(); });
test('soft', () => { expect.soft(1).toBe(2); });
test('unhandled', async () => {
  Promise.reject(new Error('nobody waits'));
  await new Promise((done) => setTimeout(done, 50));
});
test('fine', () => {});
"""
)

DIE = """
test('dies', () => { process.exit(0); });
test('crashes', () => { process.exit(7); });
test('after', () => {});
"""
DEPEND = """projects: [
    { name: 'login', testMatch: 'login*' },
    { name: 'shop', testMatch: 'it*', dependencies: ['login'] },
  ],"""
EXIT_CODE_0 = "if (atRun) process.on('exit', () => { process.exitCode = 0; });"

TRAPS = (
    Trap(
        traps={"a selection that matches nothing": "exit 1; by `--test-list` exit 0"},
        code=NOTHING,
        suite=playwright_suite(it=ONE_TWO),
        arguments=("--grep", "nobody"),
        said=("Playwright finds no tests",),
    ),
    Trap(
        traps={"a file name that has gone stale": "exit 1; in a list, beside others, exit 0"},
        code=NOTHING,
        suite=playwright_suite(it=ONE_TWO),
        arguments=("gone.spec.ts",),
        said=("Playwright finds no tests",),
    ),
    Trap(
        traps={"a spec file that cannot be loaded": "a JUnit file without tests or failures"},
        code=USAGE,
        suite=playwright_suite(it=ONE_TWO, broken="import './nowhere';\n"),
        said=("The suite cannot be loaded", "nowhere"),
    ),
    Trap(
        traps={"a `test.only` that was left behind": "1 of 3, exit 0"},
        code=USAGE,
        suite=playwright_suite(it=f"{ONE_TWO}test.only('three', () => {{}});\n"),
        said=("item focused with '.only' is not allowed",),
    ),
    Trap(
        traps={"a spec file that cannot be loaded on a machine": "a JUnit file without tests or failures"},
        code=INCOMPLETE,  # Playwright then runs nothing at all
        suite=playwright_suite(it=ONE_TWO, broken=f"{THREE_FOUR}if (atRun) require('./nowhere');\n"),
        verdicts={"one": "not run", "three": "not run"},
        said=("nowhere",),
    ),
    Trap(
        traps={
            "a test that is gone on a machine": "runs the others, exit 0",
            "a spec file that is gone on a machine": "runs the others, exit 0",
        },
        code=INCOMPLETE,
        suite=playwright_suite(
            more="testIgnore: atRun ? 'gone*' : [],",
            it=ONE_TWO.replace("test('two'", "if (!atRun) test('two'"),
            gone=THREE_FOUR,
        ),
        verdicts={"one": "passed", "two": "not run", "three": "not run", "four": "not run"},
        said=("the runner does not know it",),
    ),
    Trap(
        traps={"`process.exit(0)` while a spec file is loaded on a machine": "exit 0"},
        code=INCOMPLETE,
        suite=playwright_suite(it=ONE_TWO, exits=f"{THREE_FOUR}if (atRun) process.exit(0);\n"),
    ),
    Trap(
        traps={"a browser that is not there": "every test fails"},
        code=INCOMPLETE,
        suite=playwright_suite(
            browser="/nowhere/chromium", it=f"{SPEC}test('opens', async ({{ page }}) => {{ await page.reload(); }});"
        ),
        verdicts={"opens": "not run"},
        said=("/nowhere/chromium",),
    ),
    Trap(
        traps={"a web server that does not start": "a JUnit file without tests or failures"},
        code=INCOMPLETE,
        suite=playwright_suite(
            more="webServer: { command: 'exit 9', url: 'http://127.0.0.1:9/', timeout: 5000 },", it=ONE_TWO
        ),
        verdicts={"one": "not run", "two": "not run"},
        said=("webServer",),
    ),
    Trap(
        traps={"a `globalSetup` that throws": "a JUnit file without tests or failures"},
        code=INCOMPLETE,
        suite=playwright_suite(
            more="globalSetup: './setup.js',",
            files={"setup.js": "module.exports = () => { throw new Error('no database'); };\n"},
            it=ONE_TWO,
        ),
        verdicts={"one": "not run", "two": "not run"},
        said=("no database",),
    ),
    Trap(
        traps={"`process.exit(0)` in `globalSetup`": "exit 0"},
        code=INCOMPLETE,
        suite=playwright_suite(
            more="globalSetup: './setup.js',",
            files={"setup.js": "module.exports = () => process.exit(0);\n"},
            it=ONE_TWO,
        ),
        verdicts={"one": "not run", "two": "not run"},
    ),
    Trap(
        traps={"a `globalTeardown` that throws, while something sets the exit code to 0": "exit 0"},
        code=INCOMPLETE,
        suite=playwright_suite(
            before=EXIT_CODE_0,
            more="globalTeardown: './teardown.js',",
            files={"teardown.js": "module.exports = () => { throw new Error('left behind'); };\n"},
            it=ONE_TWO,
        ),
        verdicts={"one": "not run", "two": "not run"},
        said=("Error: left behind",),
    ),
    Trap(
        traps={"a project that others depend on fails": "exit 1, the others skipped"},
        code=INCOMPLETE,
        suite=playwright_suite(
            more=DEPEND,
            login=f"{SPEC}test('logs in', () => {{ throw new Error('no account'); }});\n",
            it=ONE_TWO,
        ),
        verdicts={"logs in": "failed", "one": "not run", "two": "not run"},
        said=("what it depends on failed",),
    ),
    Trap(
        traps={
            "a worker ends itself with exit code 0": "the test failed",
            "a worker ends itself with another exit code": "the test failed",
        },
        code=RED,
        suite=playwright_suite(it=ONE_TWO + DIE),
        verdicts={"one": "passed", "two": "passed", "dies": "failed", "crashes": "failed", "after": "passed"},
        said=("worker process exited unexpectedly",),
    ),
    Trap(
        traps={"the runner is killed in a test": "exit 137, no report"},
        code=RED,
        suite=playwright_suite(it=f"{ONE_TWO}test('kills', () => {{ process.kill(process.ppid, 'SIGKILL'); }});\n"),
        verdicts={"one": "passed", "two": "passed", "kills": "failed"},
        said=("SIGKILL while it ran it.spec.js › kills",),
    ),
    Trap(
        traps={
            "`shard` in the configuration": "2 of 4, exit 0",
            "`maxFailures` in the configuration": "not the tests after the first failure",
            "`PWTEST_SHARD_WEIGHTS`": "a part of all tests, exit 0",
        },
        code=RED,
        suite=playwright_suite(
            more="fullyParallel: true, maxFailures: 1, shard: { current: 1, total: 3 },",
            it=ONE_TWO + THREE_FOUR.removeprefix(SPEC).replace("toBe(", "toBe(7 + "),
        ),
        environ={"PWTEST_SHARD_WEIGHTS": "1:1:1"},
        verdicts={"one": "passed", "two": "passed", "three": "failed", "four": "failed"},
    ),
    Trap(
        traps={"`failOnFlakyTests` in the configuration": "exit 1"},
        code=RED,
        suite=playwright_suite(
            more="failOnFlakyTests: true, retries: 1,",
            it=f"{ONE_TWO}test('flaky', ({{}}, info) => {{ expect(info.retry).toBe(1); }});\n",
        ),
        verdicts={"one": "passed", "two": "passed", "flaky": "flaky"},
    ),
    Trap(
        traps={
            "something sets the exit code to 0": "exit 0",
            "a hook fails before its tests": "exit 1",
            "a hook fails after a test": "exit 1",
            "a test that has to fail passes": "exit 1",
            "a soft assertion fails": "exit 1",
            "a rejection that nobody waits for": "exit 1",
        },
        code=RED,
        suite=playwright_suite(before=EXIT_CODE_0, it=BROKEN),
        verdicts={
            **dict.fromkeys(("behind a hook", "before a hook", "fails as expected", "soft", "unhandled"), "failed"),
            "fine": "passed",
        },
    ),
)
