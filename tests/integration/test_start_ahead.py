"""Runs of pytest whose runners are started ahead say the same as runs whose runners are not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.fleet.recorder import marked
from tests.integration.whole_run import IMPATIENT, Whole, ci_dispatch, repository

pytestmark = pytest.mark.slow

HARMLESS = """
import os, time
import pytest

@pytest.mark.parametrize("n", range(24))
def test_plain(n):
    assert os.environ.get("LEFT") is None
    assert os.path.exists("pytest.ini")
    time.sleep(0.05)
"""
TROUBLE = """
import os, signal, sys, time
import pytest

@pytest.fixture(scope="session")
def service():
    yield
    raise RuntimeError("the service did not stop")

def test_moves(): os.chdir("/")
def test_sets(): os.environ["LEFT"] = "1"
def test_fails(): assert 1 == 2, "one is not two"
def test_exits(): sys.exit(0)
def test_ends(): os._exit(0)
def test_is_killed(): os.kill(os.getpid(), signal.SIGKILL)
def test_leaves(): pytest.exit("enough", returncode=0)
def test_with_service(service): pass
"""


def runs(folder: Path, ahead: str, source: str) -> tuple[Whole, Path]:
    """A run of many small pulls on two machines, and where they keep their jobs."""
    python = f'{{ CI_DISPATCH_PYTHON = "{sys.executable}" }}'
    suite = f'runner = "pytest"\nenv = {python}\nsplit = "test"\nstart_ahead = "{ahead}"'
    rest = IMPATIENT + "head_share = 0.1\n"
    machines = "".join(
        f'[[machine]]\nname = "{name}"\nconnection = "local"\ncores = 1\nworkdir = "{folder}/{name}"\n' for name in "ab"
    )
    tree = repository(folder / "tree", suite, rest=rest, machines=machines)
    (tree / "pytest.ini").write_text("[pytest]\n")
    (tree / "test_it.py").write_text(source)
    return ci_dispatch("run", cwd=tree), folder


def taken_over(folder: Path) -> list[str]:
    """Jobs whose runner had been started ahead."""
    return [job.name for job in folder.glob("[ab]/jobs/*") if job.is_symlink()]


@pytest.mark.parametrize("ahead", ["plugins", "conftest"])
def test_runners_are_started_ahead_and_nothing_of_them_is_left(tmp_path: Path, ahead: str) -> None:
    ran, folder = runs(tmp_path, ahead, HARMLESS)
    assert ran.code == 0
    assert set(ran.verdicts().values()) == {"passed"}
    assert taken_over(folder)
    assert not marked(folder)


def test_trouble_in_a_suite_comes_to_the_same(tmp_path: Path) -> None:
    ahead, folder = runs(tmp_path / "ahead", "plugins", HARMLESS + TROUBLE)
    plain, other = runs(tmp_path / "plain", "off", HARMLESS + TROUBLE)
    assert taken_over(folder)
    assert not taken_over(other)
    assert ahead.verdicts() == plain.verdicts()
    assert ahead.code == plain.code == 1
    bad = {name.partition("::")[2]: verdict for name, verdict in ahead.verdicts().items() if verdict != "passed"}
    assert bad == {
        f"test_{name}": "failed" for name in ("fails", "exits", "ends", "is_killed", "leaves", "with_service")
    }
    assert not marked(folder)
