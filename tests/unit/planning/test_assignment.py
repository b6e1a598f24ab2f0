"""Who gets which units: each once, the same always, never longer than simpler plans, and close to the lower bound."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_dispatch.core.model import MachineName, MachineSpec
from ci_dispatch.planning import assignment
from ci_dispatch.planning.assignment import assign, bound, makespan, width
from tests.unit.planning.test_planner import FLEET, durations, machines

start_ups = st.sampled_from([0.0, 2.0, 60.0])
unit_seconds = durations.map(lambda values: sorted(values, reverse=True))


def longest_first(seconds: list[float], fleet: list[MachineSpec], *, blind: bool = False) -> float:
    """Makespan of longest processing time first, written the plain way; `blind` takes all workers for equal."""
    workers = [machine for machine in fleet for _ in range(width(machine))]
    believed, true = [0.0] * len(workers), [0.0] * len(workers)
    for length in seconds:
        ends = [end + length / (1.0 if blind else workers[index].speed) for index, end in enumerate(believed)]
        index = ends.index(min(ends))
        believed[index] = ends[index]
        true[index] += length / workers[index].speed
    return max(true)


def in_turn(seconds: list[float], fleet: list[MachineSpec]) -> float:
    workers = [machine.speed for machine in fleet for _ in range(width(machine))]
    return max(sum(seconds[first :: len(workers)]) / speed for first, speed in enumerate(workers))


@given(seconds=unit_seconds, fleet=machines, start_up=start_ups)
def test_every_unit_has_one_machine_and_the_same_input_the_same_plan(
    seconds: list[float], fleet: list[MachineSpec], start_up: float
) -> None:
    plan = assign(seconds, fleet, [start_up] * len(fleet))
    assert len(plan) == len(fleet)
    assert sorted(unit for units in plan for unit in units) == list(range(len(seconds)))
    assert assign(seconds, fleet, [start_up] * len(fleet)) == plan


@given(seconds=unit_seconds, fleet=machines, start_up=start_ups)
def test_no_plan_is_longer_than_simpler_ones_or_shorter_than_the_bound(
    seconds: list[float], fleet: list[MachineSpec], start_up: float
) -> None:
    end = makespan(assign(seconds, fleet, [start_up] * len(fleet)), seconds, fleet, [start_up] * len(fleet))
    best = bound(seconds, fleet, [start_up] * len(fleet))
    assert end >= best * (1 - 1e-9)
    for simpler in (longest_first(seconds, fleet), longest_first(seconds, fleet, blind=True), in_turn(seconds, fleet)):
        assert end <= max(start_up + simpler, best * assignment.CLOSE_ENOUGH) * (1 + 1e-9)


@pytest.mark.parametrize("tests", [480, 720, 2_000, 10_000])
@pytest.mark.parametrize("seed", range(5))
def test_the_plan_is_within_one_percent_of_the_bound_where_no_unit_binds(tests: int, seed: int) -> None:
    random = Random(seed)
    seconds = sorted((random.lognormvariate(1.0, 0.7) for _ in range(tests)), reverse=True)
    starts = [2.0] * len(FLEET)
    best = bound(seconds, FLEET, starts)
    if seconds[0] + 2.0 >= best:
        pytest.skip("a single unit binds")
    assert makespan(assign(seconds, FLEET, starts), seconds, FLEET, starts) <= 1.01 * best


def test_what_longest_first_cannot_end_together_is_exchanged() -> None:
    random = Random(1)
    seconds = sorted((random.lognormvariate(1.0, 0.3) for _ in range(150)), reverse=True)
    best = bound(seconds, FLEET)
    assert longest_first(seconds, list(FLEET)) > 1.05 * best
    assert makespan(assign(seconds, FLEET), seconds, FLEET) < 1.01 * best


def test_longest_first_by_worker_is_tried_too() -> None:
    fleet = [MachineSpec(name=MachineName("a"), cores=2, speed=0.5), MachineSpec(name=MachineName("b"), cores=1)]
    seconds = [9.0, 8.0, 5.0, 5.0, 5.0, 2.0, 1.0]  # by power they end at 20 s, where no single exchange helps
    assert makespan(assign(seconds, fleet), seconds, fleet) == 18.0


def test_the_search_ends_when_its_budget_is_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    random = Random(1)
    seconds = sorted((random.lognormvariate(1.0, 0.3) for _ in range(150)), reverse=True)
    ends = []
    for comparisons in (0, 100, 1_000, assignment.COMPARISONS):
        monkeypatch.setattr(assignment, "COMPARISONS", comparisons)
        ends.append(makespan(assign(seconds, FLEET), seconds, FLEET))
    assert ends == sorted(ends, reverse=True)
    assert ends[0] > ends[-1]


def test_a_machine_on_which_every_unit_would_end_last_gets_nothing() -> None:
    fast, slow = MachineSpec(name=MachineName("a"), cores=8), MachineSpec(name=MachineName("b"), cores=1, speed=0.1)
    assert assign([3.0, 2.0, 1.0], [fast, slow], [2.0, 2.0]) == [[0, 1, 2], []]


def test_a_machine_that_begins_late_gets_less_and_none_when_the_others_are_done_by_then() -> None:
    fleet = [MachineSpec(name=MachineName(name), cores=1) for name in ("early", "late")]
    seconds = [1.0] * 30
    for late, units in ((0.0, 15), (10.0, 10), (20.0, 5), (30.0, 0), (90.0, 0)):
        plan = assign(seconds, fleet, [0.0, late])
        assert len(plan[1]) == units
        assert makespan(plan, seconds, fleet, [0.0, late]) == bound(seconds, fleet, [0.0, late]) == 30.0 - units


@given(seconds=unit_seconds, fleet=machines, starts=st.lists(st.floats(0, 100), min_size=6, max_size=6))
def test_no_plan_beats_the_bound_when_machines_begin_at_different_times(
    seconds: list[float], fleet: list[MachineSpec], starts: list[float]
) -> None:
    begins = starts[: len(fleet)]
    plan = assign(seconds, fleet, begins)
    assert sorted(unit for units in plan for unit in units) == list(range(len(seconds)))
    assert makespan(plan, seconds, fleet, begins) >= bound(seconds, fleet, begins) * (1 - 1e-9)


def test_nothing_to_assign_is_nothing() -> None:
    assert assign([], FLEET) == [[], [], [], []]
    assert assign([1.0], []) == []
    assert bound([], FLEET, [2.0] * 4) == bound([1.0], []) == 0.0
