"""The history in a run: taken over from older files, told once what is the matter with it, and never in the way."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from ci_dispatch.app import run_history
from ci_dispatch.app.run_history import RunHistory, file_in
from ci_dispatch.config import load
from ci_dispatch.core.codec import replace
from ci_dispatch.core.model import Test, TestId, UnitId, Verdict
from ci_dispatch.history import of_run
from ci_dispatch.history.aside import identity, put_aside
from ci_dispatch.history.store import HistoryStore
from ci_dispatch.run.state import RunState
from report_merge.model import RunContext
from tests.recorded_runs import play, recorded

CONFIG = load("").config
NOW = 1_800_086_400.0  # a day after the recorded runs
CONTEXT = RunContext(title="shop", branch="main")


class Room:
    """A runs folder, and what was warned of it."""

    def __init__(self, base: Path) -> None:
        self.base, self.warned = base, list[str]()

    def history(self) -> RunHistory:
        return RunHistory(self.base, CONFIG, self.warned.append, clock=lambda: NOW)

    @property
    def files(self) -> set[str]:
        return {path.name for path in self.base.iterdir()} - {".gitignore"}


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path / ".ci-dispatch")


@pytest.fixture(scope="module")
def troubled() -> RunState:
    return play(recorded("troubled"))


def known(room: Room, *names: str) -> dict[TestId, tuple[float, ...]]:
    tests = [Test(id=TestId(name), unit=UnitId(name)) for name in names]
    found: dict[TestId, tuple[float, ...]] = {}
    for sample in room.history().samples(tests):
        if sample.verdict is Verdict.PASSED:
            found[sample.test] = (*found.get(sample.test, ()), sample.seconds * sample.speed)
    return found


def test_looking_leaves_nothing_behind(room: Room) -> None:
    assert room.history().samples([]) == ()
    assert room.history().before(CONTEXT) is None
    assert dict(room.history().memory("slack")) == {}
    assert not room.base.exists()
    assert room.warned == []


def test_a_run_teaches_the_next_one(room: Room, troubled: RunState) -> None:
    room.history().record(troubled, CONTEXT)
    room.history().record(troubled, CONTEXT)
    passed = {
        record.test.id
        for record in troubled.ledger.records.values()
        if any(result.verdict == "passed" and result.seconds is not None for _, _, result in record.history)
    }
    assert set(known(room)) == passed
    before = room.history().before(CONTEXT)
    assert before is not None
    assert (before.passed, bool(before.fingerprints)) == (False, True)
    assert room.history().before(replace(CONTEXT, branch="topic")) is None
    assert room.history().before(replace(CONTEXT, branch="")) is None
    assert room.warned == []


def test_what_is_kept_is_bounded(room: Room, troubled: RunState) -> None:
    room.history().record(troubled, CONTEXT)
    old = RunHistory(room.base, CONFIG, room.warned.append, clock=lambda: NOW + CONFIG.history.max_age)
    old.record(play(recorded("green")), CONTEXT)
    with HistoryStore(file_in(room.base)) as store:
        assert [run.id for run in store.runs()] == []


def test_former_files_are_taken_over_once(room: Room) -> None:
    room.base.mkdir()
    (room.base / "timings.json").write_text('{"version": 1, "samples": {"a": [1.0, 2.0], "b": [3.0]}}')
    told = {"k": {"bad": True, "since": 1}}
    (room.base / "slack.json").write_text(json.dumps({"v": 1, "told": told, "unfinished": {}}))
    assert known(room, "a", "b") == {"a": (1.0, 2.0), "b": (3.0,)}
    assert room.files == {"history.db"}
    assert known(room, "a", "b") == {"a": (1.0, 2.0), "b": (3.0,)}
    assert json.loads(room.history().memory("slack")["notified k"]) == {"bad": True, "since": 1}
    assert room.warned == []


def test_killed_between_taking_over_and_removing_nothing_counts_twice(room: Room) -> None:
    room.base.mkdir()
    for _ in range(2):
        file = room.base / "timings.json"
        file.write_text('{"version": 1, "samples": {"a": [1.0, 2.0]}}')
        os.utime(file, (5.0, 5.0))
        assert known(room, "a") == {"a": (1.0, 2.0)}


@pytest.mark.parametrize("name", ["timings.json", "slack.json"])
def test_a_former_file_that_is_none_is_kept_aside_and_said_once(room: Room, name: str) -> None:
    room.base.mkdir()
    (room.base / name).write_text("{")
    for _ in range(2):
        assert known(room, "a") == {}
    [warning] = room.warned
    assert f"{name} was not used" in warning
    [kept] = room.files
    assert kept.startswith(f"{name}.damaged-")
    assert kept in warning


def make_damaged(file: Path) -> None:
    file.write_bytes(b"x" * 5000)


def make_foreign(file: Path) -> None:
    with closing(sqlite3.connect(file)) as other, other:
        other.execute("CREATE TABLE customers (name)")


@pytest.mark.parametrize(("make", "word"), [(make_damaged, "damaged"), (make_foreign, "foreign")])
def test_a_file_that_is_no_history_is_kept_aside_said_once_and_the_run_goes_on(
    room: Room, troubled: RunState, make: Callable[[Path], None], word: str
) -> None:
    room.base.mkdir()
    make(file_in(room.base))
    before = file_in(room.base).read_bytes()
    history = room.history()
    assert history.samples([]) == ()
    history.record(troubled, CONTEXT)
    [warning] = room.warned
    aside = f"history.db.{word}-20270116-080000"
    assert "the run goes on without it" in warning
    assert aside in warning
    assert (room.base / aside).read_bytes() == before
    assert known(room), "this run began a new one"


def test_a_newer_history_stays_where_it_is(room: Room, troubled: RunState) -> None:
    room.base.mkdir()
    HistoryStore(file_in(room.base)).__exit__()
    with closing(sqlite3.connect(file_in(room.base))) as other, other:
        other.execute("PRAGMA user_version = 99")
    history = room.history()
    assert history.samples([]) == ()
    history.memory("slack")["k"] = b"v"
    history.record(troubled, CONTEXT)
    [warning] = room.warned
    assert "version 99" in warning
    assert "update ci-dispatch" in warning
    assert room.files == {"history.db"}


def test_what_cannot_be_written_is_a_warning_and_is_known_while_the_process_lives(
    room: Room, troubled: RunState, monkeypatch: pytest.MonkeyPatch
) -> None:
    room.history().record(troubled, CONTEXT)
    monkeypatch.setattr(run_history, "DEADLINE", 0.01)
    monkeypatch.setattr(run_history, "WHILE_IT_RUNS", 0.01)
    with closing(sqlite3.connect(file_in(room.base), isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        history = room.history()
        memory = history.memory("slack")
        memory["k"] = b"v"
        assert memory["k"] == b"v"
        del memory["k"]
        assert "k" not in memory
        history.record(play(recorded("green")), CONTEXT)
        other.execute("ROLLBACK")
    assert len(room.warned) == 1
    assert "another process holds it" in room.warned[0]
    assert history.untold(troubled) == room.warned


def test_a_mistake_of_ours_costs_no_verdict_either(
    room: Room, troubled: RunState, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise KeyError("moruk")

    monkeypatch.setattr(of_run, "recorded", fails)
    room.history().record(troubled, CONTEXT)
    [warning] = room.warned
    assert "KeyError: 'moruk'; the run goes on without it" in warning


def test_memories_of_two_processes_do_not_overwrite_each_other(room: Room) -> None:
    one, other = room.history().memory("slack"), room.history().memory("slack")
    one["a"], other["b"] = b"1", b"2"
    assert dict(one) == dict(other) == dict(room.history().memory("slack")) == {"a": b"1", "b": b"2"}
    assert dict(room.history().memory("teams")) == {}
    del other["a"]
    with pytest.raises(KeyError):
        del other["a"]
    assert dict(other) == dict(room.history().memory("slack")) == {"b": b"2"}


def test_what_is_aside_already_is_never_replaced(tmp_path: Path) -> None:
    """Twice within a second, as the name has it."""
    file = tmp_path / "history.db"
    for content in ("first", "second", "third"):
        file.write_text(content)
        assert put_aside(file, identity(file), "damaged", "now")
    assert sorted(path.read_text() for path in tmp_path.iterdir()) == ["first", "second", "third"]


def test_a_file_is_put_aside_only_while_it_is_the_one_that_was_seen(tmp_path: Path) -> None:
    file = tmp_path / "history.db"
    file.write_text("damaged")
    file.with_name("history.db-wal").write_text("its changes")
    seen = identity(file)
    assert put_aside(file, seen, "damaged", "1") == tmp_path / "history.db.damaged-1"
    assert (tmp_path / "history.db.damaged-1-wal").read_text() == "its changes"
    file.write_text("a new one, of a faster process")
    assert put_aside(file, seen, "damaged", "2") is None
    assert put_aside(file, None, "damaged", "2") is None
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "history.db", "history.db.damaged-1", "history.db.damaged-1-wal",
    ]  # fmt: skip
