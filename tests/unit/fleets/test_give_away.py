"""A busy machine and an idle one: when the rest of a running shard changes hands, and that nothing is lost by it."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from ci_dispatch.core.events import AttemptFinished
from ci_dispatch.core.groups import GroupSpec, TestGroup, Together
from ci_dispatch.core.model import (
    AttemptResult,
    Ended,
    MachineSpec,
    TestId,
    TestResult,
    UnitId,
    Verdict,
)
from ci_dispatch.fleets.machines import give_away
from ci_dispatch.fleets.machines.fleet import CancelJob
from ci_dispatch.planning.planner import Unit
from ci_dispatch.run import messages as m
from tests.control_script import A, B, Script, starts
from tests.simulation import EventRecorder, Outage, World, make_tests, simulate

FLEET = [MachineSpec(name=name, cores=2) for name in (A, B)]


def units(*seconds: float) -> list[Unit]:
    return [Unit(id=UnitId(str(n)), tests=(TestId(str(n)),), seconds=each) for n, each in enumerate(seconds)]


@pytest.mark.parametrize(
    ("rest", "gain"),
    [
        ((), 0.0),
        ((600.0,), 0.0),  # nothing but what runs
        ((10.0,) * 3, 0.0),  # over before it would pay
        ((300.0, 300.0, *(10.0,) * 60), 0.0),  # what runs is long, and would run again
        ((10.0,) * 62, 150.0),
    ],
)
def test_only_what_pays_is_given_away(rest: tuple[float, ...], gain: float) -> None:
    assert give_away.gain(units(*rest), *FLEET) == gain


def test_a_machine_that_has_not_run_anything_yet_needs_more_of_a_reason() -> None:
    rest = units(*(10.0,) * 62)
    assert give_away.gain(rest, *FLEET, cold=True) == 150.0
    assert give_away.gain(rest[:50], *FLEET) == 120.0
    assert give_away.gain(rest[:50], *FLEET, cold=True) == 0.0


def interrupted(verdict: Verdict = Verdict.PASSED) -> tuple[Script, TestId]:
    """A is busy with half of 200 tests and has told the first; B has ended the others. Gives that first test too."""
    script = Script(tests=200, head_share=1.0, check_first=False)
    number = script.lease_of(A)
    script.say(m.Started(number), 1.0)
    told = report(script, verdict, seconds=2.0, at=1.5)
    finish_all(script, at=2.0)
    assert script.commands[-1] == CancelJob(number, A), "a hundred seconds are left, four are lost"
    return script, told


def ended(told: Iterable[TestResult], tests: Iterable[TestId]) -> AttemptResult:
    lines = {line.test: line for line in told}
    every = tuple(lines.get(test) or TestResult(test=test, verdict=Verdict.NOT_RUN) for test in tests)
    return AttemptResult(ended=Ended.CANCELLED, results=every)


def finish_all(script: Script, at: float) -> None:
    """B ends whatever it has and gets."""
    while script.state.ledger.of_machine(B):
        script.say(m.Started(script.lease_of(B)), at)
        script.finish(B, at=at)


def report(script: Script, verdict: Verdict = Verdict.PASSED, *, seconds: float, at: float) -> TestId:
    """A tells its next result."""
    attempt = script.state.ledger.attempts[script.lease_of(A)]
    test = next(test for test in attempt.lease.shard.tests if test not in attempt.live)
    script.say(m.Beat(script.lease_of(A)), at)
    script.say(m.Reported(script.lease_of(A), TestResult(test=test, verdict=verdict, seconds=seconds)), at)
    return test


def test_the_rest_of_a_running_shard_goes_to_an_idle_machine() -> None:
    script, told = interrupted()
    number = script.lease_of(A)
    tests = script.state.ledger.attempts[number].lease.shard.tests
    passed = TestResult(test=told, verdict=Verdict.PASSED)
    new = script.say(m.LeaseEnded(number, ended([passed], tests)), 5.0)
    assert sorted(starts(new)) == [A, B]
    leases = [script.state.ledger.attempts[script.lease_of(name)].lease for name in (A, B)]
    assert told not in {test for lease in leases for test in lease.shard.tests}
    assert script.state.reassigned == 0


@pytest.mark.parametrize("verdict", [Verdict.FAILED, Verdict.FLAKY])
def test_a_failure_that_a_machine_tells_under_the_interruption_before_it_is_lost_is_no_evidence(
    verdict: Verdict,
) -> None:
    script, before = interrupted(verdict)
    number = script.lease_of(A)
    under = report(script, verdict, seconds=1.0, at=2.5)
    script.say(m.Tick(), 20.0)
    assert script.state.machines[A].lost
    records = script.state.ledger.records
    assert number not in script.state.ledger.active
    assert [len(records[test].history) for test in (before, under)] == [1, 0]


def test_a_job_that_ended_by_itself_meanwhile_counts_as_it_is() -> None:
    script, _ = interrupted()
    script.finish(A, at=5.0)
    assert script.state.finished is not None
    assert script.state.verdicts[Verdict.PASSED] == 200


def test_what_one_shard_must_have_whole_is_not_given_away() -> None:
    tests = tuple(test.id for test in make_tests(40))
    whole = TestGroup(spec=GroupSpec(name="g", together=Together.SHARD), tests=tests)
    script = Script(tests=40, head_share=1.0, check_first=False, groups=[whole])
    script.say(m.Started(script.lease_of(A)), 1.0)
    for number in range(2):
        report(script, seconds=60.0, at=1.5 + number)
    finish_all(script, at=4.0)
    assert not [command for command in script.commands if isinstance(command, CancelJob)]


@pytest.mark.parametrize(("results", "interrupts"), [(1, False), (2, True)])
def test_one_slow_test_does_not_make_the_others_slow(results: int, interrupts: bool) -> None:
    """It may have set up what they use: a shard of seconds is not interrupted for it."""
    script = Script(tests=40, head_share=1.0, check_first=False)
    script.say(m.Started(script.lease_of(A)), 1.0)
    for number in range(results):
        report(script, seconds=60.0, at=1.5 + number)
    finish_all(script, at=4.0)
    assert any(isinstance(command, CancelJob) for command in script.commands) is interrupts


def test_no_test_goes_this_way_twice() -> None:
    script, told = interrupted()
    number = script.lease_of(A)
    tests = script.state.ledger.attempts[number].lease.shard.tests
    script.say(m.LeaseEnded(number, ended([TestResult(test=told, verdict=Verdict.PASSED)], tests)), 5.0)
    script.say(m.Started(script.lease_of(A)), 6.0)
    before = len(script.commands)
    report(script, seconds=60.0, at=6.5)
    finish_all(script, at=7.0)
    assert not [command for command in script.commands[before:] if isinstance(command, CancelJob)]


def test_a_machine_that_comes_late_gets_work_too() -> None:
    """B has taken everything as one shard when A answers at last."""
    tests = make_tests(400)
    world = World(seconds={test.id: 4.0 for test in tests}, outages=[Outage(A, 0.0, 100.0)])
    recorder = EventRecorder()
    state = simulate(tests, FLEET, world, terms={"head_share": 1.0}, reporters=[recorder])
    assert state.verdicts[Verdict.PASSED] == 400
    ends = [each.event.result for each in recorder.events if isinstance(each.event, AttemptFinished)]
    assert [end.reason for end in ends].count(give_away.REASON) == 1
    assert state.finished is not None
    assert state.finished.makespan.realised < 520, "B alone needs 800 s"


@pytest.mark.parametrize(("slower", "interrupts"), [(1.0, False), (2.0, True)])
def test_a_machine_that_turns_out_slow_gives_away_sooner(slower: float, interrupts: bool) -> None:
    """Its half of 80 tests is too short to share, unless they take much longer on it than on the other machine."""
    script = Script(tests=80, head_share=1.0, check_first=False)
    for name in (A, B):
        script.say(m.Started(script.lease_of(name)), 1.0)
    for _ in range(4):
        report(script, seconds=slower, at=1.5)
    b = script.lease_of(B)
    tests = script.state.ledger.attempts[b].lease.shard.tests
    results = tuple(TestResult(test=test, verdict=Verdict.PASSED, seconds=1.0) for test in tests)
    script.say(m.LeaseEnded(b, AttemptResult(ended=Ended.EXITED, results=results)), 2.0)
    assert any(isinstance(command, CancelJob) for command in script.commands) is interrupts
