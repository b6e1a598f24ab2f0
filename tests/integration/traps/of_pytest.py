"""Traps of pytest: something keeps its tests from running, or their failures from being seen."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.integration.traps.trap import INCOMPLETE, NOTHING, RED, USAGE, Trap
from tests.integration.whole_run import repository

SETTINGS = f'runner = "pytest"\nenv = {{ CI_DISPATCH_PYTHON = "{sys.executable}" }}'
ONE_AT_A_TIME = "addopts = -p no:xdist"
AT_RUN = "import os\n\nAT_RUN = 'CI_DISPATCH_TESTS' in os.environ  # and not when the tests are listed\n\n\n"
GOOD = """
def test_one():
    pass


def test_two():
    pass


"""


def pytest_suite(
    *, ini: str = "", conftest: str = "", files: Mapping[str, str] | None = None, **sources: str
) -> Callable[[Path], Path]:
    def pytest_in(folder: Path) -> Path:
        python = {f"{name}.py": text for name, text in sources.items()}
        root = repository(folder, SETTINGS, **{"pytest.ini": f"[pytest]\n{ini}\n", "conftest.py": conftest, **python})
        for name, text in (files or {}).items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        return root

    return pytest_in


def dies(statement: str) -> str:
    """A file whose second of three tests does this."""
    source = GOOD.replace("def test_two():\n    pass", f"def test_two():\n    {statement}")
    return f"import os\nimport signal\n\nimport pytest\n\n{source}def test_three():\n    pass\n"


def flaky(name: str) -> str:
    """A test that fails the first time."""
    return f"""
def {name}():
    with open("tries", "a+") as tries:
        tries.write("x")
        assert tries.tell() > 1
"""


LISTING_WRITES = """
def pytest_unconfigure(config):
    if config.option.collectonly:
        open("test_it.py", "w").write("def test_one(): pass\\n")
"""
DESELECTS = f"""
{AT_RUN}
def pytest_collection_modifyitems(items):
    items[:] = [item for item in items if not (AT_RUN and item.name == "test_two")]
"""
SKIPS_ITSELF = f"""
{AT_RUN}
import pytest

if AT_RUN:
    pytest.importorskip("no_such")


def test_rich():
    pass
"""
EXITS = f"""
{AT_RUN}
import sys

if AT_RUN:
    sys.exit(0)


def test_x():
    pass
"""
CANNOT_BE_IMPORTED = f"""
{AT_RUN}
if AT_RUN:
    import no_such_module


def test_x():
    pass
"""
LACKS_TWO = f"""
{AT_RUN}
def test_one():
    pass


if not AT_RUN:

    def test_two():
        pass
"""
EXIT_CODE_0 = """
import pytest


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    session.exitstatus = 0
"""
EXIT_CODE_1 = EXIT_CODE_0.replace("exitstatus = 0", "exitstatus = 1")
KILLED_AT_THE_END = f"""
{AT_RUN}
def pytest_sessionfinish(session):
    if AT_RUN:
        os.kill(os.getpid(), 9)
"""
BREAKS_PYTEST = """
def pytest_runtest_logfinish(nodeid):
    assert "two" not in nodeid
"""
FAILED_LAST_TIME = {".pytest_cache/v/cache/lastfailed": '{"test_it.py::test_one": true}'}
LATER_FAILS = f"{GOOD}def test_later():\n    assert 1 == 2\n"
TWINS = """
import pytest


class Step(pytest.Item):
    def runtest(self):
        assert self.fine


class Steps(pytest.File):
    def collect(self):
        for name, fine in [("one", False), ("one", True), ("two", True)]:
            step = Step.from_parent(self, name=name)
            step.fine = fine
            yield step


def pytest_collect_file(parent, file_path):
    if file_path.suffix == ".steps":
        return Steps.from_parent(parent, path=file_path)
"""
RERUN_DIES = f"import os\n\n{GOOD}{flaky('test_dies')}    os._exit(0)\n"
HIDDEN = """
import os

import pytest


@pytest.fixture
def tool():
    yield
    raise RuntimeError("the tool is broken")


def test_teardown(tool):
    pass


def test_subtest(subtests):
    with subtests.test("one"):
        raise AssertionError("in a subtest")


def test_swallowed():
    try:
        pytest.fail("it is broken")
    except Exception:
        pass


def test_environment():
    os.environ.clear()
    raise AssertionError("and the environment is gone")
"""
ALL_BUT_TWO = {"test_one": "passed", "test_two": "failed", "test_three": "passed"}
ALL_BUT_LATER = {"test_one": "passed", "test_two": "passed", "test_later": "failed"}

TRAPS = (
    Trap(
        traps={"a selection that matches nothing": "exit 5"},
        code=NOTHING,
        suite=pytest_suite(test_it=GOOD),
        arguments=("-k", "nobody"),
        said=("pytest finds no tests",),
    ),
    Trap(
        traps={"a name that has gone stale, beside one that is right": "runs nothing, exit 4"},
        code=NOTHING,
        suite=pytest_suite(test_it=GOOD),
        arguments=("test_it.py::test_one", "test_it.py::test_gone"),
        said=("not found", "test_it.py::test_gone"),
    ),
    Trap(
        traps={"a file that cannot be imported": "runs nothing, exit 2"},
        code=USAGE,
        suite=pytest_suite(test_it=GOOD, test_broken=f"import no_such_module\n\n\n{GOOD}"),
        said=("The suite cannot be loaded", "no_such_module", "CI_DISPATCH_PYTHON"),
    ),
    Trap(
        traps={"files that change while the tests are listed": "some of both, exit 0"},
        code=INCOMPLETE,
        suite=pytest_suite(conftest=LISTING_WRITES, test_it=GOOD),
        verdicts={"test_one": "passed", "test_two": "not run"},
        said=("it was listed, but the runner does not know it",),
    ),
    Trap(
        traps={"a file that cannot be imported on a machine": "runs nothing, exit 2"},
        code=INCOMPLETE,
        suite=pytest_suite(test_it=GOOD, test_broken=CANNOT_BE_IMPORTED),
        verdicts={"test_one": "passed", "test_two": "passed", "test_x": "not run"},
        said=("test_broken.py cannot be loaded: ModuleNotFoundError: No module named 'no_such_module'",),
    ),
    Trap(
        traps={
            "a test that is gone on a machine": "runs the others, exit 0",
            "a file that is gone on a machine": "runs the others, exit 0",
        },
        code=INCOMPLETE,
        suite=pytest_suite(
            conftest=f"{AT_RUN}collect_ignore = ['test_gone.py'] if AT_RUN else []\n",
            test_it=LACKS_TWO,
            test_gone="def test_three():\n    pass\n",
        ),
        verdicts={"test_one": "passed", "test_two": "not run", "test_three": "not run"},
        said=("the runner does not know it",),
    ),
    Trap(
        traps={"tests that one machine deselects": "runs the others, exit 0"},
        code=INCOMPLETE,
        suite=pytest_suite(conftest=DESELECTS, test_it=GOOD),
        verdicts={"test_one": "passed", "test_two": "not run"},
        said=("the suite's own configuration deselects it on this machine",),
    ),
    Trap(
        traps={"a file that one machine skips as a whole": "1 skipped, exit 0"},
        code=INCOMPLETE,
        suite=pytest_suite(test_it=GOOD, test_rich=SKIPS_ITSELF),
        verdicts={"test_one": "passed", "test_two": "passed", "test_rich": "not run"},
        said=("test_rich.py is skipped as a whole on this machine: could not import 'no_such'",),
    ),
    Trap(
        traps={"`sys.exit(0)` while a file is imported on a machine": "exit 3"},
        code=INCOMPLETE,
        suite=pytest_suite(test_it=GOOD, test_exits=EXITS),
        verdicts={"test_x": "not run"},
    ),
    Trap(
        traps={"the process ends itself with exit code 0 in a test": "exit 0, no report"},
        code=RED,
        suite=pytest_suite(ini=ONE_AT_A_TIME, test_it=dies("os._exit(0)")),
        verdicts=ALL_BUT_TWO,
        said=("took its test runner down 2 times", "the runner exited 0 while it ran test_it.py › test_two"),
    ),
    Trap(
        traps={"the process is killed in a test": "exit 137, no report"},
        code=RED,
        suite=pytest_suite(ini=ONE_AT_A_TIME, test_it=dies("os.kill(os.getpid(), signal.SIGKILL)")),
        verdicts=ALL_BUT_TWO,
        said=("SIGKILL while it ran test_it.py › test_two",),
    ),
    Trap(
        traps={"a worker of xdist ends itself with exit code 0": "the test failed; some of xdist's schedulers hang"},
        code=RED,
        suite=pytest_suite(test_it=dies("os._exit(0)")),
        verdicts=ALL_BUT_TWO,
        said=("crashed while running",),
    ),
    Trap(
        traps={"a test forks, its process ends, and the child goes on with the other tests": "exit 0"},
        code=RED,
        suite=pytest_suite(ini=ONE_AT_A_TIME, test_it=dies("os.fork() and os._exit(0)")),
        verdicts=ALL_BUT_TWO,
    ),
    Trap(
        traps={"`pytest.exit(returncode=0)` in a test": "exit 0"},
        code=RED,
        suite=pytest_suite(ini=ONE_AT_A_TIME, test_it=dies("pytest.exit('enough', returncode=0)")),
        verdicts=ALL_BUT_TWO,
    ),
    Trap(
        traps={"a rerun that never passes and ends its process (pytest-rerunfailures)": "exit 0, no report"},
        code=RED,
        suite=pytest_suite(ini=f"{ONE_AT_A_TIME} --reruns 2", test_it=RERUN_DIES),
        verdicts={"test_one": "passed", "test_two": "passed", "test_dies": "failed"},
    ),
    Trap(
        traps={"a flaky test that pytest-rerunfailures minds (`--fail-on-flaky`)": "exit 7"},
        code=RED,
        suite=pytest_suite(ini="addopts = --reruns 1 --fail-on-flaky", test_it=flaky("test_flaky")),
        verdicts={"test_flaky": "flaky"},
    ),
    Trap(
        traps={"two tests of one name, of which one fails": "exit 1; most reports have one of them"},
        code=RED,
        suite=pytest_suite(conftest=TWINS, files={"shop.steps": ""}),
        verdicts={"one": "failed", "two": "passed"},
        said=("tests of one name count once, with the worst of their results: shop.steps::one (2 times)",),
    ),
    Trap(
        traps={
            "`--lf` in `addopts`": "1 of 3, exit 0",
            "`-x` in `addopts`": "not the tests after the first failure",
            "`--setup-only` in `addopts`": "calls no test, exit 0",
        },
        code=RED,
        suite=pytest_suite(ini="addopts = --lf -x --setup-only", test_it=LATER_FAILS, files=FAILED_LAST_TIME),
        verdicts=ALL_BUT_LATER,
        said=("--lf, -x or --maxfail, --setup-only: without effect",),
    ),
    Trap(
        traps={
            "`--sw` in `PYTEST_ADDOPTS`": "not the tests after the first failure",
            "`--setup-plan` in `PYTEST_ADDOPTS`": "calls no test, exit 0",
        },
        code=RED,
        suite=pytest_suite(test_it=LATER_FAILS, files=FAILED_LAST_TIME),
        environ={"PYTEST_ADDOPTS": "--lf --sw --setup-plan"},
        verdicts=ALL_BUT_LATER,
        said=("--lf, --sw, --setup-plan: without effect",),
    ),
    Trap(
        traps={"`-k` in `PYTEST_ADDOPTS`": "1 of 3, exit 0"},
        code=USAGE,
        suite=pytest_suite(test_it=LATER_FAILS),
        environ={"PYTEST_ADDOPTS": "-k one"},
        said=("PYTEST_ADDOPTS selects tests (-k)",),
    ),
    Trap(
        traps={"`-p no:xdist` in `addopts`": "exit 1; with `-n` exit 4"},
        code=RED,
        suite=pytest_suite(ini="addopts = -p no:xdist -p no:junitxml", test_it=LATER_FAILS),
        verdicts=ALL_BUT_LATER,
        said=("without pytest-xdist pytest runs one test at a time",),
    ),
    Trap(
        traps={
            "a plugin sets the exit code to 0": "exit 0",
            "a fixture's teardown fails": "passed, and an error",
            "a subtest fails": "exit 1",
            "a failure inside `except Exception`": "exit 1",
            "a test clears the environment and fails": "exit 1",
        },
        code=RED,
        suite=pytest_suite(conftest=EXIT_CODE_0, test_it=HIDDEN),
        verdicts=dict.fromkeys(("test_teardown", "test_subtest", "test_swallowed", "test_environment"), "failed"),
    ),
    Trap(
        traps={
            "a plugin sets the exit code to 1 although no test failed, beside a flaky test": "exit 1, a green report"
        },
        code=INCOMPLETE,
        suite=pytest_suite(ini="addopts = --reruns 1", conftest=EXIT_CODE_1, test_it=f"{GOOD}{flaky('test_flaky')}"),
        verdicts={"test_one": "not run", "test_two": "not run", "test_flaky": "failed"},
        said=("the runner exited 1 although no test failed",),
    ),
    Trap(
        traps={"the process is killed after the last test": "exit 137, no report"},
        code=INCOMPLETE,
        suite=pytest_suite(conftest=KILLED_AT_THE_END, test_it=GOOD),
        verdicts={"test_one": "not run", "test_two": "not run"},
        said=("the runner was ended by SIGKILL",),
    ),
    Trap(
        traps={"pytest itself fails": "exit 3"},
        code=INCOMPLETE,
        suite=pytest_suite(conftest=BREAKS_PYTEST, test_it=GOOD),
        said=("pytest itself failed",),
    ),
)
