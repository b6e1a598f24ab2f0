"""Runs of pytest whose runners are started ahead say the same as runs whose runners are not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ci_dispatch.config.choices import StartAhead
from ci_dispatch.config.sections import SuiteConfig
from ci_dispatch.run.ports import AttemptPaths
from ci_dispatch.suites.pytest import PytestSuite
from tests.fleet.recorder import marked, until
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


RECORD = "from pathlib import Path; Path('{name}.loaded').write_text(str(Path('begin').exists()))"


@pytest.mark.parametrize(
    ("ahead", "loaded"), [("plugins", ("early",)), ("conftest", ("early", "conftest"))], ids=["plugins", "conftest"]
)
def test_nothing_more_of_a_suite_is_loaded_before_its_lease_than_it_says(
    tmp_path: Path, ahead: str, loaded: tuple[str, ...]
) -> None:
    """What each file of the suite finds when it is loaded: whether the runner had been told to begin."""
    tree, attempt = tmp_path / "tree", tmp_path / "attempt"
    tree.mkdir()
    for name in ("early", "conftest", "test_it"):
        (tree / f"{name}.py").write_text(RECORD.format(name=name) + "\ndef test_one(): pass\n")
    (tree / "pytest.ini").write_text("[pytest]\naddopts = -p early\n")
    settings = SuiteConfig(env={"CI_DISPATCH_PYTHON": sys.executable}, start_ahead=StartAhead(ahead))
    suite = PytestSuite(settings, tree)
    tests = suite.list_tests(60).tests
    for record in tree.glob("*.loaded"):
        record.unlink()
    place = AttemptPaths(tree=str(tree), attempt=str(attempt))
    call = suite.invocation(tests, place, workers=1, shard=1, extra=())
    assert call.late == ("tests.json",)
    attempt.mkdir()
    for name in call.files.keys() - set(call.late):
        (attempt / name).write_bytes(call.files[name])
    env = {**os.environ, **call.env, "CI_DISPATCH_BEGIN": str(tree / "begin")}
    process = subprocess.Popen(call.argv, cwd=call.cwd, env=env, stdout=subprocess.DEVNULL)
    try:
        until((tree / f"{loaded[-1]}.loaded").exists, 60)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.5)
        (attempt / "tests.json").write_bytes(call.files["tests.json"])
        (tree / "begin").touch()
        assert process.wait(60) == 0
    finally:
        process.kill()
    told = {record.stem: record.read_text() == "False" for record in tree.glob("*.loaded")}
    assert told == {name: name in loaded for name in ("early", "conftest", "test_it")}
