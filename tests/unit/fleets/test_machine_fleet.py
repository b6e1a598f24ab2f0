"""Leases on machines as a script: renewed, run out, taken over, and ended in time whatever a machine does."""

from __future__ import annotations

import pytest

from ci_dispatch.core.errors import ExitCode
from ci_dispatch.core.events import (
    AttemptFinished,
    LeaseGranted,
    MachineLost,
)
from ci_dispatch.core.model import (
    AttemptResult,
    Connection,
    Ended,
    LeaseNumber,
    MachineName,
    MachineSpec,
    TestResult,
    Verdict,
)
from ci_dispatch.fleets.machines.fleet import CancelJob, Collecting
from ci_dispatch.run import messages as m
from ci_dispatch.run.retry import RetryPolicy
from tests.control_script import A, B, Script, starts
from tests.simulation import EventRecorder, Outage, World, make_tests, simulate


def test_a_silent_machine_is_lost_after_its_lease_and_its_work_is_handed_out_at_once() -> None:
    script = Script()
    script.say(m.Started(script.lease_of(A)), 0.5)
    script.say(m.Started(script.lease_of(B)), 0.5)
    for second in range(1, 13):
        script.say(m.Beat(script.lease_of(B)), float(second))
    script.finish(B, at=12.0)
    effects = script.say(m.Tick(), 12.6)
    assert script.said(MachineLost) == [MachineLost(machine=A, reason="no heartbeat for 12 s")]
    assert starts(effects) == [B], "noticed within 15 s, handed out again in the same step"
    assert CancelJob(LeaseNumber(1), A, now=True) in effects


def test_what_a_lost_machine_had_reported_counts_and_only_the_rest_runs_again() -> None:
    script = Script()
    number = script.lease_of(A)
    done, left = script.state.ledger.attempts[number].lease.shard.tests
    script.say(m.Started(number), 0.5)
    script.say(m.Reported(number, TestResult(test=done, verdict=Verdict.PASSED)), 1.0)
    script.say(m.Beat(script.lease_of(B)), 12.0)
    script.say(m.Tick(), 12.6)
    assert script.state.ledger.records[done].verdict is Verdict.PASSED
    assert script.state.ledger.records[left].verdict is None


def test_a_late_result_of_a_lost_machine_is_evidence_and_changes_nothing() -> None:
    script = Script()
    late = script.lease_of(A)
    tests = script.state.ledger.attempts[late].lease.shard.tests
    script.say(m.Started(late), 0.5)
    script.say(m.Tick(), 12.6)
    lines = tuple(TestResult(test=test, verdict=Verdict.FAILED) for test in tests)
    script.say(m.LeaseEnded(late, AttemptResult(ended=Ended.EXITED, results=lines)), 13.0)
    last = script.said(AttemptFinished)[-1]
    assert isinstance(last, AttemptFinished)
    assert last.stale
    assert not any(script.state.ledger.records[test].history for test in tests)


def test_reports_on_their_way_keep_the_lease() -> None:
    script = Script()
    script.say(m.Started(script.lease_of(A)), 0.5)
    script.say(Collecting(script.lease_of(A)), 1.0)
    script.say(m.Beat(script.lease_of(B)), 30.0)
    script.say(m.Tick(), 40.0)
    assert script.state.ledger.of_machine(A)


def test_an_idle_machine_takes_over_what_another_has_not_started() -> None:
    script = Script()
    script.say(m.Started(script.lease_of(B)), 0.5)
    assert script.finish(B, at=2.0) == []
    assert script.say(m.Tick(), 9.0) == []
    effects = script.say(m.Tick(), 11.0)
    assert CancelJob(LeaseNumber(1), A, now=True) in effects
    assert B in starts(effects)


@pytest.mark.parametrize("moment", [3.0, 8.0, 20.0])
def test_a_dead_machine_is_noticed_within_15_s_and_its_work_runs_elsewhere_5_s_later(moment: float) -> None:
    tests = make_tests(60)
    fleet = [MachineSpec(name=name, cores=4) for name in (A, B)]
    world = World(seconds={test.id: 4.0 for test in tests}, outages=[Outage(A, moment)])
    recorder = EventRecorder()
    state = simulate(tests, fleet, world, reporters=[recorder], tick=0.25)
    assert state.verdicts[Verdict.PASSED] == 60
    told = recorder.events
    lost = next(n for n, each in enumerate(told) if isinstance(each.event, MachineLost))
    moved = next(n for n, each in enumerate(told) if n > lost and isinstance(each.event, LeaseGranted))
    assert told[lost].at - told[0].at - moment < 15
    # B takes it with its next slot: handing out waits for nothing but a free machine
    free = [x.at for x in told[:moved] if isinstance(x.event, AttemptFinished) and x.event.machine == B]
    assert told[moved].at - max(told[lost].at, *free) < 5


def test_cold_machines_take_nothing_over_from_each_other() -> None:
    """Two machines, one unit, and a work tree that takes minutes to arrive: the one that has it keeps it."""
    script = Script(tests=1, head_share=1.0, check_first=False, start_grace=600.0)
    for second in range(1, 120):
        script.say(m.Tick(), float(second))
    assert starts(script.commands) == [A]
    script.say(m.Started(script.lease_of(A)), 120.0)
    script.finish(A, at=121.0)
    assert script.state.finished is not None
    assert script.state.finished.exit_code == ExitCode.PASSED


def test_a_take_over_is_no_reassignment_and_happens_once_for_each_test() -> None:
    script = Script(tests=2, head_share=1.0, check_first=False)
    script.say(m.Started(script.lease_of(B)), 0.5)
    script.finish(B, at=5.0)  # B is ready and idle
    script.say(m.Tick(), 10.5)
    [record] = [record for record in script.state.ledger.records.values() if record.verdict is None]
    assert script.lease_of(B) == record.lease
    assert (record.takeovers, record.reassignments, script.state.reassigned) == (1, 0, 0)
    before = len(script.commands)
    script.say(m.Tick(), 30.0)
    assert starts(script.commands[before:]) == [], "slow starters do not hand a test to and fro"


def test_a_job_that_beats_on_after_its_time_limit_is_ended_by_us() -> None:
    script = Script(machines=1, shard_timeout=100.0, end_grace=20.0, lease=12.0, head_share=1.0, check_first=False)
    number = script.lease_of(A)
    script.say(m.Started(number), 1.0)
    for second in range(2, 121):
        said = [*script.say(m.Beat(number), float(second)), *script.say(m.Tick(), float(second))]
        assert not [command for command in said if isinstance(command, CancelJob)], second
    [cancel] = [c for c in script.say(m.Tick(), 121.0) if isinstance(c, CancelJob)]
    assert (cancel.lease, cancel.now) == (number, True)
    [lost] = script.said(MachineLost)
    assert isinstance(lost, MachineLost)
    assert "20 s after its time limit" in lost.reason


def test_a_job_whose_reports_are_on_their_way_is_not_overdue() -> None:
    script = Script(machines=1, shard_timeout=100.0, end_grace=20.0, lease=12.0, head_share=1.0, check_first=False)
    number = script.lease_of(A)
    script.say(m.Started(number), 1.0)
    script.say(Collecting(number), 2.0)
    script.say(m.Tick(), 2.0 + 149.0)
    assert not script.said(MachineLost)
    script.say(m.Tick(), 2.0 + 151.0)
    assert script.said(MachineLost)


@pytest.mark.parametrize("connection", list(Connection))
def test_passes_of_a_silent_job_count_where_nobody_could_edit_its_tree(connection: Connection) -> None:
    """This computer runs tests where the tree lies, and looks at the tree when a job has ended: this one never did."""
    script = Script(machines=1, head_share=1.0, check_first=False, lease=12.0, connection=connection)
    number = script.lease_of(A)
    first, second, *_ = script.state.ledger.attempts[number].lease.shard.tests
    script.say(m.Started(number), 1.0)
    script.say(m.Reported(number, TestResult(test=first, verdict=Verdict.PASSED)), 2.0)
    script.say(m.Reported(number, TestResult(test=second, verdict=Verdict.FAILED, message="wrong")), 3.0)
    script.say(m.Tick(), 60.0)
    [lost] = [event for event in script.said(AttemptFinished) if isinstance(event, AttemptFinished)]
    assert lost.result.ended is Ended.LOST
    counted = {line.test: line.verdict for line in lost.result.results if line.verdict is not Verdict.NOT_RUN}
    passed = {first: Verdict.PASSED} if connection is Connection.SSH else {}
    assert counted == {**passed, second: Verdict.FAILED}, "a failure is never forgotten"


def test_two_ready_but_slow_machines_do_not_hand_a_test_to_and_fro() -> None:
    script = Script(tests=2, head_share=1.0, check_first=False, retry=RetryPolicy(jitter=0.0))
    for machine in (A, B):
        script.say(m.Started(script.lease_of(machine)), 0.5)
    script.finish(B, at=1.0)
    script.finish(A, Verdict.FAILED, at=1.0)  # again in 5 s
    script.say(m.Tick(), 6.5)
    first, before = next(iter(script.state.ledger.active.values())), len(script.commands)
    script.say(m.Tick(), 17.0)
    [other] = starts(script.commands[before:])
    assert other != first.machine, "taken over, once"
    before = len(script.commands)
    for second in range(18, 60):
        script.say(m.Tick(), float(second))
    assert starts(script.commands[before:]) == []


@pytest.mark.parametrize("slots", [1, 2, 4])
def test_a_run_takes_as_long_as_planned_however_many_slots_there_are(slots: int) -> None:
    """A head that went to one slot took as many times as long, while others were idle or pulled crumbs."""
    tests = make_tests(160)
    fleet = [MachineSpec(name=MachineName(name), cores=8, slots=slots) for name in ("a", "b")]
    state = simulate(tests, fleet, World(seconds={test.id: 5.0 for test in tests}), terms={"head_share": 1.0})
    assert state.finished is not None
    assert state.finished.makespan.realised == pytest.approx(state.finished.makespan.planned, abs=3.0)
    assert state.finished.makespan.planned < 1.1 * state.finished.makespan.lower_bound
