"""Stragglers that run a second time on an idle machine: when, that one verdict stays, and that nobody is blamed."""

from __future__ import annotations

import io
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci_dispatch.core.codec import replace
from ci_dispatch.core.errors import ExitCode
from ci_dispatch.core.events import AttemptFinished, RetryScheduled, VerdictReached
from ci_dispatch.core.groups import GroupSpec, TestGroup
from ci_dispatch.core.model import (
    Ended,
    MachineName,
    MachineSpec,
    ShardKind,
    TestId,
    UnitId,
    Verdict,
)
from ci_dispatch.fleets.machines import copies
from ci_dispatch.fleets.machines.shard_queue import AVOID_SECONDS
from ci_dispatch.planning.planner import Unit
from ci_dispatch.reporters import explanation
from ci_dispatch.run.journal import Journal
from ci_dispatch.run.retry import RetryPolicy
from ci_dispatch.run.state import RunState
from ci_dispatch.run.time_use import time_use
from tests.simulation import EventRecorder, Outage, Slowdown, World, make_tests, simulate
from tests.unit.run.test_properties import BEHAVIOURS, TRUTH, machine, replayed

FAST, SLOW = (
    MachineSpec(name=MachineName(name), cores=1, speed=speed) for name, speed in (("fast", 1.0), ("slow", 0.1))
)


def units(*seconds: float) -> list[Unit]:
    return [Unit(id=UnitId(str(n)), tests=(TestId(str(n)),), seconds=each) for n, each in enumerate(seconds)]


@pytest.mark.parametrize(
    ("rest", "running", "gain"),
    [
        ((), 0.0, 0.0),
        ((10.0,), 0.0, 88.0),  # 100 s there, 12 s here
        ((10.0,), 85.0, 0.0),  # almost over there
        ((10.0,), 100.0, 0.0),
        ((10.0,), 130.0, 18.0),  # late by 30 s: as much again
        ((1.0,), 0.0, 0.0),  # hardly sooner
        ((10.0, 10.0), 0.0, 178.0),
    ],
)
def test_only_what_is_clearly_sooner_is_copied(rest: Sequence[float], running: float, gain: float) -> None:
    assert copies.gain(units(*rest), SLOW, FAST, running) == pytest.approx(gain)


def run_with_a_straggler(
    *, recorder: EventRecorder | None = None, behaviour: str = "passes", **terms: object
) -> RunState:
    """20 tests of 1 s; the machine that has the last one becomes a hundred times slower."""
    tests = make_tests(20)
    world = World(
        seconds={test.id: 1.0 for test in tests},
        behaviour={test.id: BEHAVIOURS[behaviour] for test in tests},
        slowdown=Slowdown(MachineName("b"), 4.0, 0.01),
    )
    fleet = [MachineSpec(name=MachineName(name), cores=1) for name in "ab"]
    return simulate(tests, fleet, world, reporters=[recorder] if recorder else [], terms={"head_share": 0.5, **terms})


def copied(state: RunState) -> list[TestId]:
    leases = [attempt.lease for attempt in state.ledger.attempts.values()]
    return [test for lease in leases if lease.shard.kind is ShardKind.COPY for test in lease.shard.tests]


def test_a_copy_ends_the_run_sooner_and_each_test_has_one_verdict() -> None:
    recorder = EventRecorder()
    state = run_with_a_straggler(recorder=recorder)
    alone = run_with_a_straggler(copies=False)
    assert copied(state)
    assert not copied(alone)
    assert state.finished is not None
    assert alone.finished is not None
    assert state.finished.makespan.realised < alone.finished.makespan.realised / 3
    assert state.finished.exit_code == ExitCode.PASSED
    verdicts = [event.test for event in recorder.of(VerdictReached) if isinstance(event, VerdictReached)]
    assert sorted(verdicts) == sorted(state.ledger.records)
    assert all(len(record.history) == 1 for record in state.ledger.records.values())


def test_the_one_that_comes_second_is_no_evidence() -> None:
    recorder = EventRecorder()
    state = run_with_a_straggler(recorder=recorder)
    ends = [each for each in recorder.of(AttemptFinished) if isinstance(each, AttemptFinished)]
    [second] = [each for each in ends if each.result.ended is Ended.CANCELLED]
    assert second.machine == "b"
    assert second.result.reason == copies.REASON
    assert not {line.test for line in second.result.results} & set(copied(state))
    assert recorder.of(RetryScheduled) == []
    assert [each.lost or each.quarantined for each in state.machines.values()] == ["", ""]


def test_a_copy_that_is_not_first_is_ended_at_once_and_its_time_is_a_repeat() -> None:
    tests, recorder = make_tests(2), EventRecorder()
    world = World(seconds={tests[0].id: 1.0, tests[1].id: 40.0})
    fleet = [MachineSpec(name=MachineName(name), cores=1) for name in "ab"]
    expected = {test.id: 1.0 for test in tests}
    state = simulate(tests, fleet, world, expected=expected, reporters=[recorder], terms={"head_share": 1.0})
    [copy] = [each for each in state.ledger.attempts.values() if each.lease.shard.kind is ShardKind.COPY]
    first = state.ledger.attempts[state.ledger.records[tests[1].id].history[0][0]]
    assert copy.result is not None
    assert copy.result.ended is Ended.CANCELLED
    assert copy.ended == first.ended == state.finished_at
    assert time_use(state).repeats > 0


def test_a_failure_of_a_copy_counts_as_any_other() -> None:
    state = run_with_a_straggler(behaviour="fails once")
    assert copied(state)
    assert {record.verdict for record in state.ledger.records.values()} == {Verdict.FLAKY}
    assert all(len(record.history) == 2 for record in state.ledger.records.values())


def test_a_retry_is_copied_to_the_machine_it_failed_on_when_it_has_waited_long_enough() -> None:
    [test] = make_tests(1)
    world = World(
        seconds={test.id: 1.0},
        behaviour={test.id: BEHAVIOURS["fails twice"]},
        slowdown=Slowdown(MachineName("b"), 0.0, 0.001),
    )
    fleet = [MachineSpec(name=MachineName(name), cores=1) for name in "ab"]
    terms = {"retry": RetryPolicy(max_retries=2)}
    state = simulate([test], fleet, world, terms=terms)
    *_, again, copy = state.ledger.attempts.values()
    assert (again.lease.machine, again.lease.shard.kind) == ("b", ShardKind.RETRY)
    assert (copy.lease.machine, copy.lease.shard.kind) == ("a", ShardKind.COPY)
    assert copy.lease.granted - again.lease.granted >= AVOID_SECONDS
    assert state.ledger.records[test.id].verdict is Verdict.FLAKY


def test_explain_says_why_a_test_ran_twice_at_the_same_time() -> None:
    recorder = EventRecorder()
    [test, *_] = copied(run_with_a_straggler(recorder=recorder))
    told = "\n".join(explanation.of_test(recorder.events, test))
    assert "a copy of what still ran elsewhere, whose first result counts" in told
    assert told.count("verdict:") == 1


@pytest.mark.parametrize("demand", [{"side_effects": True}, {"exclusive": ("account",)}], ids=str)
def test_what_may_not_run_twice_at_the_same_time_is_never_copied(demand: dict[str, object]) -> None:
    tests = make_tests(20)
    group = TestGroup(spec=GroupSpec(name="mail", **demand), tests=tuple(test.id for test in tests))  # type: ignore[arg-type]
    world = World(seconds={test.id: 1.0 for test in tests}, slowdown=Slowdown(MachineName("b"), 4.0, 0.1))
    fleet = [MachineSpec(name=MachineName(name), cores=1) for name in "ab"]
    state = simulate(tests, fleet, world, groups=[group])
    assert copied(state) == []
    assert state.verdicts[Verdict.PASSED] == 20


def test_side_effects_change_nothing_about_who_gets_what() -> None:
    tests = make_tests(20)
    group = TestGroup(spec=GroupSpec(name="mail", side_effects=True), tests=tuple(test.id for test in tests))
    fleet = [MachineSpec(name=MachineName(name), cores=1) for name in "ab"]
    world = World(seconds={test.id: 1.0 for test in tests})
    marked, free = (simulate(tests, fleet, world, groups=groups) for groups in ([group], []))
    assert [each.lease.shard for each in marked.ledger.attempts.values()] == [
        each.lease.shard for each in free.ledger.attempts.values()
    ]


def test_a_straggler_that_others_wait_for_is_copied_too() -> None:
    tests = make_tests(20)
    names = tuple(test.id for test in tests)
    groups = [
        TestGroup(spec=GroupSpec(name="set-up"), tests=names[:2]),
        TestGroup(spec=GroupSpec(name="rest", after=("set-up",)), tests=names[2:]),
    ]
    world = World(seconds=dict.fromkeys(names, 1.0), slowdown=Slowdown(MachineName("b"), 0.0, 0.01))
    fleet = [MachineSpec(name=MachineName(name), cores=1) for name in "ab"]
    state = simulate(tests, fleet, world, groups=groups, terms={"head_share": 1.0})
    assert set(copied(state)) & set(names[:2])
    assert state.finished is not None
    assert state.finished.makespan.realised < 100
    assert state.verdicts[Verdict.PASSED] == 20


@pytest.mark.parametrize("dies", ["a", "b"])
def test_when_one_of_the_two_machines_dies_the_other_one_decides(dies: str) -> None:
    tests = make_tests(2)
    world = World(
        seconds={test.id: 60.0 for test in tests},
        slowdown=Slowdown(MachineName("b"), 5.0, 0.1),
        outages=[Outage(MachineName(dies), 150.0)],
    )
    fleet = [MachineSpec(name=MachineName(name), cores=1) for name in "ab"]
    state = simulate(tests, fleet, world, terms={"head_share": 1.0})
    assert len(copied(state)) == 1
    assert state.verdicts[Verdict.PASSED] == 2
    record = state.ledger.records[copied(state)[0]]
    assert (record.retries, record.reassignments, record.takeovers) == (0, 0, 0)


@settings(max_examples=120)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 30), machines=st.integers(2, 5))
def test_with_copies_every_test_has_one_verdict_and_it_is_the_true_one(seed: int, count: int, machines: int) -> None:
    """Durations are misjudged, machines slow down and die, runners are taken down; m0 is well."""
    random = Random(seed)
    tests = make_tests(count, unit_size=random.choice([1, 1, 3]))
    fleet = [replace(machine(n, random), speed=random.choice([0.1, 0.5, 1.0])) for n in range(machines)]
    words = {test.id: random.choice(list(BEHAVIOURS)) for test in tests}
    outages = [
        Outage(each.name, begin, random.choice([float("inf"), begin + random.uniform(1, 60)]))
        for each in fleet[1:]
        if random.random() < 0.5
        for begin in [random.uniform(0, 200)]
    ]
    seconds = {test.id: random.uniform(0.1, 60) for test in tests}
    world = World(
        seconds=seconds,
        behaviour={test: BEHAVIOURS[word] for test, word in words.items()},
        outages=outages,
        slowdown=Slowdown(fleet[-1].name, random.uniform(0, 100), random.choice([0.05, 0.5])),
        live=random.random() < 0.8,
    )
    sideways = TestGroup(
        spec=GroupSpec(name="mail", side_effects=True), tests=tuple(t.id for t in tests if random.random() < 0.2)
    )
    disk = io.BytesIO()
    state = simulate(
        tests,
        fleet,
        world,
        expected={test: length * random.choice([0.2, 1.0, 3.0]) for test, length in seconds.items()},
        groups=[sideways],
        terms={"shard_timeout": 50_000.0},  # else slow machines lose what they run, over and over
        seed=seed,
        journal=Journal(disk),
    )
    assert {t: e.verdict for t, e in state.ledger.records.items()} == {t: TRUTH[word] for t, word in words.items()}
    assert state.finished is not None
    failed = state.verdicts[Verdict.FAILED] > 0
    assert state.finished.exit_code == (ExitCode.TESTS_FAILED if failed else ExitCode.PASSED)
    assert not state.ledger.active
    twice = copied(state)
    assert len(twice) == len(set(twice)), "never a second time"
    assert not {test for test in twice if state.constraints.of(test).side_effects}
    assert replayed(disk.getvalue()).verdicts == state.verdicts
