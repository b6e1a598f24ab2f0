"""Never green by accident: whole runs in which something keeps tests from running while everything looks well.

Each of these gave a green build somewhere (`issues show 2`, "Silent-green traps"): here each ends red, INCOMPLETE or
with nothing to run, and says why.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ci_dispatch.core.errors import ExitCode
from tests.components import REFERENCE_SUITE, chromium
from tests.integration.whole_run import IMPATIENT, Whole, ci_dispatch, repository

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
PLAYWRIGHT = pytest.mark.needs("playwright")

PYTEST_SUITE = f'runner = "pytest"\nenv = {{ CI_DISPATCH_PYTHON = "{sys.executable}" }}'
GOOD = "def test_one():\n    pass\n\n\ndef test_two():\n    pass\n"

ON_LISTING = """
def pytest_unconfigure(config):
    if config.option.collectonly:
        {does}
"""

CONFIG = """
import {{ defineConfig }} from '@playwright/test';
if (process.argv.includes('--list')) process.on('exit', () => {{ {on_listing} }});
export default defineConfig({{
  testDir: '.', workers: 2, {more}
  use: {{ launchOptions: {{ executablePath: {browser!r}, args: ['--no-sandbox'] }} }},
}});
"""
SPEC = """
import { test, expect } from '@playwright/test';
test('one', () => { expect(1).toBe(1); });
test('two', () => { expect(2).toBe(2); });
"""


def run(root: Path, *runner_arguments: str) -> Whole:
    return ci_dispatch("run", "--", *runner_arguments, cwd=root)


def pytest_suite(folder: Path, *, conftest: str = "", **files: str) -> Path:
    sources = {f"{name}.py": text for name, text in files.items()}
    return repository(folder, PYTEST_SUITE, **{"pytest.ini": "[pytest]\n", "conftest.py": conftest, **sources})


def playwright_suite(folder: Path, *, on_listing: str = "", more: str = "", browser: str = "", **specs: str) -> Path:
    config = CONFIG.format(on_listing=on_listing, more=more, browser=browser or chromium() or "")
    sources = {f"{name}.spec.ts": text for name, text in specs.items()}
    root = repository(folder, 'runner = "playwright"', **{"playwright.config.ts": config, **sources})
    (root / "node_modules").symlink_to(REFERENCE_SUITE / "node_modules")
    return root


def command_suite(folder: Path, runner: str, tests: str = "one\ntwo\n") -> Path:
    """The runner is called with the JUnit file's path and the names of the tests."""
    suite = f'runner = "command"\nlist = "cat tests.txt"\ncommand = "{sys.executable} runner.py {{junit}} {{tests}}"'
    return repository(folder, suite, **{"runner.py": runner, "tests.txt": tests})


def incomplete(ended: Whole, *said: str, not_run: int) -> None:
    assert (ended.run["verdict"], ended.code) == ("INCOMPLETE", ExitCode.INCOMPLETE), ended
    assert ended.run["exit_code"] == ExitCode.INCOMPLETE
    assert ended.run["counts"]["not run"] == not_run
    assert all(test["reason"] for test in ended.run["tests"] if test["verdict"] == "not run")
    for words in said:
        assert words in ended.reasons, ended.reasons


def red(ended: Whole, *said: str, failed: int) -> None:
    assert (ended.run["verdict"], ended.code) == ("FAILED", ExitCode.TESTS_FAILED), ended
    assert ended.run["counts"]["failed"] == failed
    for words in said:
        assert words in ended.reasons, ended.reasons


def nothing_to_run(ended: Whole, *said: str) -> None:
    assert ended.code == ExitCode.NOTHING_TO_RUN, ended
    assert ended.run == {}, "nothing began"
    assert "There is nothing to run" in ended.err
    for words in said:
        assert words in ended.err


def not_loaded(ended: Whole, *said: str) -> None:
    """Refused before anything was sent: no verdict on any test, and no run."""
    assert ended.code == ExitCode.USAGE, ended
    assert ended.run == {}
    assert ended.err.startswith("error: ")
    for words in said:
        assert words in ended.err


def test_the_suites_of_this_module_are_green_when_nothing_is_wrong(tmp_path: Path) -> None:
    """Or none of the others would show anything."""
    fine = (
        "import pathlib, sys\ncases = ''.join(f'<testcase name=\"{n}\"/>' for n in sys.argv[2:])\n"
        "pathlib.Path(sys.argv[1]).write_text(f'<testsuite>{cases}</testsuite>')\n"
    )
    for root in (pytest_suite(tmp_path / "a", test_it=GOOD), command_suite(tmp_path / "b", fine)):
        ended = run(root)
        assert (ended.code, ended.run["verdict"], ended.run["counts"]["passed"]) == (0, "PASSED", 2), ended


@PLAYWRIGHT
def test_the_playwright_suite_of_this_module_is_green_when_nothing_is_wrong(tmp_path: Path) -> None:
    ended = run(playwright_suite(tmp_path, it=SPEC))
    assert (ended.code, ended.run["verdict"], ended.run["counts"]["passed"]) == (0, "PASSED", 2), ended


# -- an empty selection ----------------------------------------------------------------------------------------------


def test_an_empty_selection_of_pytest(tmp_path: Path) -> None:
    nothing_to_run(run(pytest_suite(tmp_path, test_it=GOOD), "-k", "nobody"), "pytest finds no tests")


@PLAYWRIGHT
def test_an_empty_selection_of_playwright(tmp_path: Path) -> None:
    nothing_to_run(run(playwright_suite(tmp_path, it=SPEC), "--grep", "nobody"), "Playwright finds no tests")


def test_a_list_command_that_prints_nothing(tmp_path: Path) -> None:
    nothing_to_run(run(command_suite(tmp_path, "", tests="\n\n")), "`cat` printed no tests")


# -- a stale test name -----------------------------------------------------------------------------------------------


def test_a_stale_name_given_to_pytest(tmp_path: Path) -> None:
    """Also beside a name that is right: pytest then runs nothing at all."""
    root = pytest_suite(tmp_path, test_it=GOOD)
    nothing_to_run(run(root, "test_it.py::test_one", "test_it.py::test_gone"), "not found", "test_it.py::test_gone")


@PLAYWRIGHT
def test_a_stale_file_given_to_playwright(tmp_path: Path) -> None:
    nothing_to_run(run(playwright_suite(tmp_path, it=SPEC), "gone.spec.ts"), "Playwright finds no tests")


def test_a_stale_name_in_a_list_command(tmp_path: Path) -> None:
    """The runner drops in silence what it does not know, as most do, and exits 0."""
    runner = (
        "import pathlib, sys\npathlib.Path(sys.argv[1]).write_text('<testsuite><testcase name=\"one\"/></testsuite>')"
    )
    ended = run(command_suite(tmp_path, runner, tests="one\nstale\n"))
    incomplete(ended, not_run=1)
    assert ended.verdicts() == {"one": "passed", "stale": "not run"}


# -- exit code 0 and no tests ----------------------------------------------------------------------------------------


def test_a_runner_that_exits_0_without_any_test(tmp_path: Path) -> None:
    incomplete(run(command_suite(tmp_path, "")), "exited 0 and reported none of the 2 tests", not_run=2)


def test_an_empty_junit_file_with_exit_code_0(tmp_path: Path) -> None:
    runner = 'import pathlib, sys\npathlib.Path(sys.argv[1]).write_text(\'<testsuites tests="0" failures="0"/>\')'
    incomplete(run(command_suite(tmp_path, runner)), "exited 0 and reported none of the 2 tests", not_run=2)


def test_a_junit_file_of_no_bytes_with_exit_code_0(tmp_path: Path) -> None:
    incomplete(run(command_suite(tmp_path, "import sys\nopen(sys.argv[1], 'w').close()")), "its JUnit file", not_run=2)


CASES = "<testsuites><testsuite name='s'><testcase name='one'/><testcase name='two'><failure>boom</failure></testcase>"


@pytest.mark.parametrize("cut_before", ["<testcase name='two'", "name='two'", "<failure"])
def test_a_truncated_junit_file_with_exit_code_0(tmp_path: Path, cut_before: str) -> None:
    kept = CASES[: CASES.index(cut_before)]
    ended = run(command_suite(tmp_path, f"import pathlib, sys\npathlib.Path(sys.argv[1]).write_text({kept!r})"))
    incomplete(ended, not_run=1)
    assert ended.verdicts() == {"one": "passed", "two": "not run"}


def test_tests_that_passed_while_their_runner_says_that_something_failed(tmp_path: Path) -> None:
    runner = (
        "import pathlib, sys\ncases = ''.join(f'<testcase name=\"{n}\"/>' for n in sys.argv[2:])\n"
        "pathlib.Path(sys.argv[1]).write_text(f'<testsuite>{cases}</testsuite>')\nsys.exit(3)"
    )
    incomplete(run(command_suite(tmp_path, runner)), "exited 3 although no test failed", not_run=2)


# -- a spec file that cannot be loaded -------------------------------------------------------------------------------


def test_a_pytest_file_that_cannot_be_imported(tmp_path: Path) -> None:
    broken = "import no_such_module\n\n\ndef test_x():\n    pass\n"
    ended = run(pytest_suite(tmp_path, test_it=GOOD, test_broken=broken))
    not_loaded(ended, "The suite cannot be loaded", "no_such_module")


@PLAYWRIGHT
def test_a_spec_file_that_cannot_be_loaded(tmp_path: Path) -> None:
    ended = run(playwright_suite(tmp_path, it=SPEC, broken="import './nowhere';\n"))
    not_loaded(ended, "The suite cannot be loaded", "nowhere")


def test_a_pytest_file_that_breaks_between_listing_and_running(tmp_path: Path) -> None:
    breaks = ON_LISTING.format(does="open('test_broken.py', 'a').write('import no_such_module\\n')")
    ended = run(pytest_suite(tmp_path, conftest=breaks, test_it=GOOD, test_broken=GOOD))
    incomplete(ended, "no_such_module", not_run=2)
    assert ended.run["counts"]["passed"] == 2, "the other file's tests have their verdicts"


@PLAYWRIGHT
def test_a_spec_file_that_breaks_between_listing_and_running(tmp_path: Path) -> None:
    breaks = "require('fs').appendFileSync(__dirname + '/broken.spec.ts', \"import './nowhere';\")"
    ended = run(playwright_suite(tmp_path, on_listing=breaks, it=SPEC, broken=SPEC))
    incomplete(ended, "nowhere", not_run=4)  # Playwright then runs nothing at all: issue 2, facts section 5


# -- a machine that cannot ------------------------------------------------------------------------------------------


@PLAYWRIGHT
def test_a_missing_browser(tmp_path: Path) -> None:
    spec = "import { test } from '@playwright/test';\ntest('opens', async ({ page }) => { await page.reload(); });"
    ended = run(playwright_suite(tmp_path, browser="/nowhere/chromium", it=spec))
    incomplete(ended, "/nowhere/chromium", not_run=1)


@PLAYWRIGHT
def test_a_web_server_that_does_not_start(tmp_path: Path) -> None:
    """Playwright writes a valid, empty JUnit file without any failure."""
    server = "webServer: { command: 'exit 9', url: 'http://127.0.0.1:9/', timeout: 5000 },"
    incomplete(run(playwright_suite(tmp_path, more=server, it=SPEC)), "webServer", not_run=2)


# -- a process that dies ---------------------------------------------------------------------------------------------


def test_a_pytest_process_that_ends_itself_with_exit_code_0(tmp_path: Path) -> None:
    """Nothing in pytest sees `os._exit(0)`: no report, no summary, exit code 0."""
    test = "import os\n\n\ndef test_a():\n    pass\n\n\ndef test_b():\n    os._exit(0)\n\n\ndef test_c():\n    pass\n"
    ended = run(pytest_suite(tmp_path, test_it=test))
    assert ended.code in (ExitCode.TESTS_FAILED, ExitCode.INCOMPLETE), ended
    by_name = {test.rpartition("::")[2]: verdict for test, verdict in ended.verdicts().items()}
    assert by_name["test_a"] == "passed"
    assert by_name["test_b"] in ("failed", "not run")


def test_a_pytest_process_that_is_killed(tmp_path: Path) -> None:
    test = (
        "import os, signal\n\n\ndef test_a():\n    pass\n\n\ndef test_b():\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = run(pytest_suite(tmp_path, test_it=test))
    red(ended, failed=1)
    assert "crashed while running" in ended.reasons or "took its test runner down" in ended.reasons  # with xdist or not
    assert sorted(ended.verdicts().values()) == ["failed", "passed"]


@PLAYWRIGHT
@pytest.mark.parametrize("code", [0, 7])
def test_a_playwright_worker_that_dies(tmp_path: Path, code: int) -> None:
    spec = SPEC + f"test('dies', () => {{ process.exit({code}); }});\ntest('after', () => {{}});\n"
    ended = run(playwright_suite(tmp_path, it=spec))
    red(ended, "worker process exited unexpectedly", failed=1)
    assert ended.run["counts"]["passed"] == 3


# -- a test that is gone ---------------------------------------------------------------------------------------------


def test_a_pytest_test_deleted_between_listing_and_running(tmp_path: Path) -> None:
    deletes = ON_LISTING.format(does="open('test_it.py', 'w').write('def test_one(): pass\\n')")
    ended = run(pytest_suite(tmp_path, conftest=deletes, test_it=GOOD))
    incomplete(ended, "the runner does not know it", not_run=1)
    assert ended.run["counts"]["passed"] == 1


def test_a_pytest_file_deleted_between_listing_and_running(tmp_path: Path) -> None:
    deletes = ON_LISTING.format(does="__import__('os').remove('test_gone.py')")
    ended = run(pytest_suite(tmp_path, conftest=deletes, test_it=GOOD, test_gone=GOOD))
    incomplete(ended, "the runner does not know it", not_run=2)


@PLAYWRIGHT
def test_a_playwright_test_deleted_between_listing_and_running(tmp_path: Path) -> None:
    deletes = (
        "const fs = require('fs'); const spec = __dirname + '/it.spec.ts';"
        "fs.writeFileSync(spec, fs.readFileSync(spec, 'utf8').replace(/test\\('two'.*/, ''));"
    )
    ended = run(playwright_suite(tmp_path, on_listing=deletes, it=SPEC))
    incomplete(ended, "the runner does not know it", not_run=1)
    assert ended.run["counts"]["passed"] == 1


@PLAYWRIGHT
def test_a_spec_file_deleted_between_listing_and_running(tmp_path: Path) -> None:
    deletes = "require('fs').unlinkSync(__dirname + '/gone.spec.ts');"
    incomplete(run(playwright_suite(tmp_path, on_listing=deletes, it=SPEC, gone=SPEC)), not_run=2)


def test_a_fleet_that_is_not_there_is_incomplete_and_not_red(tmp_path: Path) -> None:
    root = pytest_suite(tmp_path, test_it=GOOD)
    text = (root / "ci-dispatch.toml").read_text().replace("skip = true", 'connect_timeout = "2s"')
    (root / "ci-dispatch.toml").write_text(f'{text}\n[[machine]]\nname = "gone"\nhost = "127.0.0.1"\nport = 9\n')
    incomplete(run(root), "no healthy machine", not_run=2)
    assert IMPATIENT.count("skip = true") == 1
