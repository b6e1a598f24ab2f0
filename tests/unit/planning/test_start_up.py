"""Start-up learnt: what an invocation takes beyond its work, near the least of many, the usual while there are few."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_dispatch.core.codec import replace
from ci_dispatch.core.model import MachineName, MachineSpec, RunId
from ci_dispatch.planning.planner import START_UP
from ci_dispatch.planning.samples import DurationSample
from ci_dispatch.planning.start_up import KEPT, RUNS, InvocationSample, invocations_of, learn_start_up
from tests.duration_samples import sample

A = MachineName("a")


def invocation(seconds: float, tests: float = 0.0, longest: float = 0.0, workers: int = 1) -> InvocationSample:
    return InvocationSample(
        machine=A, run=RunId("r"), at=0.0, seconds=seconds, tests_seconds=tests, longest=longest, workers=workers
    )


def test_what_is_left_of_an_invocation_is_what_no_work_could_fill() -> None:
    assert invocation(25.0, tests=80.0, longest=10.0, workers=4).overhead == 5.0
    assert invocation(25.0, tests=80.0, longest=22.0, workers=4).overhead == 3.0
    assert invocation(1.0, tests=80.0).overhead == 0.0, "clocks that disagree give nobody time back"


def together(run: int, seconds: float, at: float = 0.0) -> list[DurationSample]:
    """Twenty equal tests over four workers, in an invocation that took so long."""
    busy = 20 * 5.0 / (seconds * 4)
    return [replace(sample(f"t{n}", run, 5.0, workers=4, busy=busy), at=run + at) for n in range(20)]


def test_samples_of_one_moment_on_one_machine_are_an_invocation() -> None:
    machine = MachineSpec(name=A, cores=4)
    [one] = invocations_of(together(0, 30.0), [machine])
    assert (one.machine, one.workers, one.longest, one.tests_seconds) == (A, 4, 5.0, 100.0)
    assert one.seconds == pytest.approx(30.0)
    assert one.overhead == pytest.approx(5.0)
    two = invocations_of([*together(0, 30.0), *together(0, 40.0, at=0.5)], [machine])
    assert [round(each.seconds) for each in two] == [30, 40]


@pytest.mark.parametrize("busy", [1.0, 0.25])
def test_a_share_at_its_bound_tells_nothing(busy: float) -> None:
    """One test that runs counts as one busy worker however little of the time it took."""
    assert invocations_of([sample("t", 0, 1.0, workers=4, busy=busy)], [MachineSpec(name=A, cores=4)]) == []


def test_invocations_that_overlap_and_old_runs_tell_nothing() -> None:
    assert invocations_of(together(0, 30.0), [MachineSpec(name=A, cores=8, slots=2)]) == []
    many = [one for run in range(RUNS + 3) for one in together(run, 30.0)]
    assert [each.run for each in invocations_of(many, [])] == [f"run-{run}" for run in range(3, RUNS + 3)]


def test_start_up_is_found_although_workers_wait_for_the_longest_test_at_the_end() -> None:
    random = Random(1)
    many = []
    for _ in range(40):
        work = [random.lognormvariate(1, 0.7) for _ in range(60)]
        workers = [7.0] * 4
        for seconds in work:
            workers[workers.index(min(workers))] += seconds
        many.append(invocation(max(workers), sum(work), max(work), 4))
    assert learn_start_up(many)[A] == pytest.approx(7.0, rel=0.15)


def test_one_invocation_moves_it_a_little() -> None:
    assert START_UP < learn_start_up([invocation(30.0)])[A] < 15.0
    assert learn_start_up([]) == {}


def test_the_newest_count() -> None:
    assert learn_start_up([invocation(60.0)] * 50 + [invocation(1.0)] * KEPT)[A] < START_UP


@given(st.lists(st.builds(invocation, *[st.floats(0, 1e6)] * 3, st.integers(0, 64)), min_size=1, max_size=40))
def test_it_lies_between_the_usual_and_what_was_seen(many: list[InvocationSample]) -> None:
    seen = [START_UP, *(each.overhead for each in many)]
    assert min(seen) - 1e-6 <= learn_start_up(many)[A] <= max(seen) + 1e-6
