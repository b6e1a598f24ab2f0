"""A run is simulated from its own journal as it was, and as it might have been."""

from __future__ import annotations

from random import Random

import pytest

from ci_dispatch.core.codec import replace
from ci_dispatch.core.model import MachineName, MachineSpec, Test, Verdict
from ci_dispatch.fleets.machines.fleet import LeasePolicy
from ci_dispatch.fleets.simulated.recorded_world import held_out, recorded_fleet, recorded_world
from ci_dispatch.fleets.simulated.what_if import SimulatedOutcome, under_engine, under_policy
from ci_dispatch.fleets.simulated.world import MachineDelays, Outage, World
from ci_dispatch.planning.policies import SHARING_POLICIES
from ci_dispatch.run.control import RunPolicy
from ci_dispatch.run.state import RunState
from tests.simulation import EventRecorder, make_tests, simulate

BIG, SMALL, SLOW = (MachineName(name) for name in ("big", "small", "slow"))
FLEET = [
    MachineSpec(name=BIG, cores=8),
    MachineSpec(name=SMALL, cores=2),
    MachineSpec(name=SLOW, cores=4),  # half as fast, which nobody configured
]
TRUE = {BIG: 1.0, SMALL: 1.0, SLOW: 0.5}
LEASES, POLICY = LeasePolicy(), RunPolicy()


class Recording:
    """A run of 200 tests, and what its journal has."""

    def __init__(self, seed: int, *, copies: bool = True, **truth: object) -> None:
        random = Random(seed)
        self.tests: tuple[Test, ...] = make_tests(200)
        seconds = {test.id: random.lognormvariate(1.0, 0.7) for test in self.tests}
        expected = {test: value * random.lognormvariate(0, 0.25) for test, value in seconds.items()}
        recorder = EventRecorder()
        world = World(seconds=seconds, speeds=TRUE, **truth)  # type: ignore[arg-type]
        self.state: RunState = simulate(
            self.tests, FLEET, world, expected=expected, reporters=[recorder], seed=seed, terms={"copies": copies}
        )
        self.world = recorded_world(self.state, recorder.events, LEASES.lease)
        assert self.state.finished is not None
        assert self.state.started is not None
        self.took = self.state.finished.makespan.realised
        self.started = self.state.started

    def again(self, fleet: list[MachineSpec] | None = None) -> SimulatedOutcome:
        machines = recorded_fleet(self.state) if fleet is None else fleet
        return under_engine(self.started, machines, self.world, POLICY, LEASES)


@pytest.mark.parametrize("seed", range(2))
def test_the_run_as_it_was_is_found_again(seed: int) -> None:
    slow_starts = {name: MachineDelays(check=1.5, first=9.0, later=0.5, start_up=4.0, collect=1.0) for name in TRUE}
    run = Recording(seed, delays=slow_starts)
    assert run.again().makespan == pytest.approx(run.took, rel=0.05)
    seen = run.world.delays[BIG]
    found = [seen.check, seen.first, seen.later, seen.start_up, seen.collect]
    assert found == pytest.approx([1.5, 9.0, 0.5, 4.0, 1.0], abs=0.1)


def test_what_was_fitted_to_a_machine_is_held_out() -> None:
    """The machine that ends last had delays that no other shows: only without its own they are missed.

    Without copies of stragglers, which would make up for them.
    """
    delays = {BIG: MachineDelays(start_up=60.0), SMALL: MachineDelays(first=4.0), SLOW: MachineDelays(first=4.0)}
    run, leases = Recording(1, delays=delays, copies=False), replace(LEASES, copies=False)
    others = held_out(run.world)
    assert others is not None
    assert others.delays[BIG].start_up == pytest.approx(2.0, abs=0.1)
    assert others.delays[SMALL].start_up == pytest.approx(31.0, abs=0.1), "between the two others"
    fitted, carried = (under_engine(run.started, recorded_fleet(run.state), world, POLICY, leases).makespan / run.took
                       for world in (run.world, others))  # fmt: skip
    assert fitted == pytest.approx(1.0, abs=0.02)
    assert abs(carried - 1) > 0.05
    alone = {BIG: run.world.delays[BIG]}
    assert held_out(replace(run.world, delays=alone)) is None


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("end", [70.0, float("inf")])
def test_a_machine_that_was_lost_is_lost_again(seed: int, end: float) -> None:
    run = Recording(seed, outages=[Outage(SMALL, 20.0, end)])
    [outage] = run.world.outages
    assert outage.machine == SMALL
    assert outage.begin == pytest.approx(20.0, abs=6.0)
    assert (outage.end == end) is (end == float("inf"))
    assert run.again().makespan == pytest.approx(run.took, rel=0.1)


def test_a_failure_and_a_crash_happen_again_as_often() -> None:
    tests = make_tests(200)
    failing, killer = tests[3].id, tests[7].id

    def twice(execution: int) -> Verdict:
        return Verdict.FAILED if execution < 2 else Verdict.PASSED

    run = Recording(1, behaviour={failing: twice}, deaths={killer: 1})
    assert [run.world.behaviour[failing](n) for n in range(4)] == [
        Verdict.FAILED,
        Verdict.FAILED,
        *[Verdict.PASSED] * 2,
    ]
    assert run.world.deaths == {killer: 1}
    again = run.again()
    assert again.lost == ()
    assert again.makespan == pytest.approx(run.took, rel=0.1)


def test_a_slow_machine_is_known_by_what_it_showed() -> None:
    speeds = Recording(2).world.speeds
    assert speeds[SLOW] / speeds[BIG] == pytest.approx(0.5, abs=0.1)


def test_less_of_a_fleet_takes_longer_and_more_takes_less() -> None:
    run = Recording(3)
    usual, fleet = run.again().makespan, list(recorded_fleet(run.state))
    alone = run.again([fleet[1]])
    assert alone.makespan > 3 * usual
    assert list(alone.busy) == [SMALL]
    assert alone.planned == pytest.approx(alone.makespan, rel=0.25)
    assert run.again([replace(fleet[0], cores=32), *fleet[1:]]).makespan < usual


def test_machines_that_waited_begin_where_nobody_else_is_left() -> None:
    run = Recording(3)
    *others, last = recorded_fleet(run.state)
    waits = {machine.name: "it costs too much" for machine in (others[1], last)}
    begun = replace(run.started, left_out=waits)
    assert under_engine(begun, [others[1], last], run.world, POLICY, LEASES).lost == ()
    some = under_engine(begun, [others[0], last], run.world, POLICY, LEASES)
    assert some.busy[last.name] == 0.0


@pytest.mark.parametrize("policy", ["shard", "pytest-split", "least-duration", "lpt-file"])
def test_no_fixed_list_is_better(policy: str) -> None:
    run = Recording(4)
    other = under_policy(run.started, recorded_fleet(run.state), run.world, SHARING_POLICIES[policy][1])
    assert other.lost == ()
    assert other.makespan > run.again().makespan
    assert other.lower_bound == pytest.approx(run.again().lower_bound, abs=0.01)
    assert set(other.busy) == set(TRUE)
    assert all(0 < share <= 1 for share in other.busy.values())


def test_a_fixed_list_loses_what_a_machine_had_that_goes() -> None:
    run = Recording(5, outages=[Outage(BIG, 20.0)])
    lost = under_policy(run.started, recorded_fleet(run.state), run.world, SHARING_POLICIES["shard"][1]).lost
    assert 20 < len(lost) < 200
    assert run.again().lost == ()


def test_tests_of_one_unit_stay_together_under_every_policy() -> None:
    tests = make_tests(12, unit_size=6)
    world = World(seconds={test.id: 1.0 for test in tests})
    fleet = [MachineSpec(name=BIG, cores=4)]
    state = simulate(tests, fleet, world)
    assert state.started is not None
    for _, policy in SHARING_POLICIES.values():
        assert under_policy(state.started, fleet, world, policy).makespan == 8.0, "start-up and six tests"
