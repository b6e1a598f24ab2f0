"""The control as a script: messages in, events and commands out."""

from __future__ import annotations

import math

import pytest

from ci_dispatch.core.errors import ExitCode
from ci_dispatch.core.events import (
    MachineChecked,
    MachineLost,
    MachineQuarantined,
    MachineReleased,
)
from ci_dispatch.core.model import (
    AttemptResult,
    Ended,
    FailureCause,
    MachineName,
    ShardKind,
    TestId,
    TestResult,
    Verdict,
)
from ci_dispatch.fleets.machines.fleet import CancelJob
from ci_dispatch.run import messages as m
from ci_dispatch.run.retry import RetryPolicy
from tests.control_script import A, B, Script, checked, starts


def test_nothing_is_handed_out_before_every_machine_was_asked_how_it_is() -> None:
    script = Script(head_share=1.0)
    assert script.commands == [m.CheckMachine(A), m.CheckMachine(B)]
    script.say(checked(A, healthy=True), 0.3)
    assert starts(script.commands) == []
    script.say(checked(B, healthy=False), 5.0)
    assert starts(script.commands) == [A], "an unhealthy machine gets no work; the run goes on with the others"


def test_no_healthy_machine_ends_the_run_at_once_and_incomplete() -> None:
    script = Script(check_first=True)
    for name in (A, B):
        script.say(m.Checked(MachineChecked(machine=name, healthy=False, reachable=True)))
    assert script.state.finished is not None
    assert script.state.finished.exit_code == ExitCode.INCOMPLETE
    assert {entry.reason for entry in script.state.ledger.records.values()} == {"no healthy machine"}


def test_an_unhealthy_machine_that_recovers_comes_back() -> None:
    script = Script(tests=20, head_share=0.3)
    script.say(checked(A, healthy=True))
    script.say(checked(B, healthy=False))
    script.say(checked(B, healthy=True), 31.0)
    assert starts(script.commands) == [A, B]


def test_machines_are_checked_again_every_thirty_seconds() -> None:
    script = Script(head_share=1.0)
    script.say(checked(A, healthy=True), 1.0)
    script.say(checked(B, healthy=True), 1.0)
    for machine in (A, B):
        script.say(m.Started(script.lease_of(machine)), 1.0)
    for second in range(2, 31):
        for machine in (A, B):
            script.say(m.Beat(script.lease_of(machine)), float(second))
        assert script.say(m.Tick(), float(second)) == []
    assert script.say(m.Tick(), 31.0) == [m.CheckMachine(A, busy=True), m.CheckMachine(B, busy=True)]
    assert script.say(m.Tick(), 32.0) == [], "one check at a time"


def test_without_first_checks_the_first_one_comes_with_the_interval() -> None:
    script = Script()
    assert not [effect for effect in script.commands if isinstance(effect, m.CheckMachine)]
    for machine in (A, B):
        script.say(m.Started(script.lease_of(machine)), 29.0)
    assert script.say(m.Tick(), 29.5) == []
    assert script.say(m.Tick(), 30.0) == [m.CheckMachine(A, busy=True), m.CheckMachine(B, busy=True)]


def test_a_lost_machine_is_asked_every_five_seconds_whether_it_is_back() -> None:
    script = Script(tests=8, head_share=0.3, check_first=False)
    gone = AttemptResult(ended=Ended.NOT_STARTED, cause=FailureCause.MACHINE, reason="no route")
    script.say(m.Started(script.lease_of(B)), 0.5)
    script.say(m.LeaseEnded(script.lease_of(A), gone), 1.0)
    assert script.said(MachineLost) == [MachineLost(machine=A, reason="no route")]
    assert not script.state.ledger.of_machine(A), "no more work until it is well again"

    def asked(at: float) -> bool:
        script.say(m.Beat(script.lease_of(B)), at)
        return m.CheckMachine(A, busy=True) in script.say(m.Tick(), at)

    assert not asked(5.9)
    assert asked(6.0)
    script.say(checked(A, healthy=False), 7.0)
    assert not asked(11.9)
    assert asked(12.0)
    script.say(checked(A, healthy=True), 13.0)
    assert script.state.ledger.of_machine(A), "it has work again"
    script.say(m.Started(script.lease_of(A)), 14.0)
    assert not asked(20.0), "and is asked as seldom as the others"


def test_interrupted_once_nothing_more_is_handed_out_and_twice_means_now() -> None:
    script = Script(tests=8, head_share=0.3, check_first=False)
    first = script.say(m.Signalled(2), 1.0)
    assert sorted(first, key=str) == sorted(
        [CancelJob(script.lease_of(A), A), CancelJob(script.lease_of(B), B)], key=str
    )
    script.finish(A, at=2.0)
    assert len(script.state.ledger.active) == 1, "nothing new"
    second = script.say(m.Signalled(2), 3.0)
    assert second == [CancelJob(script.lease_of(B), B, now=True)]
    script.finish(B, at=4.0)
    assert script.state.finished is not None
    assert script.state.finished.exit_code == ExitCode.INTERRUPTED
    assert script.state.verdicts[Verdict.PASSED] > 0, "what had run by then counts"
    assert script.state.verdicts[Verdict.NOT_RUN] > 0


def test_terminated_is_143() -> None:
    script = Script()
    script.say(m.Signalled(15), 1.0)
    for machine in (A, B):
        script.finish(machine, at=2.0)
    assert script.state.finished is not None
    assert script.state.finished.exit_code == ExitCode.TERMINATED


def test_the_deadline_ends_a_run_incomplete() -> None:
    script = Script(tests=8, head_share=0.3, check_first=False, deadline=60.0)
    effects = script.say(m.Tick(), 61.0)
    assert {type(effect) for effect in effects} >= {CancelJob}
    for machine in (A, B):
        if script.state.ledger.of_machine(machine):
            script.finish(machine, at=62.0)
    assert script.state.finished is not None
    assert script.state.finished.exit_code == ExitCode.INCOMPLETE
    assert "deadline" in script.state.finished.reason


def test_a_machine_that_comes_to_nothing_three_times_is_fenced() -> None:
    script = Script(tests=30, head_share=0.1, check_first=False, retry=RetryPolicy(max_reassignments=50))
    for at in range(1, 4):
        number = script.lease_of(A)
        sick = AttemptResult(ended=Ended.EXITED, cause=FailureCause.SETUP, reason="no browser")
        script.say(m.LeaseEnded(number, sick), float(at))
    [fenced] = script.said(MachineQuarantined)
    assert isinstance(fenced, MachineQuarantined)
    assert fenced.machine == A
    assert "no browser" in fenced.reason
    assert not script.state.ledger.of_machine(A)


@pytest.mark.parametrize("well", [True, False])
def test_a_fenced_machine_whose_work_under_way_goes_well_gets_work_again(well: bool) -> None:
    """It proved the opposite, and may be the only one that is left."""
    script = Script(tests=30, slots=4, head_share=0.1, check_first=False, retry=RetryPolicy(max_reassignments=50))
    under_way = script.state.ledger.of_machine(A)
    assert len(under_way) == 4
    sick = AttemptResult(ended=Ended.EXITED, cause=FailureCause.SETUP, reason="no browser")
    for at, lease in enumerate(under_way[:3], 1):
        script.say(m.LeaseEnded(lease.number, sick), float(at))
    assert script.state.machines[A].quarantined
    last = under_way[3]
    passed = tuple(TestResult(test=test, verdict=Verdict.PASSED) for test in last.shard.tests)
    end = AttemptResult(ended=Ended.EXITED, results=passed) if well else sick
    script.say(m.LeaseEnded(last.number, end), 4.0)
    assert script.said(MachineReleased) == ([MachineReleased(machine=A)] if well else [])
    assert script.state.machines[A].usable is well


def test_nobody_waits_for_machines_that_are_all_in_quarantine() -> None:
    script = Script(machines=1, check_first=False, give_up_after=300.0)
    for at in range(1, 4):
        sick = AttemptResult(ended=Ended.EXITED, cause=FailureCause.SETUP, reason="the web server did not start")
        script.say(m.LeaseEnded(script.lease_of(A), sick), float(at))
    assert script.state.finished is not None
    assert script.state.finished_at == 3.0
    assert "the web server did not start" in script.state.finished.reason


def test_tests_nobody_asked_for_are_named_in_a_warning() -> None:
    script = Script()
    number = script.lease_of(A)
    script.say(m.LeaseEnded(number, AttemptResult(ended=Ended.EXITED, unexpected=("setup › login",))), 1.0)
    assert any("setup › login" in warning.text for warning in script.state.warnings)


def test_one_result_for_each_test_even_when_a_reader_forgets_some() -> None:
    script = Script(tests=2, machines=1)
    number = script.lease_of(A)
    line = TestResult(test=TestId("t00000"), verdict=Verdict.PASSED)
    script.say(m.LeaseEnded(number, AttemptResult(ended=Ended.EXITED, results=(line,))), 1.0)
    assert script.state.ledger.records[TestId("t00000")].verdict is Verdict.PASSED
    assert script.state.ledger.records[TestId("t00001")].verdict is None
    assert script.state.ledger.of_machine(A), "it is handed out again"


def test_live_results_of_tests_outside_the_lease_are_not_counted() -> None:
    script = Script()
    number = script.lease_of(A)
    script.say(m.Started(number), 0.5)
    other = script.state.ledger.active[script.lease_of(B)].shard.tests[0]
    for test in (other, TestId("a set-up project's")):
        script.say(m.Reported(number, TestResult(test=test, verdict=Verdict.PASSED)), 1.0)
    assert sum(machine.done for machine in script.state.machines.values()) == 0


def test_a_check_without_an_answer_keeps_nobody_waiting() -> None:
    script = Script(check_first=True, check_deadline=30.0)
    script.say(checked(A, healthy=True), 0.3)
    assert starts(script.commands) == []
    script.say(m.Tick(), 30.5)
    assert starts(script.commands) == [A], "B never answered: it counts as unreachable"
    problem = script.state.machines[B].why_unusable
    assert problem == "the health check gave no answer within 30 s"
    script.say(m.Started(script.lease_of(A)), 31.0)
    asked = [command for command in script.commands if command == m.CheckMachine(B)]
    assert len(asked) == 1, "one check at a time, also when it hangs"
    script.say(checked(B, healthy=True), 31.5)
    assert script.state.machines[B].usable, "a late answer is an answer"


def test_a_run_that_nobody_is_left_for_says_why() -> None:
    script = Script(check_first=True)
    for name in (A, B):
        script.say(m.Checked(MachineChecked(machine=name, healthy=False, reachable=True)))
    assert script.state.finished is not None
    assert script.state.finished.reason == "no healthy machine"


def test_a_machine_that_did_not_answer_is_asked_again_before_a_run_is_given_up() -> None:
    script = Script(machines=1, check_first=True)
    script.say(checked(A, healthy=False), 5.0)
    assert script.state.finished is None, "it may only have been slow"
    assert m.CheckMachine(A, busy=False) in script.say(m.Tick(), 10.5)
    script.say(checked(A, healthy=True), 11.0)
    assert script.state.ledger.active


@pytest.mark.parametrize("reachable", [True, False])
def test_a_run_that_nobody_can_begin_is_given_up_at_the_last_answer(*, reachable: bool) -> None:
    script = Script(machines=1, check_first=True)
    ill = m.Checked(MachineChecked(machine=A, healthy=False, reachable=reachable))
    script.say(ill, 5.0)
    assert (script.state.finished is not None) == reachable, "one that answered has said what it had to say"
    script.say(m.Tick(), 10.5)
    script.say(ill, 15.0)
    assert script.state.finished is not None


def test_without_health_checks_only_a_lost_machine_is_asked() -> None:
    script = Script(check_first=False, check_interval=math.inf, head_share=1.0, lease=12.0, steal_after=9999.0)
    for machine in (A, B):
        script.say(m.Started(script.lease_of(machine)), 1.0)
    for second in range(10, 100, 10):
        script.say(m.Beat(script.lease_of(B)), float(second))
        script.say(m.Tick(), float(second))
    asked = [command.machine for command in script.commands if isinstance(command, m.CheckMachine)]
    assert set(asked) == {A}, "it fell silent, and is asked until it is back"
    script.say(checked(A, healthy=True), 100.0)
    before = len(script.commands)
    for second in range(110, 200, 10):
        script.say(m.Tick(), float(second))
    assert not [command for command in script.commands[before:] if command == m.CheckMachine(A)]


def other_tree(script: Script, *, ran: bool = True) -> AttemptResult:
    ended = Ended.EXITED if ran else Ended.NOT_STARTED
    return AttemptResult(ended=ended, cause=FailureCause.TREE, reason="the work tree changed during the run: a.py")


def test_a_machine_whose_work_tree_changed_gets_no_more_work_and_the_others_go_on() -> None:
    script = Script()
    script.say(m.LeaseEnded(script.lease_of(A), other_tree(script)), 1.0)
    [event] = script.said(MachineQuarantined)
    assert isinstance(event, MachineQuarantined)
    assert event.machine == A
    assert script.state.machines[A].quarantined == "the work tree changed during the run: a.py"
    script.finish(B, at=2.0)
    script.finish(B, at=3.0)
    assert script.state.finished is not None
    assert script.state.finished.exit_code == ExitCode.PASSED, "they ran the run's own content"


@pytest.mark.parametrize("ran", [False, True])
def test_a_run_with_no_machine_left_that_has_its_content_ends_incomplete_at_once(ran: bool) -> None:
    script = Script(machines=1, give_up_after=60.0, head_share=1.0, check_first=False)
    script.say(m.LeaseEnded(script.lease_of(A), other_tree(script, ran=ran)), 1.0)
    script.say(m.Tick(), 1.1)
    finished = script.state.finished
    assert finished is not None, "nothing it waits for could come"
    assert (finished.exit_code, script.state.verdicts[Verdict.PASSED]) == (ExitCode.INCOMPLETE, 0)
    assert "the work tree changed during the run: a.py" in finished.reason
    assert not script.said(MachineLost), "it is well"


def test_a_failure_whose_retry_would_have_run_on_another_content_leaves_the_run_incomplete() -> None:
    """It has failed, and nobody knows whether it is flaky."""
    script = Script(tests=1, machines=1, head_share=1.0, check_first=False, retry=RetryPolicy(backoff=0.0))
    script.finish(A, Verdict.FAILED, 1.0)
    script.say(m.LeaseEnded(script.lease_of(A), other_tree(script)), 2.0)
    assert script.state.finished is not None
    assert script.state.finished.exit_code == ExitCode.INCOMPLETE
    assert script.state.verdicts == {Verdict.FAILED: 1}


@pytest.mark.parametrize("changed", [A, B], ids=["of its first execution", "of its copy"])
def test_a_changed_work_tree_of_one_of_two_executions_costs_nothing_when_the_other_one_decides(
    changed: MachineName,
) -> None:
    script = Script(tests=2, head_share=1.0, check_first=False)
    for machine in (A, B):
        script.say(m.Started(script.lease_of(machine)), 1.0)
    script.finish(B, at=2.0)
    for second in range(3, 100):
        script.say(m.Beat(script.lease_of(A)), float(second))
    script.say(m.Tick())
    assert script.state.ledger.attempts[script.lease_of(B)].lease.shard.kind is ShardKind.COPY
    script.say(m.LeaseEnded(script.lease_of(changed), other_tree(script)), 100.0)
    script.finish(B if changed == A else A, at=101.0)
    assert script.state.finished is not None
    assert script.state.verdicts == {Verdict.PASSED: 2}
    assert script.state.finished.exit_code == ExitCode.PASSED, "what decided ran on the run's own content"
