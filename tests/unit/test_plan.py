"""The plan: nothing lost, nothing twice, units whole, weights respected, deterministic."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ci_dispatch.core import plan
from ci_dispatch.core.model import MachineName, MachineSpec, TestId
from tests.simulation import make_tests

FLEET = (
    MachineSpec(name=MachineName("local"), cores=16),
    MachineSpec(name=MachineName("moruk"), cores=24, speed=0.8),
    MachineSpec(name=MachineName("ilko2"), cores=4),
    MachineSpec(name=MachineName("pi"), cores=4, speed=0.5),
)

machines = st.lists(
    st.builds(
        MachineSpec,
        name=st.just(MachineName("m")),
        cores=st.integers(1, 64),
        speed=st.sampled_from([0.25, 0.5, 1.0, 2.0]),
    ),
    min_size=1,
    max_size=6,
).map(lambda specs: [MachineSpec(name=MachineName(f"m{n}"), cores=s.cores, speed=s.speed) for n, s in enumerate(specs)])
durations = st.lists(st.floats(0.01, 600), min_size=1, max_size=200)


def units(seconds: list[float], unit_size: int = 1) -> list[plan.Unit]:
    tests = make_tests(len(seconds), unit_size=unit_size)
    return plan.units_of(tests, {test.id: s for test, s in zip(tests, seconds, strict=True)})


@given(seconds=durations, fleet=machines, share=st.floats(0, 1), unit_size=st.integers(1, 7))
def test_heads_and_pulls_hand_out_every_unit_exactly_once(
    seconds: list[float], fleet: list[MachineSpec], share: float, unit_size: int
) -> None:
    whole = units(seconds, unit_size)
    heads = plan.heads(whole, fleet, share)
    given_ids = [unit.id for head in heads.values() for unit in head]
    rest = [unit for unit in whole if unit.id not in given_ids]
    turn = 0
    while rest:
        batch = plan.pull(rest, fleet[turn % len(fleet)], fleet)
        assert batch, "an idle machine always gets something while there is something"
        given_ids += [unit.id for unit in batch]
        rest = [unit for unit in rest if unit not in batch]
        turn += 1
    assert sorted(given_ids) == sorted(unit.id for unit in whole)


@given(seconds=durations, fleet=machines)
def test_no_plan_beats_the_lower_bound(seconds: list[float], fleet: list[MachineSpec]) -> None:
    whole = units(seconds)
    assert plan.planned_makespan(whole, fleet) >= plan.lower_bound(whole, fleet) * 0.999


def test_a_head_is_worth_cores_times_speed() -> None:
    heads = plan.heads(units([1.0] * 720), FLEET, 1.0)
    power = sum(machine.power for machine in FLEET)
    for machine in FLEET:
        assert abs(len(heads[machine.name]) - 720 * machine.power / power) <= 1


def test_the_longest_units_start_first_and_never_on_a_core_that_makes_them_the_last_to_end() -> None:
    heads = plan.heads(units([100.0, *[1.0] * 400]), FLEET, 1.0)
    longest = {name for name, head in heads.items() if any(unit.seconds == 100.0 for unit in head)}
    assert longest <= {"local", "ilko2"}, "the fastest cores"


def test_a_unit_is_never_cut() -> None:
    whole = units([1.0] * 30, unit_size=5)
    heads = plan.heads(whole, FLEET, 1.0)
    assert all(len(unit.tests) == 5 for head in heads.values() for unit in head)


def test_pulls_shrink_to_what_is_worth_a_start() -> None:
    rest = units([2.0] * 500)
    sizes = []
    while rest:
        batch = plan.pull(rest, FLEET[0], FLEET)
        sizes.append(len(batch))
        rest = [unit for unit in rest if unit not in batch]
    worth = plan.WORTH_A_START * plan.START_UP * FLEET[0].power
    assert sizes == sorted(sizes, reverse=True)
    assert all(size * 2.0 >= worth for size in sizes[:-1])


def test_nothing_to_plan_is_an_empty_plan_not_an_error() -> None:
    assert plan.heads([], FLEET) == {}
    assert plan.heads(units([1.0]), []) == {}
    assert plan.pull([], FLEET[0], FLEET) == []
    assert plan.lower_bound([], FLEET) == 0.0
    assert plan.planned_makespan([], FLEET) == 0.0


def test_the_bound_is_the_longest_unit_when_that_binds() -> None:
    assert plan.lower_bound(units([60.0, 1.0]), FLEET) == 60.0
    assert plan.units_of(make_tests(1), {TestId("t00000"): 3.0})[0].seconds == 3.0
