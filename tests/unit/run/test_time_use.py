"""Where the time of a run went: the parts add up to its makespan, and each loss is in the part that it belongs to."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci_dispatch.core.codec import replace
from ci_dispatch.core.events import (
    AttemptStarted,
    MachineQuarantined,
    RunFinished,
)
from ci_dispatch.core.model import (
    Ended,
    LeaseNumber,
    MachineName,
    MachineSpec,
    Makespan,
    TestResult,
    Verdict,
)
from ci_dispatch.run.time_use import TimeUse, time_use
from tests.run_recording import RunRecording
from tests.simulation import Outage, World, make_tests, simulate

A, B = MachineName("a"), MachineName("b")
TESTS = make_tests(4)
FLEET = [MachineSpec(name=A, cores=1), MachineSpec(name=B, cores=1)]


class Recording(RunRecording):
    """Attempts with their times; each runs the tests that come next."""

    def __init__(self, fleet: list[MachineSpec]) -> None:
        super().__init__(TESTS, fleet)
        self._given = 0

    def attempt(
        self, machine: MachineName, times: tuple[float, float, float], *seconds: float, ended: Ended = Ended.EXITED
    ) -> None:
        """`times`: granted, started, ended; `seconds` of each test."""
        granted, started, over = times
        number = len(self.state.ledger.attempts) + 1
        tests = [test.id for test in TESTS[self._given : self._given + len(seconds)]]
        self._given += len(seconds)
        results = [
            TestResult(test=test, verdict=Verdict.PASSED, seconds=took)
            for test, took in zip(tests, seconds, strict=True)
        ]
        self.give(granted, number, machine, *tests).say(started, AttemptStarted(lease=LeaseNumber(number)))
        self.end(over, number, *results, ended=ended)

    def used(self, at: float) -> TimeUse:
        """Of the run when it ends."""
        self.say(at, RunFinished(exit_code=0, makespan=Makespan(planned=at, realised=at, lower_bound=at)))
        return time_use(self.state)


def test_one_machine() -> None:
    run = Recording(FLEET[:1])
    run.attempt(A, (2.0, 3.0, 10.0), 3.5, 3.0)
    run.attempt(A, (13.0, 13.0, 16.0), 3.0)
    assert run.used(20.0) == TimeUse(tests=9.5, overhead=0.5, beginning=3.0, waiting=3.0, stragglers=4.0)


def test_the_start_of_a_runner_is_told_apart_where_it_is_known() -> None:
    run = Recording([replace(FLEET[0], start_up=0.4)])
    run.attempt(A, (2.0, 3.0, 10.0), 3.5, 3.0)
    run.attempt(A, (13.0, 13.0, 16.0), 3.0)
    expected = TimeUse(tests=9.5, starts=0.4, overhead=0.1, beginning=3.0, waiting=3.0, stragglers=4.0)
    assert run.used(20.0) == expected, "never more than there was besides tests"
    assert ("runner starts", 0.4) in expected.parts


def test_a_lost_shard_is_lost_with_its_start() -> None:
    run = Recording([replace(machine, start_up=1.0) for machine in FLEET])
    run.attempt(A, (0.0, 0.0, 20.0), 4.0, 4.0)
    run.attempt(B, (0.0, 0.0, 10.0), 4.0, ended=Ended.LOST)
    use = run.used(20.0)
    assert (use.tests, use.lost, use.starts, use.overhead) == (6.0, 8.0, 0.5, 5.5)


def test_the_time_of_a_slow_machine_weighs_less() -> None:
    run = Recording([FLEET[0], replace(FLEET[1], speed=0.5)])
    run.attempt(A, (0.0, 0.0, 6.0), 5.0)
    run.attempt(B, (0.0, 0.0, 3.0), 3.0)
    use = run.used(6.0)
    assert (use.tests, use.overhead, use.stragglers) == pytest.approx((6.5 / 1.5, 1 / 1.5, 1.5 / 1.5), abs=0.001)


def test_what_a_lost_machine_had_and_what_it_missed_is_lost() -> None:
    run = Recording(FLEET)
    run.attempt(A, (0.0, 0.0, 20.0), 4.0, 4.0)
    run.attempt(B, (0.0, 0.0, 10.0), 4.0, ended=Ended.LOST)
    use = run.used(20.0)
    assert (use.tests, use.lost, use.overhead) == (6.0, 8.0, 6.0)


def test_a_machine_in_quarantine_is_lost_and_no_straggler() -> None:
    run = Recording(FLEET)
    run.attempt(A, (0.0, 0.0, 20.0), 4.0)
    run.attempt(B, (0.0, 0.0, 10.0), 4.0)
    run.say(10.0, MachineQuarantined(machine=B, reason="sick"))
    use = run.used(20.0)
    assert (use.lost, use.stragglers) == (5.0, 0.0)


def test_tests_that_took_more_than_there_was_time_for_leave_no_part_below_nothing() -> None:
    """Its workers were more than is known."""
    run = Recording(FLEET[:1])
    run.attempt(A, (0.0, 0.0, 10.0), 9.0, 9.0)
    use = run.used(10.0)
    assert (use.tests, use.overhead) == (10.0, 0.0)


def test_tests_are_named_that_were_misjudged_by_much_and_the_worst_first() -> None:
    run = Recording(FLEET[:1])
    run.attempt(A, (0.0, 0.0, 60.0), 4.5, 0.5, 30.0, 5.9)
    assert [(each.test, each.expected, each.took) for each in run.used(60.0).misjudged] == [
        (TESTS[2].id, 4.0, 30.0),
        (TESTS[1].id, 4.0, 0.5),
    ]


def test_nothing_ran() -> None:
    assert Recording(FLEET).used(5.0) == TimeUse()


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 40), slots=st.integers(1, 3))
def test_of_any_run_the_parts_add_up_to_its_makespan(seed: int, count: int, slots: int) -> None:
    random = Random(seed)
    fleet = [
        MachineSpec(
            name=MachineName(f"m{n}"), cores=random.randint(slots, 8), slots=slots, speed=random.choice([1.0, 0.5])
        )
        for n in range(3)
    ]
    tests = make_tests(count)
    outages = [Outage(fleet[1].name, 20.0, random.choice([60.0, float("inf")]))]
    world = World(seconds={test.id: random.uniform(0.1, 30) for test in tests}, outages=outages)
    state = simulate(tests, fleet, world)
    use = time_use(state)
    assert sum(seconds for _, seconds in use.parts) == pytest.approx(state.elapsed, abs=0.01)
    assert all(seconds >= 0 for _, seconds in use.parts)
    assert use.tests > 0
