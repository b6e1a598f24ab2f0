"""A run through GitHub as a script: what GitHub shows goes in, events and commands come out. No HTTP, no waiting."""

from __future__ import annotations

import pytest

from ci_dispatch.core.codec import replace
from ci_dispatch.core.errors import ExitCode
from ci_dispatch.core.events import AttemptFinished, MachineChecked, RunFinished, TestFinished, Warned
from ci_dispatch.core.model import (
    AttemptResult,
    Ended,
    Lease,
    LeaseNumber,
    MachineName,
    Shard,
    ShardId,
    ShardKind,
    TestId,
    TestResult,
    Verdict,
)
from ci_dispatch.fleets.actions import messages as g
from ci_dispatch.fleets.actions.rest.errors import RateLimited, Unavailable
from ci_dispatch.fleets.actions.rest.models import StepView
from ci_dispatch.run import messages as m
from ci_dispatch.run import quarantine
from ci_dispatch.run.ledger import AttemptRecord
from tests.actions_script import RUN, A, ActionsScript, B, job

# -- a job without a report -------------------------------------------------------------------------------------------


def test_a_failed_set_up_step_moves_its_tests_while_others_still_run_and_says_where() -> None:
    script = ActionsScript().dispatched()
    script.poll(job(1, "a"), job(2, "b"), at=6.0)
    steps = (StepView(name="Install the suite", status="completed", conclusion="failure"),)
    failed = replace(job(1, "a", "failure"), steps=steps, url="https://github.com/o/r/actions/runs/7/job/1")
    moments = iter(range(30, 400, 25))
    for moment in moments:
        script.poll(failed, job(2, "b"), at=float(moment))
        last = script.asked(g.Download)
        if last:
            noted = dict.fromkeys(last[-1].explain, ("npm said no",))
            script.say(g.DownloadDone(RUN, annotations=noted), moment + 1.0)
        if script.said(AttemptFinished):
            break
    [end] = script.said(AttemptFinished)
    assert end.machine == A
    assert end.result.reason == (
        "its job ended and left no report: its step Install the suite failed (npm said no), "
        "see https://github.com/o/r/actions/runs/7/job/1"
    )
    assert next(moments) < 150, "long before the other job ends"
    assert len(script.asked(g.Dispatch)) == 2
    assert not script.said(RunFinished)


# -- cancelling -------------------------------------------------------------------------------------------------------


def test_a_cancel_that_failed_is_sent_again_until_it_is_accepted() -> None:
    script = ActionsScript().dispatched()
    script.poll(job(1, "a"), job(2, "b"), at=6.0)
    script.say(m.Signalled(2), 10.0)
    assert script.asked(g.CancelRun) == [g.CancelRun(RUN)]
    script.say(g.CancelResult(RUN, Unavailable("Run 7 was not cancelled", why="bad gateway")), 10.5)
    assert not script.control.done(11.0)
    script.say(m.Tick(), 12.0)
    assert len(script.asked(g.CancelRun)) == 1, "not at once"
    script.say(m.Tick(), 13.1)  # the grace is over: the verdict is there, the run on GitHub is not told yet
    assert script.said(RunFinished)
    script.say(m.Tick(), 15.6)
    assert len(script.asked(g.CancelRun)) == 2
    script.say(g.CancelResult(RUN), 15.8)
    assert script.control.done(15.9)


def test_a_cancel_without_effect_becomes_a_forced_one() -> None:
    script = ActionsScript(deadline=100.0).dispatched()
    script.poll(job(1, "a"), job(2, "b"), at=6.0)
    script.say(m.Tick(), 100.0)
    script.say(g.CancelResult(RUN), 101.0)
    script.poll(job(1, "a"), job(2, "b"), at=150.0)
    assert script.asked(g.CancelRun) == [g.CancelRun(RUN)]
    script.say(m.Tick(), 161.0)
    assert script.asked(g.CancelRun)[-1] == g.CancelRun(RUN, force=True)
    script.say(g.CancelResult(RUN), 162.0)
    script.say(m.Tick(), 189.0)
    assert len(script.asked(g.CancelRun)) == 2, "there is nothing stronger"


def test_interrupted_twice_the_run_ends_at_once() -> None:
    script = ActionsScript(signal_grace=60.0).dispatched()
    script.poll(job(1, "a"), job(2, "b"), at=6.0)
    script.say(m.Signalled(2), 10.0)
    assert not script.said(RunFinished), "what runs may still report"
    script.say(m.Signalled(2), 11.0)
    [end] = script.said(RunFinished)
    assert (end.exit_code, end.reason) == (ExitCode.INTERRUPTED, "the run was interrupted")


# -- dispatching ------------------------------------------------------------------------------------------------------


def test_a_rate_limit_holds_up_the_dispatch_and_nothing_else() -> None:
    script = ActionsScript()
    script.say(g.DispatchFailed(script.run.batch.id, RateLimited("no", seconds=1800.0, why="slow down")), 1.0)
    script.say(m.Signalled(2), 5.0)  # nobody sleeps: a signal is heard at once
    script.say(m.Tick(), 8.1)
    assert script.said(RunFinished)
    again = ActionsScript()
    again.say(g.DispatchFailed(again.run.batch.id, RateLimited("no", seconds=1800.0, why="slow down")), 1.0)
    again.say(m.Tick(), 1800.0)
    assert len(again.asked(g.Dispatch)) == 1
    again.say(m.Tick(), 1801.0)
    assert len(again.asked(g.Dispatch)) == 2, "as soon as GitHub allows it"


def test_a_dispatch_without_an_answer_is_looked_for_before_it_is_sent_again() -> None:
    script = ActionsScript()
    batch = script.run.batch.id
    script.say(g.DispatchFailed(batch, Unavailable("no", why="bad gateway")), 1.0)
    assert script.asked(g.FindRun) == [g.FindRun(batch, 1.0 - 120.0)]
    for moment in (6.0, 30.0, 60.0):
        script.say(g.RunFound(batch, None), moment)
        script.say(m.Tick(), moment + 5.0)
    assert len(script.asked(g.Dispatch)) == 1
    script.say(g.RunFound(batch, None), 66.0)
    assert len(script.asked(g.Dispatch)) == 2, "it never appeared"
    script.say(g.DispatchFailed(batch, Unavailable("no", why="bad gateway")), 67.0)
    script.say(g.RunFound(batch, RUN), 70.0)
    assert script.run.id == RUN
    assert len(script.asked(g.Dispatch)) == 2


def test_a_dispatch_on_its_way_when_the_run_is_interrupted_is_found_and_cancelled() -> None:
    script = ActionsScript()
    script.say(m.Signalled(2), 1.0)
    script.say(m.Tick(), 4.1)
    assert script.said(RunFinished)
    assert not script.control.done(4.2), "a run may have been started that nobody would end"
    script.say(g.Dispatched(script.run.batch.id, RUN), 4.3)
    assert script.asked(g.CancelRun) == [g.CancelRun(RUN)]
    script.say(g.CancelResult(RUN), 4.5)
    assert script.control.done(4.6)


# -- what is the same for every fleet ---------------------------------------------------------------------------------


def test_our_own_shards_load_is_not_judged() -> None:
    script = ActionsScript(checks=True, check_interval=30.0).dispatched()
    script.say(m.Tick(), 31.0)
    assert script.asked(m.CheckMachine) == [m.CheckMachine(A, busy=True), m.CheckMachine(B, busy=True)]


def test_tests_that_nobody_asked_for_are_a_warning_and_count_nowhere() -> None:
    script = ActionsScript().dispatched()
    script.poll(job(1, "a"), job(2, "b"), at=6.0)
    for shard, item in script.run.jobs.items():
        lines = tuple(TestResult(test=test, verdict=Verdict.PASSED) for test in item.job.shard.tests)
        result = AttemptResult(ended=Ended.EXITED, results=lines, unexpected=("[setup] › log in",))
        script.say(g.ReportDownloaded(script.run.batch.id, shard, 1, result), 20.0)
    assert [warning.text for warning in script.said(Warned)] == [
        "1 tests ran that nobody asked for, the first: [setup] › log in"
    ] * 2
    assert script.state.decided == 4
    assert not script.said(TestFinished)


def unwell(name: MachineName) -> m.Checked:
    return m.Checked(MachineChecked(machine=name, healthy=False, reachable=True, problems=("Memory 97 % used",)))


def test_machines_that_answer_and_are_not_well_are_waited_for_before_the_first_dispatch() -> None:
    script = ActionsScript(checks=True, check_first=True, check_interval=30.0, give_up_after=60.0, await_health=True)
    for name in (A, B):
        script.say(unwell(name), 1.0)
    script.say(m.Tick(), 31.0)
    assert not script.said(RunFinished)
    assert script.asked(m.CheckMachine)[2:] == [m.CheckMachine(A), m.CheckMachine(B)]
    script.say(m.Checked(MachineChecked(machine=A, healthy=True, reachable=True)), 32.0)
    assert len(script.asked(g.Dispatch)) == 1
    hopeless = ActionsScript(checks=True, check_first=True, check_interval=30.0, give_up_after=60.0, await_health=True)
    for moment in (1.0, 31.0, 62.0):
        for name in (A, B):
            hopeless.say(unwell(name), moment)
    [end] = hopeless.said(RunFinished)
    assert end.exit_code == ExitCode.INCOMPLETE


@pytest.mark.parametrize("checks", [2, 3])
def test_a_machine_that_answers_no_check_three_times_is_lost(checks: int) -> None:
    script = ActionsScript().dispatched()
    script.poll(job(1, "a"), job(2, "b"), at=6.0)
    for number in range(checks):
        gone = MachineChecked(machine=A, healthy=False, reachable=False, problems=("no route",))
        script.say(m.Checked(gone), 10.0 + number)
    ends = [end.result.ended for end in script.said(AttemptFinished)]
    assert ends == ([Ended.LOST] if checks == 3 else [])


def test_a_runner_that_nobody_has_is_waited_for_and_is_no_sick_machine() -> None:
    """Three waits in vain would put a machine into quarantine that has done nothing wrong."""
    script = ActionsScript()
    waiting = AttemptResult(ended=Ended.NOT_STARTED, reason="no runner took it")
    assert not quarantine.opens([AttemptRecord(lease_of(n), result=waiting) for n in range(1, 9)], others_pass=True)
    script.dispatched()
    queued = [replace(job(n, ""), status="queued", steps=()) for n in (1, 2)]
    script.poll(*queued, at=1000.0)
    assert script.asked(g.SeeRunners) == [g.SeeRunners(frozenset({RUN}))]
    script.say(g.RunnersSeen(("a-2",)), 1001.0)  # it works for another run
    script.poll(*queued, at=1050.0)
    assert not script.said(AttemptFinished), "nobody else would take them sooner"
    assert [said.text for said in script.said(Warned)] == [
        f"no runner with the labels self-hosted, {name} took it within 1050 s, and no other machine would take it "
        "sooner: it is waited for"
        for name in (A, B)
    ]
    script.poll(*queued, at=3700.0)
    script.say(g.RunnersSeen(("a-2",)), 3701.0)
    script.poll(*queued, at=3750.0)
    [end] = [end for end in script.said(AttemptFinished) if end.result.ended is Ended.NOT_STARTED]
    assert end.machine == B
    assert "does the runner service there run, and has it these labels?" in end.result.reason
    assert len(script.asked(g.Dispatch)) == 1, "the same queue again is no help"


def test_a_job_that_waits_moves_where_a_runner_works_for_us_at_nobodys_charge() -> None:
    script = ActionsScript().dispatched()
    waiting = replace(job(1, ""), status="queued", steps=())
    script.poll(waiting, job(2, "b"), at=6.0)
    script.poll(waiting, job(2, "b", "success"), at=800.0)
    script.report("head-2", Verdict.PASSED, 801.0)
    script.poll(waiting, job(2, "b", "success"), at=1000.0)
    [moved] = [end for end in script.said(AttemptFinished) if end.machine == A]
    assert moved.result.ended is Ended.NOT_STARTED
    again = script.asked(g.Dispatch)[1].batch
    assert {entry.machine for entry in again.jobs} == {B}
    records = [script.state.ledger.records[test] for entry in again.jobs for test in entry.shard.tests]
    assert {(record.reassignments, record.retries, record.takeovers) for record in records} == {(0, 0, 1)}


def lease_of(number: int) -> Lease:
    shard = Shard(id=ShardId("s"), kind=ShardKind.HEAD, tests=(TestId("t00000"),))
    return Lease(number=LeaseNumber(number), shard=shard, machine=A, granted=0.0)
