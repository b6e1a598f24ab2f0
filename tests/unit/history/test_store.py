"""The history file: what goes in comes out, also after other versions, other processes and other programs."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from ci_dispatch.core.codec import replace
from ci_dispatch.core.model import MachineName, RunId, TestId, Verdict
from ci_dispatch.history import schema, store
from ci_dispatch.history.errors import HistoryDamaged, HistoryForeign, HistoryNewer, HistoryUnavailable
from ci_dispatch.history.look_back import last
from ci_dispatch.history.merge import REMEMBERED, Bounds
from ci_dispatch.history.store import HistoryStore
from ci_dispatch.history.values import KnownTest, PastAttempt, PastRun, PastTest, RecordedRun, Remembered, RunSource
from ci_dispatch.planning.samples import DurationSample


def attempt(seconds: float | None = 1.0, verdict: Verdict = Verdict.PASSED, at: float = 7.0) -> PastAttempt:
    return PastAttempt(verdict=verdict, machine="m", at=at, seconds=seconds)


def record(name: str, at: float, *tests: PastTest, **facts: str) -> RecordedRun:
    run = PastRun(id=RunId(name), at=at, title="shop", branch="main", verdict="PASSED")
    return RecordedRun(run=replace(run, **facts), tests=tests)


def one(name: str, *attempts: PastAttempt, verdict: Verdict = Verdict.PASSED) -> PastTest:
    return PastTest(id=TestId(name), name=name.upper(), file="f", project="p", verdict=verdict, attempts=attempts)


FULL = RecordedRun(
    run=PastRun(id=RunId("r1"), at=5.25, source=RunSource.JUNIT, title="t", repository="o/r", branch="b", sha="s",
                verdict="FAILED", seconds=1.5, planned=2.5, lower_bound=0.5),
    tests=(
        PastTest(id=TestId("a"), verdict=Verdict.FLAKY, name="名前 › x", file="a.py", project="desktop", reason="why",
                 attempts=(PastAttempt(verdict=Verdict.FAILED, machine="pi", at=3.0, seconds=None, busy=0.5, workers=4,
                                       speed=0.8, fingerprint="0123456789ab"), attempt(0.25))),
        PastTest(id=TestId("b"), verdict=Verdict.NOT_RUN),
    ),
)  # fmt: skip


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    with HistoryStore(tmp_path / "history.db") as opened:
        opened.add([FULL, record("r0", 1.0)])
    with HistoryStore(tmp_path / "history.db") as again:
        assert list(again.records()) == [record("r0", 1.0), FULL]
        assert again.runs() == [record("r0", 1.0).run, FULL.run]
        assert again.verdicts(FULL.run.id) == {"flaky": 1, "not run": 1}
        assert again.verdicts(RunId("r0")) == again.verdicts(RunId("r9")) == {}
        assert again.fingerprints(FULL.run.id) == ("0123456789ab",)
        assert again.of_test("a") == [(FULL.run, FULL.tests[0])]
        assert again.tests() == [KnownTest(id=TestId("a"), name="名前 › x", file="a.py", project="desktop"),
                                 KnownTest(id=TestId("b"))]  # fmt: skip


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    with HistoryStore(tmp_path / "history.db") as opened:
        opened.add([FULL])
        for file in tmp_path.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_a_run_that_is_added_again_is_there_once_and_the_later_record_counts(tmp_path: Path) -> None:
    begun, whole = record("r", 1.0, one("a"), verdict="INCOMPLETE"), record("r", 1.0, one("a"), one("b"))
    with HistoryStore(tmp_path / "history.db") as opened:
        for several in ([begun, whole], [whole, begun], [whole]):
            opened.add(several)
            assert list(opened.records()) == [whole]


def test_samples_are_the_newest_attempts_of_each_test_and_verdict(tmp_path: Path) -> None:
    runs = [
        record(f"r{n}", float(n), one("a", attempt(n, at=n), attempt(9.0, Verdict.FAILED, at=n + 0.5)))
        for n in range(4)
    ]
    runs.append(record("r9", 9.0, one("b", attempt(None, at=9.0), attempt(5.0, at=9.0), attempt(6.0, at=9.0))))
    with HistoryStore(tmp_path / "history.db") as opened:
        opened.add(reversed(runs))
        found = opened.samples(each=2)
    assert [(sample.test, sample.run, sample.seconds) for sample in found] == [
        ("a", "r2", 2.0), ("a", "r2", 9.0), ("a", "r3", 3.0), ("a", "r3", 9.0), ("b", "r9", 5.0), ("b", "r9", 6.0),
    ]  # fmt: skip
    assert found[-1] == DurationSample(test=TestId("b"), file="f", project="p", machine=MachineName("m"),
                                       run=RunId("r9"), at=9.0, seconds=6.0, verdict=Verdict.PASSED)  # fmt: skip


def test_a_test_that_moved_keeps_its_durations_under_its_new_place(tmp_path: Path) -> None:
    old = one("a", attempt(1.0, at=1.0), attempt(1.5, at=1.5))
    new = replace(one("a", attempt(2.0, at=2.0)), file="elsewhere", project="mobile")
    with HistoryStore(tmp_path / "history.db") as opened:
        opened.add([record("r2", 2.0, new), record("r1", 1.0, old)])
        assert [(s.seconds, s.file, s.project) for s in opened.samples(each=2)] == [
            (1.5, "elsewhere", "mobile"),
            (2.0, "elsewhere", "mobile"),
        ]


def test_the_last_run_is_of_the_same_suite_and_branch_and_came_to_a_verdict(tmp_path: Path) -> None:
    with HistoryStore(tmp_path / "history.db") as opened:
        assert last(opened.earlier_runs("shop", ""), "main") is None
        opened.add([record("r1", 1.0), record("r2", 2.0, branch="topic"), record("r3", 3.0, verdict="INTERRUPTED")])
        opened.add([record("r4", 4.0, title="other"), record("r5", 5.0, repository="o/r")])
        found = last(opened.earlier_runs("shop", ""), "main")
        assert found is not None
        assert found.id == "r1"
        assert [run.id for run in opened.earlier_runs("shop", "", begun=3.0, besides="r1")] == ["r2"]


def test_the_bounds_forget_the_oldest_runs_and_what_only_they_had(tmp_path: Path) -> None:
    with HistoryStore(tmp_path / "history.db") as opened:
        opened.add([record(f"r{n}", float(n), one(f"t{n}", attempt())) for n in range(10)])
        assert opened.prune(Bounds(runs=3, seconds=100.0), now=9.0) == 7
        assert [run.id for run in opened.runs()] == ["r7", "r8", "r9"]
        assert opened.prune(Bounds(runs=3, seconds=1.5), now=9.5) == 1
        assert [run.id for run in opened.runs()] == ["r8", "r9"]
        assert [test.id for test in opened.tests()] == ["t8", "t9"]
        assert sorted(sample.test for sample in opened.samples()) == ["t8", "t9"]


def test_what_reporters_remember_is_kept_by_key_and_the_later_one_counts(tmp_path: Path) -> None:
    def remembered(key: str, value: bytes, at: float) -> Remembered:
        return Remembered(reporter="slack", key=key, value=value, at=at)

    with HistoryStore(tmp_path / "history.db") as opened:
        opened.add([], [remembered("k", b"new", 2.0), remembered("k", b"old", 1.0), remembered("x\udc80", b"", 3.0)])
        assert [(one.key, one.value) for one in opened.remembered("slack")] == [("k", b"new"), ("x\\udc80", b"")]
        assert opened.remembered("other") == []
        opened.forget("slack", "k")
        opened.add([], [remembered(str(number), b"", float(number)) for number in range(REMEMBERED + 5)])
        opened.prune(Bounds(runs=1, seconds=1.0), now=0.0)
        assert len(opened.remembered()) == REMEMBERED


def test_names_that_utf_8_does_not_have_are_kept_as_their_escapes(tmp_path: Path) -> None:
    strange = record("r\udcff", 1.0, replace(one("t\udc80\x00'; --", attempt()), reason="\ud800"))
    with HistoryStore(tmp_path / "history.db") as opened:
        opened.add([strange])
        opened.add([strange])
        [kept] = opened.records()
    assert (kept.run.id, kept.tests[0].id, kept.tests[0].reason) == ("r\\udcff", "t\\udc80\x00'; --", "\\ud800")


def test_nothing_is_half_written(tmp_path: Path) -> None:
    with HistoryStore(tmp_path / "history.db") as opened:
        opened.add([record("r1", 1.0, one("a", attempt()))])
        twice = record("r2", 2.0, one("b"), one("b"))
        with pytest.raises(HistoryUnavailable):
            opened.add([record("r3", 3.0), twice])
        assert [run.id for run in opened.runs()] == ["r1"]
        assert [test.id for test in opened.tests()] == ["a"]


# -- other files ------------------------------------------------------------------------------------------------------


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:5000])


def no_database(file: Path) -> None:
    file.write_bytes(b"not a database at all, but long enough to be one" * 100)


def torn_pages(file: Path) -> None:
    data = bytearray(file.read_bytes())
    for page in range(4096, len(data), 4096):
        data[page : page + 64] = b"\xff" * 64
    file.write_bytes(data)


def strange_values(file: Path) -> None:
    with closing(sqlite3.connect(file)) as other, other:
        other.execute("UPDATE verdicts SET verdict = 'green'")


@pytest.mark.parametrize("damage", [truncated, no_database, torn_pages, strange_values])
def test_damage_is_said(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    file = tmp_path / "history.db"
    with HistoryStore(file) as opened:
        opened.add([record(f"r{n}", float(n), *(one(f"t{m}", attempt()) for m in range(100))) for n in range(9)])
    damage(file)
    with pytest.raises(HistoryDamaged, match=r"damaged"), HistoryStore(file) as again:
        list(again.records())


@pytest.mark.parametrize(
    "strange",
    ["attempts SET speed = 0", "attempts SET speed = 1e308", "attempts SET seconds = 9e999",
     "attempts SET seconds = -1", "attempts SET busy = 2", "attempts SET busy = -0.5", "attempts SET workers = -1",
     "attempts SET at = 9e999", "runs SET at = 1e300", "runs SET at = -9e999",
     "runs SET seconds = 9e999", "runs SET planned = -1"],
)  # fmt: skip
def test_numbers_that_no_run_has_are_damage_and_never_reach_a_plan(tmp_path: Path, strange: str) -> None:
    """A logarithm, a date or a sum of them would be an error of ours."""
    file = tmp_path / "history.db"
    with HistoryStore(file) as opened:
        opened.add([FULL])
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(f"UPDATE {strange}")
    with HistoryStore(file) as opened, pytest.raises(HistoryDamaged):
        assert opened.samples() is None if "attempts" in strange else opened.runs() is None


def test_an_attempt_of_no_run_is_damage(tmp_path: Path) -> None:
    file = tmp_path / "history.db"
    with HistoryStore(file) as opened:
        opened.add([FULL])
    with closing(sqlite3.connect(file)) as other, other:
        other.execute("DELETE FROM runs")
    with HistoryStore(file) as again, pytest.raises(HistoryDamaged, match="damaged"):
        again.samples()


def others_table(file: Path) -> None:
    with closing(sqlite3.connect(file)) as other, other:
        other.execute("CREATE TABLE customers (name)")


def ours_with_a_trigger(file: Path) -> None:
    HistoryStore(file).__exit__()
    with closing(sqlite3.connect(file)) as other, other:
        other.execute("CREATE TRIGGER t AFTER INSERT ON runs BEGIN DELETE FROM verdicts; END")


@pytest.mark.parametrize("make", [others_table, ours_with_a_trigger])
def test_another_program_s_database_is_refused_and_left_as_it_is(tmp_path: Path, make: Callable[[Path], None]) -> None:
    file = tmp_path / "history.db"
    make(file)
    before = file.read_bytes()
    with pytest.raises(HistoryForeign, match="no history"):
        HistoryStore(file)
    assert file.read_bytes() == before


def test_a_newer_history_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "history.db"
    HistoryStore(file).__exit__()
    with closing(sqlite3.connect(file)) as other, other:
        other.execute("PRAGMA user_version = 99")
    before = file.read_bytes()
    with pytest.raises(HistoryNewer, match="version 99"):
        HistoryStore(file)
    assert file.read_bytes() == before


def test_an_older_history_is_brought_up_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "history.db"
    with HistoryStore(file) as opened:
        opened.add([FULL])
    steps = schema.MIGRATIONS
    monkeypatch.setattr(store, "MIGRATIONS", (*steps, ("ALTER TABLE runs ADD COLUMN machines TEXT", "no SQL")))
    with pytest.raises(HistoryUnavailable):
        HistoryStore(file)
    monkeypatch.setattr(store, "MIGRATIONS", steps)
    with HistoryStore(file) as same:
        assert list(same.records()) == [FULL]
    monkeypatch.setattr(store, "MIGRATIONS", (*steps, ("ALTER TABLE runs ADD COLUMN machines TEXT",)))
    with HistoryStore(file) as upgraded:
        assert list(upgraded.records()) == [FULL]
    monkeypatch.setattr(store, "MIGRATIONS", steps)
    with pytest.raises(HistoryNewer):
        HistoryStore(file)


def test_a_file_that_another_process_holds_is_given_up_in_time(tmp_path: Path) -> None:
    file = tmp_path / "history.db"
    with HistoryStore(file) as opened:
        opened.add([FULL])
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with HistoryStore(file, wait=0.01) as waiting:
            with pytest.raises(HistoryUnavailable, match="could not be used: another process"):
                waiting.add([record("r2", 2.0)])
            other.execute("ROLLBACK")
            waiting.add([record("r2", 2.0)])
            assert len(waiting.runs()) == 2


def test_what_takes_longer_than_the_deadline_is_given_up_and_nothing_of_it_is_there(tmp_path: Path) -> None:
    file = tmp_path / "history.db"
    many = record("r", 1.0, *(one(f"t{n:05}", attempt()) for n in range(20_000)))
    with HistoryStore(file, deadline=0.0) as opened, pytest.raises(HistoryUnavailable):
        opened.add([many])
    with HistoryStore(file) as again:
        assert again.runs() == []


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(HistoryUnavailable, match="could not be used"):
        HistoryStore(tmp_path / "missing" / "history.db")
    with pytest.raises(HistoryUnavailable, match="could not be used"):
        HistoryStore(tmp_path)


def test_a_full_disk_is_said_and_leaves_what_was_there(tmp_path: Path) -> None:
    with HistoryStore(tmp_path / "history.db") as opened:
        opened.add([FULL])
        opened._connection.execute("PRAGMA max_page_count = 12")
        with pytest.raises(HistoryUnavailable, match="full"):
            opened.add([record("r", 9.0, *(one(f"t{n:05}", attempt()) for n in range(5_000)))])
        assert list(opened.records()) == [FULL]
