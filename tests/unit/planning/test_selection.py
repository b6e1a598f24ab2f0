"""Which machines begin: those worth their cost, or the cheapest that make a target. And the curve of machines."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, pairwise
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_dispatch.core.codec import replace
from ci_dispatch.core.model import MachineName, MachineSpec
from ci_dispatch.planning import selection
from ci_dispatch.planning.assignment import bound
from ci_dispatch.planning.selection import SAFE_SHARE, Selection, cheapest_in_time, curve, worth_their_cost


def machine(name: str, cores: int, *, speed: float = 1.0, cost: float = 0.0, start_up: float = 0.0) -> MachineSpec:
    return MachineSpec(name=MachineName(name), cores=cores, speed=speed, cost=cost, start_up=start_up)


def least(seconds: Sequence[float], machines: Sequence[MachineSpec]) -> float:
    return bound(seconds, machines, [each.starts_after for each in machines])


def names(chosen: Selection) -> list[str]:
    return [each.name for each in chosen.machines]


def in_time(seconds: list[float], machines: list[MachineSpec], target: float) -> Selection:
    return cheapest_in_time(seconds, machines, target, lambda fleet: least(seconds, fleet))


fleets = st.lists(
    st.builds(
        machine,
        st.just("m"),
        st.integers(1, 16),
        speed=st.sampled_from([0.5, 1.0, 2.0]),
        cost=st.sampled_from([0.0, 5.0, 30.0]),
        start_up=st.sampled_from([0.0, 2.0, 20.0]),
    ),
    min_size=1,
    max_size=6,
).map(lambda many: [replace(each, name=MachineName(f"m{number}")) for number, each in enumerate(many)])
work = st.lists(st.floats(0.1, 60), min_size=1, max_size=60)


def test_a_machine_joins_only_when_the_run_gets_shorter_by_more_than_it_costs() -> None:
    seconds = [1.0] * 400
    big = machine("big", 9)
    for cost, joins in ((0.0, True), (4.0, True), (4.5, False)):  # 44.4 s alone, 40 s together
        chosen = worth_their_cost(seconds, [big, machine("small", 1, cost=cost)])
        assert ("small" in names(chosen)) is joins
    assert chosen.left_out == {"small": "it would shorten the run by 4.4 s and costs 4.5 s"}
    assert chosen.told == ["small waits until it is needed: it would shorten the run by 4.4 s and costs 4.5 s"]


def test_a_start_up_is_a_cost_too() -> None:
    seconds = [1.0] * 40
    late = machine("late", 4, cost=0.5, start_up=9.0)
    assert names(worth_their_cost(seconds, [machine("a", 4), late])) == ["a"], "it begins a second before the end"
    assert names(worth_their_cost(seconds, [machine("a", 4), replace(late, start_up=0.0)])) == ["a", "late"]


def test_machines_without_a_cost_or_with_unknown_cores_join_and_one_is_always_left() -> None:
    assert names(worth_their_cost([1.0], [machine("a", 8), machine("b", 8)])) == ["a", "b"]
    unknown = [machine("a", 8, cost=90.0), machine("b", 0, cost=90.0)]
    assert names(worth_their_cost([1.0], unknown)) == ["b"]
    assert len(worth_their_cost([1.0], [machine("a", 8, cost=90.0), machine("b", 8, cost=90.0)]).machines) == 1


def test_the_cheapest_that_make_the_target_begin_and_the_others_are_named_with_the_reason() -> None:
    fleet = [machine("fast", 20, cost=60.0), machine("a", 4), machine("b", 4), machine("c", 4)]
    seconds = [1.0] * 360
    assert names(in_time(seconds, fleet, 60.0)) == ["a", "b"], "45 s"
    assert names(in_time(seconds, fleet, 40.0)) == ["a", "b", "c"]
    assert names(in_time(seconds, fleet, 21.0)) == ["fast"], "the only one that costs, and alone it is enough"
    chosen = in_time(seconds, fleet, 60.0)
    assert set(chosen.left_out) == {"fast", "c"}
    assert chosen.left_out[MachineName("c")] == "the others are planned to take 45.0 s, and 60 s is the target"


def test_a_target_that_nobody_makes_or_unknown_cores_let_all_join_and_say_so() -> None:
    fleet = [machine("a", 4), machine("b", 4)]
    chosen = in_time([1.0] * 360, fleet, 10.0)
    assert (names(chosen), chosen.left_out) == (["a", "b"], {})
    assert chosen.told == ["all machines join: no fewer are planned to take less than 90% of the target of 10 s"]
    chosen = in_time([1.0], [*fleet, machine("c", 0)], 1000.0)
    assert chosen.told == ["all machines join: the cores of c are not known"]


def test_who_alone_can_run_a_test_is_not_left_out() -> None:
    fleet = [machine("a", 8), machine("gpu", 1, cost=90.0), machine("b", 1, cost=90.0)]

    def covers(machines: Sequence[MachineSpec]) -> bool:
        return any(each.name == "gpu" for each in machines)

    assert names(worth_their_cost([1.0] * 80, fleet, covers)) == ["a", "gpu"]
    chosen = cheapest_in_time([1.0] * 80, fleet, 60.0, lambda some: least([1.0] * 80, some), covers)
    assert names(chosen) == ["a", "gpu"]


@given(seconds=work, fleet=fleets, target=st.floats(1, 300), most=st.sampled_from([0, 10]))
def test_no_set_that_makes_the_target_is_cheaper(
    seconds: list[float], fleet: list[MachineSpec], target: float, most: int
) -> None:
    patch = pytest.MonkeyPatch()
    with patch.context() as context:
        context.setattr(selection, "MOST_COMBINED", most)
        chosen = in_time(seconds, fleet, target)
    limit = SAFE_SHARE * target
    sets = [each for size in range(1, len(fleet) + 1) for each in combinations(fleet, size)]
    prices = [sum(one.cost for one in each) for each in sets if least(seconds, each) <= limit]
    assert {*names(chosen), *chosen.left_out} == {each.name for each in fleet}
    assert bool(chosen.machines)
    if not prices or chosen.note:
        assert list(chosen.machines) == fleet
        return
    assert least(seconds, chosen.machines) <= limit
    if most:
        assert sum(one.cost for one in chosen.machines) == min(prices)


@given(seconds=work, fleet=fleets)
def test_what_joins_is_worth_its_cost_and_what_is_left_out_is_not(
    seconds: list[float], fleet: list[MachineSpec]
) -> None:
    chosen = worth_their_cost(seconds, fleet)
    whole = least(seconds, chosen.machines)
    assert {*names(chosen), *chosen.left_out} == {each.name for each in fleet}
    for each in chosen.machines:
        others = [other for other in chosen.machines if other is not each]
        gain = least(seconds, others) - whole if others else inf
        assert gain > each.cost or not each.cost


@given(seconds=work, fleet=fleets)
def test_the_curve_falls_and_ends_with_all_machines(seconds: list[float], fleet: list[MachineSpec]) -> None:
    points = curve(seconds, fleet, lambda some: least(seconds, some))
    assert [len(point.machines) for point in points] == list(range(1, len(fleet) + 1))
    assert all(set(before.machines) < set(after.machines) for before, after in pairwise(points))
    assert all(before.seconds >= after.seconds * (1 - 1e-9) for before, after in pairwise(points))


def test_the_curve_of_a_large_fleet_has_a_few_points_of_which_the_last_is_everybody() -> None:
    fleet = [machine(f"m{number}", 4) for number in range(100)]
    points = curve([1.0] * 1000, fleet, lambda some: float(len(some)))
    assert len(points) == selection.CURVE_POINTS
    assert (len(points[0].machines), len(points[-1].machines)) == (1, 100)
    assert curve([1.0], [], lambda _: 0.0) == []
