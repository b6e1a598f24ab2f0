"""The plan: nothing lost, nothing twice, units whole, weights respected, deterministic."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ci_dispatch.core.model import MachineName, MachineSpec, TestId
from ci_dispatch.planning import planner
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


def units(seconds: list[float], unit_size: int = 1) -> list[planner.Unit]:
    tests = make_tests(len(seconds), unit_size=unit_size)
    return planner.units_of(tests, {test.id: s for test, s in zip(tests, seconds, strict=True)})


@given(seconds=durations, fleet=machines, share=st.floats(0, 1), unit_size=st.integers(1, 7))
def test_heads_and_pulls_hand_out_every_unit_exactly_once(
    seconds: list[float], fleet: list[MachineSpec], share: float, unit_size: int
) -> None:
    whole = units(seconds, unit_size)
    heads = planner.heads(whole, fleet, share)
    given_ids = [unit.id for head in heads.values() for unit in head]
    rest = [unit for unit in whole if unit.id not in given_ids]
    turn = 0
    while rest:
        batch = planner.pull(rest, fleet[turn % len(fleet)], fleet)
        assert batch, "an idle machine always gets something while there is something"
        given_ids += [unit.id for unit in batch]
        rest = [unit for unit in rest if unit not in batch]
        turn += 1
    assert sorted(given_ids) == sorted(unit.id for unit in whole)


@given(seconds=durations, fleet=machines)
def test_no_plan_beats_the_lower_bound(seconds: list[float], fleet: list[MachineSpec]) -> None:
    whole = units(seconds)
    assert planner.planned_makespan(whole, fleet) >= planner.lower_bound(whole, fleet) * 0.999


def test_a_head_is_worth_cores_times_speed() -> None:
    heads = planner.heads(units([1.0] * 720), FLEET, 1.0)
    power = sum(machine.power for machine in FLEET)
    for machine in FLEET:
        assert abs(len(heads[machine.name]) - 720 * machine.power / power) <= 1


def test_the_longest_units_start_first_and_never_on_a_core_that_makes_them_the_last_to_end() -> None:
    heads = planner.heads(units([100.0, *[1.0] * 400]), FLEET, 1.0)
    longest = {name for name, head in heads.items() if any(unit.seconds == 100.0 for unit in head)}
    assert longest <= {"local", "ilko2"}, "the fastest cores"


def test_units_come_longest_first_and_alike_ones_in_the_same_order_always() -> None:
    assert [unit.id for unit in units([1.0, 3.0, 2.0, 3.0])] == ["u00001", "u00003", "u00002", "u00000"]


def test_the_head_grows_with_what_is_known_and_is_everything_for_one_machine() -> None:
    assert planner.head_share(0.0, 4) == planner.HEAD_SHARE_UNKNOWN
    assert planner.head_share(1.0, 4) == planner.HEAD_SHARE_KNOWN
    assert planner.HEAD_SHARE_UNKNOWN < planner.head_share(0.5, 4) < planner.HEAD_SHARE_KNOWN
    assert planner.head_share(0.0, 1) == 1.0


def test_the_head_leaves_as_much_to_pull_as_a_speed_may_be_wrong() -> None:
    assert planner.head_share(1.0, 4, 0.05) == planner.HEAD_SHARE_KNOWN
    assert planner.head_share(1.0, 4, 0.3) == 0.7
    assert planner.head_share(1.0, 4, 9.0) == planner.LEAST_HEAD_SHARE
    assert planner.head_share(0.0, 4, 0.3) == planner.HEAD_SHARE_UNKNOWN, "pulls of guesses cost more than they correct"
    assert planner.head_share(1.0, 1, 0.3) == 1.0


def test_a_tail_that_is_not_worth_a_start_goes_into_the_heads() -> None:
    assert planner.head_share(1.0, 4, seconds=70.0) == 1.0
    assert planner.head_share(1.0, 4, seconds=80.0) == planner.HEAD_SHARE_KNOWN
    assert planner.head_share(1.0, 4, 0.5, seconds=20.0) == planner.LEAST_HEAD_SHARE, "a speed may be wrong"
    assert planner.head_share(0.0, 4, seconds=1.0) == planner.HEAD_SHARE_UNKNOWN, "who knows how long it is"


def test_a_unit_is_never_cut() -> None:
    whole = units([1.0] * 30, unit_size=5)
    heads = planner.heads(whole, FLEET, 1.0)
    assert all(len(unit.tests) == 5 for head in heads.values() for unit in head)


def test_pulls_shrink_to_what_is_worth_a_start() -> None:
    rest = units([2.0] * 500)
    sizes = []
    while rest:
        batch = planner.pull(rest, FLEET[0], FLEET)
        sizes.append(len(batch))
        rest = [unit for unit in rest if unit not in batch]
    worth = planner.WORTH_A_START * planner.START_UP * FLEET[0].power
    assert sizes == sorted(sizes, reverse=True)
    assert all(size * 2.0 >= worth for size in sizes[:-1])


def test_a_pull_is_filled_up_with_what_still_fits() -> None:
    fleet = [MachineSpec(name=MachineName(name), cores=1) for name in ("a", "b")]
    batch = planner.pull(units([12.0, 8.0, 2.0, *[1.0] * 20]), fleet[0], fleet)  # its share: 42 / 2 / 1.5 = 14
    assert [unit.seconds for unit in batch] == [12.0, 2.0]


def test_the_slots_of_a_machine_share_what_it_is_worth() -> None:
    one, two = (MachineSpec(name=MachineName("a"), cores=4, slots=slots) for slots in (1, 2))
    other = MachineSpec(name=MachineName("b"), cores=4)
    rest = units([1.0] * 600)
    assert len(planner.pull(rest, two, [two, other])) == len(planner.pull(rest, one, [one, other])) / 2
    assert len(planner.pull(rest, one, [one])) == 600
    assert len(planner.pull(rest, two, [two])) < 600, "the other slot wants some too"


def test_a_planned_makespan_has_the_runners_start_and_the_longest_unit_in_it() -> None:
    machine = MachineSpec(name=MachineName("a"), cores=4, speed=0.5)
    assert planner.planned_makespan(units([8.0] * 4), [machine], 1.0) == planner.START_UP + 16.0
    assert planner.planned_makespan(units([20.0, 1.0]), [machine], 1.0) == planner.START_UP + 40.0


def test_a_planned_makespan_has_every_slot_in_it() -> None:
    one, two, four = (MachineSpec(name=MachineName("a"), cores=4, slots=slots) for slots in (1, 2, 4))
    work = units([8.0] * 8)
    planned = [planner.planned_makespan(work, [machine], 1.0) for machine in (one, two, four)]
    assert planned == [planner.START_UP + 16.0] * 3


def test_nothing_to_plan_is_an_empty_plan_not_an_error() -> None:
    assert planner.heads([], FLEET) == {}
    assert planner.heads(units([1.0]), []) == {}
    assert planner.pull([], FLEET[0], FLEET) == []
    assert planner.lower_bound([], FLEET) == 0.0
    assert planner.planned_makespan([], FLEET) == 0.0


def test_the_bound_is_the_longest_unit_when_that_binds() -> None:
    assert planner.lower_bound(units([60.0, 1.0]), FLEET) == 60.0
    assert planner.units_of(make_tests(1), {TestId("t00000"): 3.0})[0].seconds == 3.0
