"""What a job means that GitHub ended before its own end: out of time, its runner stopped, or cancelled by a person."""

from __future__ import annotations

import pytest

from ci_dispatch.core.codec import replace
from ci_dispatch.core.errors import ExitCode
from ci_dispatch.core.events import AttemptFinished, RunFinished
from ci_dispatch.core.model import AttemptResult, Ended, FailureCause, ShardId, TestResult, Verdict
from ci_dispatch.fleets.actions import messages as g
from ci_dispatch.fleets.actions.run.dispatch_planner import ActionsPolicy
from ci_dispatch.run import messages as m
from tests.actions_script import RUN, TIME_LIMIT, A, ActionsScript, job


def test_a_job_out_of_time_stays_timed_out_and_nobody_else_stands_down() -> None:
    """The annotation is told once: later polls leave known ones out."""
    script = ActionsScript().dispatched()
    script.poll(job(1, "a"), job(2, "b"), at=6.0)
    script.poll(job(1, "a", "cancelled", "cancelled"), job(2, "b"), at=200.0, notes={1: (TIME_LIMIT,)})
    script.say(m.Tick(), 270.0)
    assert script.asked(g.Poll)[-1].annotated == frozenset({1})
    script.poll(job(1, "a", "cancelled", "cancelled"), job(2, "b"), at=271.0)
    script.report("head-2", Verdict.PASSED, 280.0)
    for moment in (290.0, 320.0, 350.0):
        script.say(g.DownloadDone(RUN), moment)
    [late] = [end for end in script.said(AttemptFinished) if end.machine == A]
    assert late.result.ended is Ended.TIMED_OUT
    assert not script.asked(g.CancelRun), "nothing was called off"


def test_without_annotations_a_job_that_ran_for_its_whole_limit_timed_out() -> None:
    script = ActionsScript().dispatched()
    limit = ActionsPolicy().shard_timeout
    script.poll(job(1, "a"), job(2, "b"), at=6.0)
    script.poll(job(1, "a", "cancelled", "cancelled"), job(2, "b"), at=6.0 + limit - 30.0)
    assert not script.asked(g.CancelRun)
    script.report("head-2", Verdict.PASSED, 6.0 + limit)
    for moment in (10.0, 40.0, 80.0):
        script.say(g.DownloadDone(RUN), 6.0 + limit + moment)
    [late] = [end for end in script.said(AttemptFinished) if end.machine == A]
    assert late.result.ended is Ended.TIMED_OUT


STOPPED = ("The operation was canceled.",)
BY_A_PERSON = ("The run was canceled by @octocat.", *STOPPED)


@pytest.mark.parametrize("annotations", [STOPPED, ()], ids=["with annotations", "without the permission"])
def test_a_stopped_runners_job_calls_nothing_off_and_its_tests_move(annotations: tuple[str, ...]) -> None:
    """GitHub cancels its job, while others of the run wait for a runner."""
    script = ActionsScript().dispatched()
    waiting = replace(job(2, ""), status="queued")
    script.poll(job(1, "a"), waiting, at=6.0)
    for moment in (60.0, 75.0):
        script.poll(job(1, "a", "cancelled", "cancelled"), waiting, at=moment, notes={1: annotations})
    script.say(g.DownloadDone(RUN), 76.0)
    [gone] = [end for end in script.said(AttemptFinished) if end.machine == A]
    assert (gone.result.ended, gone.result.cause) == (Ended.LOST, FailureCause.MACHINE)
    assert "its runner was stopped" in gone.result.reason
    assert len(script.asked(g.Dispatch)) == 2, "its tests go on elsewhere, at once"
    assert not script.asked(g.CancelRun)
    assert not script.said(RunFinished)


@pytest.mark.parametrize("annotations", [STOPPED, ()], ids=["with annotations", "without the permission"])
def test_the_last_jobs_cancel_ends_nothing_though_github_calls_the_whole_run_cancelled(
    annotations: tuple[str, ...],
) -> None:
    script = ActionsScript().dispatched()
    script.poll(job(1, "a"), job(2, "b"), at=6.0)
    script.poll(job(1, "a"), job(2, "b", "success"), at=40.0)
    script.report("head-2", Verdict.PASSED, 41.0)
    last = job(1, "a", "cancelled", "cancelled")
    script.poll(last, job(2, "b", "success"), at=60.0, notes={1: annotations})
    script.say(m.Tick(), 120.0)
    script.poll(last, job(2, "b", "success"), at=121.0, whole="cancelled", notes={1: annotations})
    script.say(g.DownloadDone(RUN), 122.0)
    [gone] = [end for end in script.said(AttemptFinished) if end.machine == A]
    assert gone.result.ended is Ended.LOST
    assert len(script.asked(g.Dispatch)) == 2
    assert not script.said(RunFinished)


def test_a_job_that_ends_by_itself_after_another_was_cancelled_proves_that_the_run_was_not() -> None:
    script = ActionsScript().dispatched()
    script.poll(job(1, "a"), job(2, "b"), at=6.0)
    script.poll(job(1, "a", "cancelled", "cancelled"), job(2, "b"), at=60.0)
    script.say(m.Tick(), 120.0)
    assert script.asked(g.Poll)[-1].whole
    assert not script.asked(g.CancelRun), "nobody knows yet"
    script.poll(job(1, "a", "cancelled", "cancelled"), job(2, "b", "success"), at=130.0, whole="cancelled")
    script.report("head-2", Verdict.PASSED, 131.0)
    script.say(g.DownloadDone(RUN), 132.0)
    assert len(script.asked(g.Dispatch)) == 2
    assert not script.said(RunFinished)


def test_a_stopped_worker_that_could_still_report_is_no_cancel_of_ours() -> None:
    """Its tests are charged to the machine: what is charged to nobody may happen without end."""
    script = ActionsScript().dispatched()
    script.poll(job(1, "a"), job(2, "b"), at=6.0)
    shard = script.run.jobs[next(iter(script.run.jobs))]
    result = AttemptResult(ended=Ended.CANCELLED, reason="a signal")
    script.say(g.ReportDownloaded(script.run.batch.id, shard.job.shard.id, 1, result), 60.0)
    [end] = script.said(AttemptFinished)
    assert (end.result.ended, end.result.cause) == (Ended.LOST, FailureCause.MACHINE)
    assert {script.state.ledger.records[test].reassignments for test in shard.job.shard.tests} == {1}


def test_what_a_cancelled_worker_reports_waits_until_it_is_known_who_cancelled_it() -> None:
    """Else its tests would be dispatched again, against a person's wish."""
    script = ActionsScript().dispatched()
    script.poll(job(1, "a"), job(2, "b"), at=6.0)
    cancelled = [job(1, "a", "cancelled", "cancelled"), job(2, "b", "cancelled", "cancelled")]
    script.poll(*cancelled, at=60.0)
    result = AttemptResult(ended=Ended.CANCELLED, reason="a signal")
    for shard in script.run.jobs:
        script.say(g.ReportDownloaded(script.run.batch.id, shard, 1, result), 61.0)
    script.say(g.DownloadDone(RUN), 61.0)
    assert not script.said(AttemptFinished)
    script.poll(*cancelled, at=75.0, whole="cancelled")
    script.say(m.Tick(), 170.0)
    assert len(script.asked(g.Dispatch)) == 1
    [end] = script.said(RunFinished)
    assert "was cancelled on GitHub, and not by us" in end.reason


@pytest.mark.parametrize("annotations", [BY_A_PERSON, ()], ids=["with annotations", "without the permission"])
def test_a_run_that_somebody_cancelled_ends_ours(annotations: tuple[str, ...]) -> None:
    script = ActionsScript().dispatched()
    script.poll(job(1, "a"), job(2, "b"), at=6.0)
    cancelled = [job(1, "a", "cancelled", "cancelled"), job(2, "b", "cancelled", "cancelled")]
    notes = {1: annotations, 2: annotations}
    script.poll(*cancelled, at=60.0, notes=notes)
    script.poll(*cancelled, at=75.0, whole="cancelled", notes=notes)
    script.say(m.Tick(), 170.0)
    [end] = script.said(RunFinished)
    assert end.exit_code == ExitCode.INCOMPLETE
    assert "was cancelled on GitHub, and not by us" in end.reason


@pytest.mark.parametrize("annotations", [BY_A_PERSON[:1], ()], ids=["with annotations", "without the permission"])
@pytest.mark.parametrize("queued", [1, 2])
def test_a_person_who_cancels_jobs_that_wait_for_a_runner_is_obeyed(annotations: tuple[str, ...], queued: int) -> None:
    script = ActionsScript().dispatched()
    ran = [job(n, "ab"[n - 1], "success") for n in range(1, 3 - queued)]
    waiting = [replace(job(n, ""), status="queued", steps=()) for n in range(3 - queued, 3)]
    script.poll(*ran, *waiting, at=6.0)
    if ran:
        script.report("head-1", Verdict.PASSED, 7.0)
    gone = [replace(each, status="completed", conclusion="cancelled") for each in waiting]
    notes = {each.id: annotations for each in gone}
    script.poll(*ran, *gone, at=60.0, notes=notes)
    script.poll(*ran, *gone, at=75.0, whole="cancelled", notes=notes)
    script.say(m.Tick(), 170.0)
    assert len(script.asked(g.Dispatch)) == 1
    [end] = script.said(RunFinished)
    assert "was cancelled on GitHub, and not by us" in end.reason


def test_a_run_that_somebody_cancelled_and_ran_again_between_two_polls_is_followed() -> None:
    script = ActionsScript().dispatched()
    script.poll(job(1, "a"), job(2, "b"), at=6.0)
    again = [replace(job(n + 2, "ab"[n - 1]), name=f"shard head-{n}", attempt=2) for n in (1, 2)]
    script.poll(*again, at=60.0)
    done = AttemptResult(
        ended=Ended.EXITED,
        results=tuple(
            TestResult(test=t, verdict=Verdict.PASSED) for t in script.run.jobs[ShardId("head-1")].job.shard.tests
        ),
    )
    script.say(g.ReportDownloaded(script.run.batch.id, ShardId("head-1"), 1, done), 61.0)  # it had told before
    script.say(g.DownloadDone(RUN), 62.0)
    assert script.run.attempt == 2
    assert len(script.asked(g.Dispatch)) == 1
    script.poll(*again, at=75.0)
    script.poll(*[replace(each, status="completed", conclusion="success") for each in again], at=100.0)
    assert [shard for shard, _, _ in script.asked(g.Download)[-1].wanted] == ["head-2"]
    script.report("head-2", Verdict.PASSED, 110.0)
    [end] = script.said(RunFinished)
    assert end.exit_code == ExitCode.PASSED
    assert [end.result.ended for end in script.said(AttemptFinished)] == [Ended.EXITED, Ended.CANCELLED, Ended.EXITED]
    assert {record.takeovers for record in script.state.ledger.records.values()} == {0, 1}
    assert not any(record.retries or record.reassignments for record in script.state.ledger.records.values())
