"""Plugins of pytest that try tests again or name them alike: a pass is one only when the last word on the test is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ci_dispatch.config.sections import SuiteConfig
from ci_dispatch.core.errors import UsageError
from ci_dispatch.core.model import FailureCause, TestResult, Verdict
from ci_dispatch.run.ports import AttemptReading
from ci_dispatch.suites.pytest import PytestSuite
from tests.suite_attempts import OWN_PYTHON, attempt

pytestmark = pytest.mark.slow

RERUN = "[pytest]\naddopts = --reruns 2\n"
TRY = """
import os
import os
import subprocess
import sys
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


@pytest.mark.parametrize("workers", [1, 2])
def test_a_part_of_a_suite_is_not_asked_for_all_of_its_coverage(tmp_path: Path, workers: int) -> None:
    files = {"pytest.ini": "[pytest]\naddopts = --cov=. --cov-fail-under=99\n", "test_it.py": TRY}
    reading, results = run(tmp_path, workers=workers, **files)
    assert (reading.cause, results["test_fine"].verdict) == (FailureCause.NONE, Verdict.PASSED)


TWINS = """
import pytest


class Step(pytest.Item):
    def runtest(self):
        assert self.fine


def step(parent, name, fine):
    item = Step.from_parent(parent, name=name)
    item.fine = fine
    return item


class Steps(pytest.File):
    def collect(self):
        for line in self.path.read_text().splitlines():
            name, fine = line.split()
            yield step(self, name, fine == "fine")


def pytest_collect_file(parent, file_path):
    if file_path.suffix == ".steps":
        return Steps.from_parent(parent, path=file_path)
"""


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("steps", ["one fine\none bad\ntwo fine\n", "one bad\none fine\ntwo fine\n"])
def test_the_worst_of_tests_of_one_name_counts(tmp_path: Path, workers: int, steps: str) -> None:
    files = {"conftest.py": TWINS, "shop.steps": steps}
    (note,) = suite_in(tmp_path / "tree", **files).list_tests(60).notes
    assert note == "tests of one name count once, with the worst of their results: shop.steps::one (2 times)"
    reading, results = run(tmp_path, workers=workers, **files)
    assert {name: result.verdict for name, result in results.items()} == {"one": Verdict.FAILED, "two": Verdict.PASSED}
    assert (reading.cause, reading.unexpected) == (FailureCause.NONE, ())


def test_the_environment_of_ci_dispatch_is_not_the_suites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`pip install ci-dispatch` into an active environment of its own, beside a suite whose Python is on the PATH."""
    own = tmp_path / "own"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(own)], check=True)
    monkeypatch.setenv("VIRTUAL_ENV", str(own))
    monkeypatch.setenv("PATH", f"{own / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    suite_in(tmp_path / "tree", **{"test_it.py": "def test_fine():\n    pass\n", "poetry.lock": ""})  # and no poetry
    suite = PytestSuite(SuiteConfig(), tmp_path / "tree")
    tests = suite.list_tests(60).tests
    reading = attempt(suite, tests, tmp_path / "a", root=tmp_path / "tree")
    assert [result.verdict for result in reading.results] == [Verdict.PASSED]
    monkeypatch.setenv("PATH", str(own / "bin"))
    with pytest.raises(UsageError, match=rf"pytest is not installed for {own}/bin/python .*CI_DISPATCH_PYTHON"):
        suite.list_tests(60)


def test_the_python_of_a_projects_lock_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = tmp_path / "tree"
    uv = tmp_path / "bin" / "uv"
    uv.parent.mkdir()
    uv.write_text(f'#!/bin/sh\n[ "$1 $2" = "run --frozen" ] && echo {sys.executable}\n')
    uv.chmod(0o755)
    monkeypatch.setenv("PATH", f"{uv.parent}:/usr/bin:/bin")
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    suite_in(tree, **{"test_it.py": "def test_fine():\n    pass\n", "uv.lock": ""})
    notes = PytestSuite(SuiteConfig(), tree).list_tests(60).notes
    assert f"the tests run with {sys.executable}, as uv.lock says" in notes
