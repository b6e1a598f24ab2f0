"""Whatever happens to a job, exactly one message tells its end, and everything heard on the way arrives."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from ci_dispatch.core.codec import replace
from ci_dispatch.core.model import (
    Connection,
    Ended,
    FailureCause,
    LeaseNumber,
    MachineName,
)
from ci_dispatch.fleets.machines import executor
from ci_dispatch.fleets.machines.fleet import CancelJob, Collecting
from ci_dispatch.machines.supervisor.tree_copy import TREE_LEASE_SECONDS
from ci_dispatch.run import messages as m
from ci_dispatch.run.ports import Job, JobEnd, JobListener, WorkTreeChanged
from tests.executor_room import EXITED, FAR, NEAR, TESTS, FakeMachine, Room


def speaks(job: Job, listener: JobListener) -> JobEnd:
    listener.started()
    listener.output(b"hel")
    listener.live(b"t00000\nnoise\nt0")
    listener.beat()
    listener.output(b"lo")
    listener.live(b"0001\n")
    return EXITED


def test_everything_a_job_says_is_passed_on_and_kept(tmp_path: Path) -> None:
    machine = FakeMachine()
    machine.runs = speaks
    room = Room(tmp_path, machine)
    end = room.work()
    number = LeaseNumber(1)
    results = room.suite.reading.results
    assert room.posted == [
        m.Started(number),
        m.Output(number, "hel"),
        m.Reported(number, results[0]),
        m.Beat(number),
        m.Output(number, "lo"),
        m.Reported(number, results[1]),
        Collecting(number),
        end,
    ]
    assert (tmp_path / "attempts/1/output.log").read_bytes() == b"hello"
    assert (tmp_path / "attempts/1/live.jsonl").read_bytes() == b"t00000\nnoise\nt00001\n"
    assert (end.result.ended, end.result.exit_code, end.result.seconds) == (Ended.EXITED, 0, 1.5)
    assert end.result.results == results
    assert machine.asked == ["sweep", "sync", "run r-1", "collect r-1"]


def test_a_job_has_its_lease_and_its_limits(tmp_path: Path) -> None:
    machine = FakeMachine()
    Room(tmp_path, machine).work(7)
    [job] = machine.jobs
    assert (job.id, job.lease_seconds, job.timeout) == ("r-7", 12.0, 60.0)
    assert job.invocation.argv == ("3", "7", "t00000", "t00001", "--extra")


def test_a_resumed_job_goes_on_where_the_earlier_controller_stopped(tmp_path: Path) -> None:
    folder = tmp_path / "attempts" / "1"
    folder.mkdir(parents=True)
    (folder / "output.log").write_bytes(b"before ")
    (folder / "live.jsonl").write_bytes(b"t00000\n")
    machine = FakeMachine()
    machine.runs = speaks
    Room(tmp_path, machine).work()
    assert (machine.jobs[0].output_offset, machine.jobs[0].live_offset) == (7, 7)
    assert (folder / "output.log").read_bytes() == b"before hello"


@pytest.mark.parametrize("stage", ["sweep", "sync", "run"])
def test_a_machine_that_cannot_is_not_a_failed_test(tmp_path: Path, stage: str) -> None:
    machine = FakeMachine()
    machine.breaks_at = stage
    end = Room(tmp_path, machine).work()
    assert (end.result.ended, end.result.cause) == (Ended.NOT_STARTED, FailureCause.MACHINE)
    assert "it did not work: no route" in end.result.reason


def test_a_job_of_another_controller_has_another_name(tmp_path: Path) -> None:
    machine = FakeMachine()
    room = Room(tmp_path, machine)
    room.start(7, epoch="e1")
    room.threads.wait(10.0)
    assert [job.id for job in machine.jobs] == ["r-7-e1"]
    assert "collect r-7-e1" in machine.asked


@pytest.mark.parametrize("place", ["attempts", "attempts/1", "attempts/1/output.log"])
def test_a_disk_of_ours_that_takes_nothing_is_nobodys_fault(tmp_path: Path, place: str) -> None:
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    if place.endswith("log"):
        (tmp_path / place).mkdir()
    else:
        (tmp_path / place).write_text("in the way")
    room = Room(tmp_path, FakeMachine())
    room.start()
    room.threads.wait(10.0)
    [failed] = room.posted
    assert isinstance(failed, m.ControllerFailed)
    assert place.rpartition("/")[2] in str(failed.error)
    assert "resume" in failed.error.hint


def test_a_defect_of_ours_leaves_no_lease_without_an_end(tmp_path: Path) -> None:
    room = Room(tmp_path, FakeMachine())
    room.suite.defect = ZeroDivisionError("oops")
    end = room.work()
    assert end.result.ended is Ended.NOT_STARTED
    assert end.result.reason == "internal error: oops"
    assert ["oops" in text and "lease 1" in text for text in room.noticed()] == [True]


@pytest.mark.parametrize(
    ("ended", "trouble", "collected"),
    [
        (Ended.EXITED, FailureCause.NONE, True),
        (Ended.CANCELLED, FailureCause.NONE, True),
        (Ended.LOST, FailureCause.MACHINE, False),
        (Ended.LEASE_ENDED, FailureCause.MACHINE, True),
    ],
)
def test_reports_are_fetched_from_every_machine_that_is_still_there(
    tmp_path: Path, ended: Ended, trouble: FailureCause, collected: bool
) -> None:
    machine = FakeMachine()
    machine.runs = lambda _job, _listener: JobEnd(ended=ended, reason="why")
    end = Room(tmp_path, machine).work()
    assert (end.result.ended, end.result.cause, end.result.reason) == (ended, trouble, "why")
    assert ("collect r-1" in machine.asked) is collected
    assert end.result.results, "what was heard before counts"


def test_what_the_reader_says_is_in_the_result(tmp_path: Path) -> None:
    room = Room(tmp_path, FakeMachine())
    room.suite.reading = replace(
        room.suite.reading, cause=FailureCause.CRASH, reason="died", suspects=(TESTS[0].id,), unexpected=("setup",)
    )
    result = room.work().result
    assert (result.cause, result.reason, result.suspects, result.unexpected) == (
        FailureCause.CRASH, "died", (TESTS[0].id,), ("setup",),
    )  # fmt: skip


def test_reports_that_cannot_be_fetched_are_said(tmp_path: Path) -> None:
    machine = FakeMachine()
    machine.breaks_at = "collect"
    end = Room(tmp_path, machine).work()
    assert end.result.ended is Ended.EXITED
    assert end.result.reason.startswith("its reports could not be fetched: it did not work")


def test_a_machine_is_made_ready_once_a_run(tmp_path: Path) -> None:
    machine = FakeMachine()
    machine.left_behind = 2
    room = Room(tmp_path, machine)
    room.work(1)
    room.work(2)
    assert machine.asked.count("sync") == machine.asked.count("sweep") == 1
    assert room.noticed() == ["2 processes that an earlier run had left behind were ended"]


def test_two_shards_of_one_machine_wait_for_the_one_work_tree(tmp_path: Path) -> None:
    machine = FakeMachine()
    room = Room(tmp_path, machine)
    reached, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        reached.set()
        assert go_on.wait(10)

    machine.syncs = slow
    room.start(1)
    assert reached.wait(10)
    room.start(2)
    assert not room.threads.wait(0.2), "both wait"
    assert machine.asked == ["sweep", "sync"]
    go_on.set()
    assert [room.ends(number).result.ended for number in (1, 2)] == [Ended.EXITED, Ended.EXITED]
    assert machine.asked.count("sync") == 1


def test_a_machine_that_could_not_be_made_ready_is_tried_again(tmp_path: Path) -> None:
    machine = FakeMachine()
    machine.breaks_at = "sync"
    room = Room(tmp_path, machine)
    room.work(1)
    machine.breaks_at = ""
    assert room.work(2).result.ended is Ended.EXITED


def test_prepare_runs_where_the_tree_was_brought_to_and_nowhere_else(tmp_path: Path) -> None:
    far, near = FakeMachine(), FakeMachine(NEAR, Connection.LOCAL)
    room = Room(tmp_path, far, near, prepare="npm ci")
    room.work(1, FAR)
    room.work(2, NEAR)
    assert [job.id for job in far.jobs] == ["r-1-prepare", "r-1"]
    assert far.jobs[0].invocation.argv == ("/bin/sh", "-c", "npm ci")
    assert [job.id for job in near.jobs] == ["r-2"]


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (JobEnd(ended=Ended.EXITED, exit_code=3), "exit code 3: no registry"),
        (JobEnd(ended=Ended.TIMED_OUT, reason="after 30 s"), "after 30 s: no registry"),
    ],
)
def test_a_tree_that_cannot_be_made_ready_is_the_machines_trouble(tmp_path: Path, end: JobEnd, said: str) -> None:
    machine = FakeMachine()

    def fails(_job: Job, listener: JobListener) -> JobEnd:
        listener.output(b"no registry\n")
        return end

    machine.runs = fails
    result = Room(tmp_path, machine, prepare="npm ci").work().result
    assert (result.ended, result.cause) == (Ended.NOT_STARTED, FailureCause.MACHINE)
    assert "npm ci" in result.reason
    assert said in result.reason
    assert len(machine.jobs) == 1, "its tests were not begun"


def test_what_is_cancelled_before_it_began_never_runs(tmp_path: Path) -> None:
    machine = FakeMachine()
    room = Room(tmp_path, machine)
    reached, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        reached.set()
        assert go_on.wait(10)

    machine.syncs = slow
    room.start()
    assert reached.wait(10)
    room.executor.carry_out(CancelJob(LeaseNumber(1), FAR))
    go_on.set()
    end = room.ends()
    assert (end.result.ended, machine.jobs) == (Ended.CANCELLED, [])


@pytest.mark.parametrize(("now", "asked"), [(False, "cancel r-1"), (True, "kill r-1")])
def test_cancel_is_gentle_or_now_and_a_silent_machine_is_no_error(tmp_path: Path, now: bool, asked: str) -> None:
    machine = FakeMachine()
    room = Room(tmp_path, machine)
    room.work()
    machine.breaks_at = asked.partition(" ")[0]
    room.executor.carry_out(CancelJob(LeaseNumber(1), FAR, now=now))
    assert room.threads.wait(10.0)
    assert machine.asked[-1] == asked


def test_waiting_ends_by_its_deadline_and_says_whether_everything_has_ended(tmp_path: Path) -> None:
    machine, go_on = FakeMachine(), threading.Event()
    room = Room(tmp_path, machine)

    def blocks(_job: Job, _listener: JobListener) -> JobEnd:
        assert go_on.wait(10)
        return EXITED

    machine.runs = blocks
    room.start()
    assert not room.threads.wait(0.0)
    go_on.set()
    assert room.threads.wait(10.0)


def test_what_was_granted_and_never_started_has_nothing_to_cancel(tmp_path: Path) -> None:
    """The journal may break between a grant and its start; the run then ends everything that it knows of."""
    machine = FakeMachine()
    room = Room(tmp_path, machine)
    room.executor.carry_out(CancelJob(LeaseNumber(9), FAR, now=True))
    room.executor.close()
    assert machine.asked == []
    assert room.posted == []


def test_closing_ends_what_still_runs(tmp_path: Path) -> None:
    machine, killed = FakeMachine(), threading.Event()
    room = Room(tmp_path, machine)
    began = threading.Event()

    def blocks(_job: Job, _listener: JobListener) -> JobEnd:
        began.set()
        assert killed.wait(10)
        return JobEnd(ended=Ended.CANCELLED)

    machine.runs = blocks
    machine.kill = lambda job_id: killed.set()  # type: ignore[method-assign]
    room.start()
    assert began.wait(10)
    room.executor.close()
    assert room.ends().result.ended is Ended.CANCELLED


def test_closing_asks_nothing_of_jobs_that_have_ended(tmp_path: Path) -> None:
    machine = FakeMachine()
    room = Room(tmp_path, machine)
    room.work()
    asked = list(machine.asked)
    room.executor.close()
    assert machine.asked == [*asked, "release"]  # and that is of the tree


def test_a_watcher_gets_pieces_and_not_without_end_but_the_file_has_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor, "SHOWN_OUTPUT", 4)
    monkeypatch.setattr(executor, "FOLLOWED_OUTPUT", 8)
    machine = FakeMachine()

    def chatters(_job: Job, listener: JobListener) -> JobEnd:
        for word in (b"abcdef", b"ghij", b"klmn"):
            listener.output(word)
        return EXITED

    machine.runs = chatters
    room = Room(tmp_path, machine)
    room.work()
    assert [each.text for each in room.posted if isinstance(each, m.Output)] == ["abcd", "ef", "ghij"]
    assert (tmp_path / "attempts/1/output.log").read_bytes() == b"abcdefghijklmn"


@pytest.mark.parametrize("ran", [False, True])
def test_what_ran_on_another_content_is_no_result(tmp_path: Path, ran: bool) -> None:
    machine = FakeMachine()

    def refuses(_job: Job, listener: JobListener) -> JobEnd:
        listener.started()
        raise WorkTreeChanged("a.py", ran=ran)

    machine.runs = refuses
    result = Room(tmp_path, machine).work().result
    assert (result.cause, result.results) == (FailureCause.TREE, ())
    assert result.ended is (Ended.EXITED if ran else Ended.NOT_STARTED)
    assert "the work tree changed during the run: a.py" in result.reason
    assert "collect r-1" not in machine.asked


def test_a_machine_is_asked_again_after_a_while_whether_it_still_has_the_tree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine, now = FakeMachine(), 1000.0
    monkeypatch.setattr("ci_dispatch.fleets.machines.executor.time.monotonic", lambda: now)
    room = Room(tmp_path, machine, prepare="npm ci")
    room.work(1)
    now += executor.SYNCED_SECONDS - 1
    room.work(2)
    now += 2
    room.work(3)
    machine.generation = "2"  # another run had it meanwhile
    now += executor.SYNCED_SECONDS + 1
    room.work(4)
    assert [what for what in machine.asked if not what.startswith("collect")] == [
        "sweep", "sync", "run r-1-prepare", "run r-1", "run r-2",
        "sync", "run r-3", "sync", "run r-4-prepare", "run r-4",
    ]  # fmt: skip
    assert executor.SYNCED_SECONDS < TREE_LEASE_SECONDS / 2


def test_a_job_that_could_not_begin_may_have_lost_its_tree(tmp_path: Path) -> None:
    """The machine says "another run has changed the work tree": it is brought again before the next job."""
    machine = FakeMachine()
    machine.runs = lambda _job, _listener: JobEnd(ended=Ended.NOT_STARTED, reason="another run has changed it")
    room = Room(tmp_path, machine)
    room.work(1)
    machine.runs = lambda _job, _listener: EXITED
    assert room.work(2).result.ended is Ended.EXITED
    assert machine.asked.count("sync") == 2


def test_the_trees_are_given_back_when_the_run_is_over(tmp_path: Path) -> None:
    far, near, idle = FakeMachine(), FakeMachine(NEAR), FakeMachine(MachineName("idle"))
    far.breaks_at = "release"
    room = Room(tmp_path, far, near, idle)
    room.work(1, FAR)
    room.work(2, NEAR)
    room.executor.close()
    assert "release" in far.asked, "it cannot be reached, and that is nobody's trouble"
    assert "release" in near.asked
    assert idle.asked == []
