"""Plugins of pytest that try tests again or name them alike: a pass is one only when the last word on the test is."""

from __future__ import annotations

from pathlib import Path

import pytest

from ci_dispatch.config.sections import SuiteConfig
from ci_dispatch.core.model import FailureCause, TestResult, Verdict
from ci_dispatch.run.ports import AttemptReading
from ci_dispatch.suites.pytest import PytestSuite
from tests.suite_attempts import OWN_PYTHON, attempt

pytestmark = pytest.mark.slow

RERUN = "[pytest]\naddopts = --reruns 2\n"
TRY = """
import os
from pathlib import Path

import pytest


def times(name):
    with open(f"{name}.tries", "a+") as file:
        file.write("x")
        return file.tell()


def test_fine():
    pass


"""


def suite_in(folder: Path, **files: str) -> PytestSuite:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return PytestSuite(SuiteConfig(env=OWN_PYTHON), folder)


def run(folder: Path, *, workers: int = 1, **files: str) -> tuple[AttemptReading, dict[str, TestResult]]:
    suite = suite_in(folder / "tree", **files)
    tests = suite.list_tests(60).tests
    reading = attempt(suite, tests, folder / "a", root=folder / "tree", workers=workers)
    return reading, {test.title[-1]: result for test, result in zip(tests, reading.results, strict=True)}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_rerun_that_passed_is_flaky_and_one_that_never_did_has_failed(tmp_path: Path, workers: int) -> None:
    source = (
        'def test_recovers():\n    assert times("a") > 1, "the first time"\n\n\n'
        'def test_never():\n    assert times("b") > 9, "never"\n\n\n'
        'def test_ends_skipped():\n    assert times("c") == 1 and pytest.fail("bad") or pytest.skip("not today")\n\n\n'
        '@pytest.fixture\ndef tool():\n    assert times("d") > 1, "no tool"\n\n\n'
        "def test_with_a_tool(tool):\n    pass\n"
    )
    reading, results = run(tmp_path, workers=workers, **{"pytest.ini": RERUN, "test_it.py": TRY + source})
    assert reading.cause is FailureCause.NONE
    assert {name: result.verdict for name, result in results.items()} == {
        "test_fine": Verdict.PASSED,
        "test_recovers": Verdict.FLAKY,
        "test_never": Verdict.FAILED,
        "test_ends_skipped": Verdict.FAILED,
        "test_with_a_tool": Verdict.FLAKY,
    }
    assert (results["test_recovers"].retries, results["test_never"].retries) == (1, 2)
    assert "the first time" in results["test_recovers"].message
    assert results["test_ends_skipped"].reason == "it failed, then was skipped when tried again"


@pytest.mark.parametrize(("workers", "dies"), [(1, "os._exit(0)"), (1, "os.kill(os.getpid(), 9)"), (2, "os._exit(0)")])
def test_a_rerun_that_kills_its_runner_has_no_verdict(tmp_path: Path, workers: int, dies: str) -> None:
    source = f'def test_dies():\n    assert times("a") > 1, "at first"\n    {dies}\n'
    reading, results = run(tmp_path, workers=workers, **{"pytest.ini": RERUN, "test_it.py": TRY + source})
    assert results["test_dies"].verdict in (Verdict.NOT_RUN, Verdict.FAILED)
    assert results["test_fine"].verdict is Verdict.PASSED
    if results["test_dies"].verdict is Verdict.NOT_RUN:
        assert reading.cause is FailureCause.CRASH
        assert reading.suspects == (results["test_dies"].test,)
