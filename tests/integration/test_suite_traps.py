"""Silent-green traps that the contract of all runners (tests/contract/test_suite_port.py) does not set."""

from __future__ import annotations

from pathlib import Path

import pytest

from ci_dispatch.config.sections import SuiteConfig
from ci_dispatch.core.errors import NothingToRun, UsageError
from ci_dispatch.core.model import FailureCause, Verdict
from ci_dispatch.run.ports import AttemptReading
from ci_dispatch.suites.command import CommandSuite
from ci_dispatch.suites.playwright import PlaywrightSuite
from ci_dispatch.suites.pytest import PytestSuite
from tests.components import REFERENCE_SUITE
from tests.suite_attempts import OWN_PYTHON, attempt, named, open_sample, sample

pytestmark = pytest.mark.slow
SEVERAL = ("passes", "may go", "comes last")


def run_command(tmp_path: Path, mode: str, *names: str) -> AttemptReading:
    root = sample("command", tmp_path / "tree")
    suite = open_sample("command", root, mode=mode)
    tests = open_sample("command", root).list_tests(30).tests
    return attempt(suite, [named(tests, name) for name in names or SEVERAL], tmp_path / "a", root=root)


@pytest.mark.parametrize("mode", ["empty", "silent"])
def test_exit_code_0_with_an_empty_report_or_none(tmp_path: Path, mode: str) -> None:
    reading = run_command(tmp_path, mode)
    assert {result.verdict for result in reading.results} == {Verdict.NOT_RUN}
    assert reading.cause is FailureCause.USAGE


def test_a_truncated_report(tmp_path: Path) -> None:
    reading = run_command(tmp_path, "truncated")
    verdicts = [result.verdict for result in reading.results]
    assert verdicts[0] is Verdict.PASSED
    assert verdicts[-1] is Verdict.NOT_RUN
    assert "JUnit file" in reading.results[-1].reason


def test_the_report_of_an_earlier_run(tmp_path: Path) -> None:
    root = sample("command", tmp_path / "tree")
    (root / "report.xml").write_text('<testsuite><testcase classname="sample" name="passes"/></testsuite>')

    def attempted(mode: str, folder: str) -> AttemptReading:
        settings = SuiteConfig(
            list="python3 run.py list",
            command="python3 run.py run report.xml {tests}",
            junit="report.xml",
            env={"SAMPLE_MODE": mode},
        )
        suite = CommandSuite(settings, root)
        tests = [named(suite.list_tests(30).tests, "passes")]
        return attempt(suite, tests, tmp_path / folder, root=root)

    assert attempted("silent", "a").results[0].verdict is Verdict.NOT_RUN
    assert attempted("", "b").results[0].verdict is Verdict.PASSED


@pytest.mark.needs("playwright")
def test_a_playwright_selection_that_matches_nothing() -> None:
    suite = PlaywrightSuite(SuiteConfig(args=("--grep", "no such title anywhere")), REFERENCE_SUITE)
    with pytest.raises(NothingToRun):
        suite.list_tests(60)


@pytest.mark.parametrize("arguments", [("-k", "no_such_test"), ("-m", "no_such_mark")])
def test_a_pytest_selection_that_matches_nothing(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    root = sample("pytest", tmp_path / "tree")
    with pytest.raises(NothingToRun):
        PytestSuite(SuiteConfig(args=arguments, env=OWN_PYTHON), root).list_tests(60)


@pytest.mark.needs("playwright")
def test_the_suites_environment_cannot_move_the_selection(tmp_path: Path) -> None:
    """Without its last-run file `--last-failed` would run everything and exit 0."""
    root = sample("playwright", tmp_path / "tree")
    suite = open_sample("playwright", root, PLAYWRIGHT_LAST_RUN_OUTPUT_FILE="elsewhere.json")
    tests = suite.list_tests(60).tests
    one = named(tests, "passes")
    reading = attempt(suite, [one], tmp_path / "a", root=root)
    assert (len(reading.results), reading.unexpected) == (1, ())


@pytest.mark.needs("playwright")
def test_a_playwright_that_is_not_installed_on_the_machine(tmp_path: Path) -> None:
    root = sample("playwright", tmp_path / "tree")
    suite = open_sample("playwright", root)
    tests = suite.list_tests(60).tests[:2]
    (root / "node_modules").unlink()
    reading = attempt(suite, tests, tmp_path / "a", root=root)
    assert {result.verdict for result in reading.results} == {Verdict.NOT_RUN}
    assert reading.cause is FailureCause.SETUP
    assert "@playwright/test is not installed" in reading.reason


def test_a_pytest_that_is_not_installed_on_the_machine(tmp_path: Path) -> None:
    root = sample("pytest", tmp_path / "tree")
    tests = open_sample("pytest", root).list_tests(60).tests[:2]
    suite = open_sample("pytest", root, CI_DISPATCH_PYTHON="/nowhere/python")
    reading = attempt(suite, tests, tmp_path / "a", root=root)
    assert {result.verdict for result in reading.results} == {Verdict.NOT_RUN}
    assert reading.cause is FailureCause.SETUP
    assert "/nowhere/python cannot be started" in reading.reason


def test_a_listing_that_hangs_leaves_nothing_running(tmp_path: Path) -> None:
    settings = SuiteConfig(list="sh -c 'sleep 61.25 & sleep 61.25'", command="x {junit} {tests}")
    suite = CommandSuite(settings, tmp_path)
    with pytest.raises(UsageError, match="did not end within 1 s"):
        suite.list_tests(1.0)
    running = [entry.read_bytes() for entry in Path("/proc").glob("[0-9]*/cmdline") if entry.exists()]
    assert not [line for line in running if b"61.25" in line]


def test_tests_made_from_a_set_have_one_order_in_every_process(tmp_path: Path) -> None:
    """Each process of Python orders strings of a set in its own way, and xdist runs nothing where workers differ."""
    names = [f"name{n}" for n in range(40)]
    root = tmp_path / "suite"
    root.mkdir()
    (root / "pytest.ini").write_text("[pytest]\n")
    (root / "test_set.py").write_text(
        f"import pytest\n@pytest.mark.parametrize('name', set({names!r}))\ndef test_it(name): assert name\n"
        "@pytest.mark.parametrize('pair', [object() for _ in set('abc')])\ndef test_numbered(pair): pass\n"
    )
    suite = PytestSuite(SuiteConfig(env=OWN_PYTHON), root)
    tests = suite.list_tests(60.0).tests
    reading = attempt(suite, tests, tmp_path / "attempt", root=root, workers=3)
    assert len(tests) == 43
    assert {result.verdict for result in reading.results} == {Verdict.PASSED}, reading
