"""Leases and endings of the engine: what is granted once, told once, waited for no longer than promised."""

from __future__ import annotations

from ci_dispatch.core.errors import ExitCode
from ci_dispatch.core.events import AttemptStarted, MachineLost, RunFinished, TestFinished
from ci_dispatch.core.model import AttemptResult, Ended, FailureCause, LeaseNumber, TestResult, Verdict
from ci_dispatch.fleets.machines.fleet import CancelJob, Collecting, StartJob
from ci_dispatch.run import messages as m
from ci_dispatch.run.retry import RetryPolicy
from tests.control_script import A, B, Script, checked, starts
from tests.simulation import control_of

GONE = AttemptResult(ended=Ended.NOT_STARTED, cause=FailureCause.MACHINE, reason="no route")


def test_a_machine_gets_one_shard_a_slot() -> None:
    script = Script(tests=30, slots=2, head_share=0.3, check_first=False)
    assert [len(script.state.ledger.of_machine(machine)) for machine in (A, B)] == [2, 2]
    held = [test for lease in script.state.ledger.active.values() for test in lease.shard.tests]
    assert len(held) == len(set(held))


def test_a_machine_may_take_long_to_get_ready_but_not_for_ever() -> None:
    script = Script(machines=1, head_share=1.0, check_first=False, start_grace=600.0)
    script.say(m.Tick(), 599.0)
    assert script.said(MachineLost) == []
    script.say(m.Tick(), 600.5)
    assert script.said(MachineLost) == [MachineLost(machine=A, reason="it never started")]


def test_nothing_is_taken_over_while_there_is_other_work() -> None:
    retry = RetryPolicy(backoff=60.0, max_backoff=60.0, jitter=0.0)
    script = Script(head_share=1.0, check_first=False, retry=retry)
    script.say(m.Started(script.lease_of(B)), 0.5)
    script.finish(B, Verdict.FAILED, at=2.0)  # B is idle until its tests may be tried again
    assert script.say(m.Tick(), 11.0) == []
    assert script.state.ledger.of_machine(A)


def test_what_is_told_twice_is_told_once() -> None:
    script = Script()
    number = script.lease_of(A)
    test = script.state.ledger.active[number].shard.tests[0]
    passed, failed = (TestResult(test=test, verdict=verdict) for verdict in (Verdict.PASSED, Verdict.FAILED))
    for _ in range(2):
        script.say(m.Started(number), 1.0)
    for result in (failed, failed, passed):
        script.say(m.Reported(number, result), 1.0)
    assert script.said(AttemptStarted) == [AttemptStarted(lease=number)]
    assert script.said(TestFinished) == [
        TestFinished(lease=number, result=failed),
        TestFinished(lease=number, result=passed),
    ]


def test_news_of_a_lease_that_has_ended_is_no_news() -> None:
    script = Script()
    number = script.lease_of(A)
    test = script.state.ledger.active[number].shard.tests[0]
    script.say(m.LeaseEnded(number, GONE), 1.0)
    told = len(script.events)
    for message in (
        m.Started(number),
        m.Beat(number),
        Collecting(number),
        m.Output(number, "late"),
        m.Reported(number, TestResult(test=test, verdict=Verdict.PASSED)),
    ):
        assert script.say(message, 2.0) == []
    assert len(script.events) == told


def test_a_fleet_that_is_gone_is_waited_for_a_while() -> None:
    script = Script(machines=1, head_share=1.0, check_first=False, give_up_after=60.0)
    script.say(m.LeaseEnded(script.lease_of(A), GONE), 1.0)
    script.say(m.Tick(), 60.5)
    assert not script.control.finished
    assert starts(script.say(checked(A, healthy=True), 60.8)) == [A], "it came back in time"
    script.say(m.LeaseEnded(script.lease_of(A), GONE), 70.0)
    script.say(m.Tick(), 129.0)
    assert not script.control.finished, "and is waited for as long again"
    script.say(m.Tick(), 130.5)
    assert script.state.finished is not None
    assert script.state.finished.exit_code == ExitCode.INCOMPLETE
    assert {entry.reason for entry in script.state.ledger.records.values()} == {"no healthy machine - a: no route"}


def test_what_failed_is_failed_although_it_was_to_be_tried_again() -> None:
    retry = RetryPolicy(backoff=60.0)
    script = Script(machines=1, head_share=1.0, check_first=False, deadline=30.0, retry=retry)
    script.finish(A, Verdict.FAILED, at=1.0)
    script.say(m.Tick(), 31.0)
    assert {entry.verdict for entry in script.state.ledger.records.values()} == {Verdict.FAILED}
    assert script.state.finished is not None
    assert script.state.finished.exit_code == ExitCode.TESTS_FAILED


def test_why_a_run_stops_is_what_stopped_it_first() -> None:
    script = Script(machines=1, head_share=1.0, check_first=False, deadline=30.0)
    script.say(m.Started(script.lease_of(A)), 29.0)
    assert CancelJob(script.lease_of(A), A) in script.say(m.Tick(), 30.0)
    script.say(m.Signalled(2), 31.0)
    script.say(m.LeaseEnded(script.lease_of(A), AttemptResult(ended=Ended.CANCELLED)), 32.0)
    [end] = script.said(RunFinished)
    assert isinstance(end, RunFinished)
    assert (end.exit_code, end.reason) == (ExitCode.INTERRUPTED, "the run's deadline of 30 s has passed")


def test_a_resumed_run_attaches_to_what_still_runs_and_grants_no_lease_twice() -> None:
    script = Script(tests=8, head_share=0.3, check_first=False, start_grace=100.0)
    held = dict(script.state.ledger.active)
    again = control_of(script.state, lambda _event: None, check_first=False, start_grace=100.0)
    attached = [command for command in again.begin(50.0) if isinstance(command, StartJob)]
    assert [command.lease for command in attached] == list(held.values())
    assert [tuple(test.id for test in command.tests) for command in attached] == [
        lease.shard.tests for lease in held.values()
    ]
    assert again.step(m.Tick(), 149.0) == [m.CheckMachine(A, busy=True), m.CheckMachine(B, busy=True)], (
        "they have as long to answer as new ones"
    )
    assert CancelJob(LeaseNumber(1), A, now=True) in again.step(m.Tick(), 151.0)
