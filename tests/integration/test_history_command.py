"""`ci-dispatch history` and the runs that feed it, as processes: also several at once, and over damaged files."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ci_dispatch.app.run_history import file_in
from ci_dispatch.history.store import HistoryStore
from tests.integration.cli_process import Ended, ci_dispatch, environment

SUITE = "import os\n\n\ndef test_quick():\n    pass\n\n\nclass TestShop:\n    def test_pays(self):\n        assert {}\n"
CONFIG = "[retry]\nmax_retries = 0\n[suite]\ntitle = 'shop'\n[health]\nskip = true\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / ".git").mkdir()
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_shop.py").write_text(SUITE.format(1))
    (tmp_path / "ci-dispatch.toml").write_text(CONFIG)
    return tmp_path


def history(project: Path, *arguments: str, code: int = 0) -> Ended:
    ended = ci_dispatch("history", *arguments, cwd=project)
    assert ended.code == code, ended.err
    assert "Traceback" not in ended.err
    return ended


def run(project: Path, *, code: int = 0) -> Ended:
    python = {"CI_DISPATCH_PYTHON": sys.executable, "GITHUB_REF_NAME": "main", "GITHUB_REF": "refs/heads/main"}
    ended = ci_dispatch("run", "--progress", "plain", cwd=project, environ={**python, "PYTHONWARNINGS": ""})
    assert ended.code == code, ended.err + ended.out
    return ended


def stamp(*, days: int) -> str:
    """So many days ago, as JUnit has it."""
    return (datetime.now(UTC) - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%S+00:00")


def summary(project: Path) -> str:
    newest = max((project / ".ci-dispatch" / "runs").iterdir())
    return (newest / "summary.md").read_text(encoding="utf-8")


def test_what_runs_and_junit_files_told_is_shown(project: Path, tmp_path: Path) -> None:
    run(project)
    (project / "test_shop.py").write_text(SUITE.format(0))
    run(project, code=1)
    junit = project / "earlier.xml"
    junit.write_text('<testsuite name="pytest" timestamp="' + stamp(days=1) + '">'
                     '<testcase classname="test_shop.TestShop" name="test_pays" time="7.5"/></testsuite>')  # fmt: skip
    imported = history(project, "import", str(junit), "--branch", "main").out
    assert imported.startswith("Imported 1 test as run junit-")
    assert history(project, "import", str(junit), "--branch", "main").out == imported, "the same files are the same run"
    head, *rows = history(project).out.splitlines()
    assert head.split()[:2] == ["RUN", "BEGAN"]
    assert sorted(row.split()[4] for row in rows) == ["FAILED", "PASSED", "PASSED"]
    listed = json.loads(history(project, "--json", "--branch", "main").out)["runs"]
    assert len(listed) == len(rows) == 3
    assert history(project, "--limit", "1").out.splitlines()[-1] == "... and 2 older: --limit 3"
    shown = history(project, "PAYS").out
    assert "test_shop.py::TestShop::test_pays" in shown
    assert "3 runs, the newest last: 1 failed, 2 passed; flaky rate 0%" in shown
    assert "7.50s" in shown
    assert history(project, "show", "PAYS").out == shown
    told = json.loads(history(project, "PAYS", "--json").out)
    assert [one["verdict"] for one in told["runs"]].count("passed") == 2
    many = history(project, "test_", code=2).err
    assert "may be any of 2 tests" in many
    assert history(project, "import", code=2).err
    assert "has none of that" in history(project, "nope", code=2).err


def test_a_first_run_is_planned_by_what_was_imported(project: Path) -> None:
    junit = project / "earlier.xml"
    junit.write_text('<testsuite name="pytest"><testcase classname="test_shop.TestShop" name="test_pays" time="7.5"/>'
                     '<testcase classname="test_shop" name="test_quick" time="0.5"/></testsuite>')  # fmt: skip
    history(project, "import", "earlier.xml")
    plan = json.loads(ci_dispatch("plan", "--json", cwd=project, environ={"CI_DISPATCH_PYTHON": sys.executable}).out)
    assert (plan["known_durations"], plan["seconds"]) == (1.0, 8.0)


def test_what_was_exported_merges_elsewhere(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "ci-dispatch.toml").write_text(CONFIG)
    run(project)
    assert history(project, "export", "all.db").out == "Exported 1 run to all.db.\n"
    history(project, "export", "all.db")
    assert (project / "all.db").stat().st_mode & 0o777 == 0o600
    exported = (project / "all.db").read_bytes()
    assert history(elsewhere, "merge", str(project / "all.db")).out == "Merged 1 file: 1 new run, 1 in all.\n"
    assert history(elsewhere, "merge", *[str(project / "all.db")] * 2).out == "Merged 2 files: 0 new runs, 1 in all.\n"
    assert history(elsewhere).out == history(project).out
    assert (project / "all.db").read_bytes() == exported
    assert "Forgot 0 runs, kept 1" in history(elsewhere, "prune").out
    assert {path.name for path in project.iterdir()} >= {"all.db"}
    assert not [path for path in project.iterdir() if path.name.startswith("tmp")]


@pytest.mark.parametrize("content", [b"x" * 9000, b"", None])
def test_a_merge_takes_all_or_none(project: Path, content: bytes | None) -> None:
    file = file_in(project / ".ci-dispatch")
    file.parent.mkdir()
    with HistoryStore(project / "good.db"):
        pass
    if content is None:
        with closing(sqlite3.connect(project / "bad.db")) as other, other:
            other.execute("CREATE TABLE runs (id)")
    else:
        (project / "bad.db").write_bytes(content)
    before = (project / "bad.db").read_bytes()
    if content == b"":
        assert "0 new runs" in history(project, "merge", "good.db", "bad.db").out, "an empty file is an empty history"
    else:
        refused = history(project, "merge", "good.db", "bad.db", code=6).err
        assert refused.startswith("error: bad.db is")
        assert "try: nothing was changed" in refused
        assert not file.exists()
    assert (project / "bad.db").read_bytes() == before


def test_bad_input_is_said(project: Path) -> None:
    assert "There is no history yet" in history(project, code=2).err
    assert "does not exist" in history(project, "merge", "nowhere.db", code=2).err
    (project / "empty.xml").write_text("<testsuites/>")
    assert "Nothing was imported" in history(project, "import", "empty.xml", code=3).err
    (project / "old.xml").write_text(
        f'<testsuite timestamp="{stamp(days=100)}"><testcase name="a" time="1"/></testsuite>'
    )
    assert "keeps none so old" in history(project, "import", "old.xml", code=2).err
    assert "Imported 1 test" in history(project, "import", "old.xml", "--history-max-age", "200d").out
    run(project)
    (project / "folder").mkdir()
    assert "is a directory" in history(project, "export", "folder", code=2).err
    assert "no folder that can be written" in history(project, "export", "nowhere/all.db", code=2).err
    file_in(project / ".ci-dispatch").write_bytes(b"x" * 9000)
    assert "is damaged" in history(project, code=6).err
    assert file_in(project / ".ci-dispatch").read_bytes() == b"x" * 9000, "only a run puts it aside"


@pytest.mark.parametrize("trouble", ["damaged", "foreign", "newer", "locked"])
def test_whatever_is_the_matter_with_it_the_verdict_stands_and_one_warning_says_so(project: Path, trouble: str) -> None:
    file = file_in(project / ".ci-dispatch")
    file.parent.mkdir()
    with HistoryStore(file):
        pass
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        if trouble == "damaged":
            file.write_bytes(b"x" * 9000)
        elif trouble == "foreign":
            other.execute("CREATE TABLE customers (name)")
        elif trouble == "newer":
            other.execute("PRAGMA user_version = 99")
        else:
            other.execute("BEGIN EXCLUSIVE")
        ended = run(project)
    assert ended.out.splitlines()[-1].startswith("ci-dispatch: PASSED 2 tests")
    assert summary(project).count("history.db") in (1, 2), "what it is and, where it was put aside, as what it is kept"
    assert summary(project).count("the run goes on without it") == 1
    aside = [path for path in file.parent.glob(f"history.db.{trouble}-*") if path.name[-4:] not in ("-wal", "-shm")]
    assert len(aside) == (trouble in ("damaged", "foreign"))


def test_a_run_whose_controller_died_before_it_was_written_is_written_by_resume(project: Path) -> None:
    run(project)
    file = file_in(project / ".ci-dispatch")
    file.unlink()
    [folder] = (project / ".ci-dispatch" / "runs").iterdir()
    (folder / "run.json").unlink()
    resumed = ci_dispatch("resume", cwd=project)
    assert resumed.code == 0, resumed.err
    with HistoryStore(file) as store:
        assert [known.id for known in store.runs()] == [folder.name]


WRITER = """
import sys
from pathlib import Path
from ci_dispatch.core.model import RunId, TestId, Verdict
from ci_dispatch.history.merge import Bounds
from ci_dispatch.history.store import HistoryStore
from ci_dispatch.history.values import PastAttempt, PastRun, PastTest, RecordedRun, Remembered

name = sys.argv[2]
sys.stdin.readline()
for number in range(25):
    tests = tuple(PastTest(id=TestId(f"t{n:02}"), verdict=Verdict.PASSED,
                           attempts=(PastAttempt(verdict=Verdict.PASSED, machine=name, at=1.0, seconds=1.0),))
                  for n in range(20))
    with HistoryStore(Path(sys.argv[1])) as store:
        store.add([RecordedRun(run=PastRun(id=RunId(f"{name}-{number}"), at=float(number)), tests=tests)],
                  [Remembered(reporter="slack", key=f"{name}-{number}", value=b"v", at=1.0)])
        store.prune(Bounds(runs=1000, seconds=1e9), 0.0)
"""


def test_several_controllers_write_at_once_and_nothing_is_lost(tmp_path: Path) -> None:
    file, names = tmp_path / "history.db", ["one", "two", "three"]
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(file), name], stdin=subprocess.PIPE, env=environment())
        for name in names
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(b"\n")
        writer.stdin.close()
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0, 0]
    with HistoryStore(file) as store:
        records = list(store.records())
        assert {record.run.id for record in records} == {f"{name}-{number}" for name in names for number in range(25)}
        assert all(len(record.tests) == 20 for record in records)
        assert len(store.remembered()) == 75
        assert len(store.tests()) == 20


def test_a_writer_that_is_killed_leaves_whole_runs(tmp_path: Path) -> None:
    file = tmp_path / "history.db"
    for _ in range(4):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(file), "one"], stdin=subprocess.PIPE, env=environment()
        )
        assert writer.stdin is not None
        writer.stdin.write(b"\n")
        writer.stdin.flush()
        while writer.poll() is None and not file.exists():
            pass
        writer.kill()
        writer.wait(timeout=60)
        writer.stdin.close()
        with HistoryStore(file) as store:
            assert all(len(record.tests) == 20 for record in store.records())


def test_two_runs_of_one_project_at_once_are_both_remembered(project: Path) -> None:
    environ = {**environment(CI_DISPATCH_PYTHON=sys.executable), "PYTHONWARNINGS": ""}
    command = [sys.executable, "-m", "ci_dispatch", "run", "--progress", "none"]
    both = [subprocess.Popen(command, cwd=project, env=environ, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [one.wait(timeout=120) for one in both] == [0, 0]
    assert len(json.loads(history(project, "--json").out)["runs"]) == 2


def test_a_result_says_what_is_new_and_since_which_run(project: Path) -> None:
    """In one place for people and in one for the pull request, against the run before."""
    run(project)
    (project / "test_shop.py").write_text(SUITE.format(0))
    broke = run(project, code=1).out
    assert "since main: 1 new failure" in broke
    assert "fails since this run" in broke
    assert "1 new failure" in summary(project).splitlines()[0]
    (project / "test_shop.py").write_text(SUITE.format(0) + "\n\ndef test_returns():\n    raise KeyError\n")
    still = run(project, code=1).out
    assert "since main: 1 new failure, 1 still failing" in still
    assert f"fails since {datetime.now(UTC):%Y}-" in still
    assert "also fails on main" in summary(project)
    (project / "test_shop.py").write_text(SUITE.format(1))
    assert "since main: 1 fixed" in run(project).out
    newest = max((project / ".ci-dispatch" / "runs").iterdir())
    assert "ci_dispatch_runs_since_green 0" in (newest / "metrics.prom").read_text(encoding="utf-8")
