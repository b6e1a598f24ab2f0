"""A whole run in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random

from ci_dispatch.core.events import RunStarted
from ci_dispatch.core.groups import TestGroup
from ci_dispatch.core.model import MachineSpec, RunId, Test, TestId
from ci_dispatch.fleets.machines.fleet import LeasePolicy, MachineFleet
from ci_dispatch.fleets.simulated.executor import SimulatedFleet, VirtualClock
from ci_dispatch.fleets.simulated.world import World
from ci_dispatch.planning import planner
from ci_dispatch.run import messages as m
from ci_dispatch.run.control import RunControl, RunPolicy
from ci_dispatch.run.event_bus import EventBus
from ci_dispatch.run.journal import Journal
from ci_dispatch.run.ports import Reporter
from ci_dispatch.run.state import RunState
from report_merge.failures import UNKNOWN

LIMIT = 100_000.0  # seconds of virtual time: no run has a longer deadline


def run_started(
    tests: Sequence[Test],
    machines: Sequence[MachineSpec],
    expected: Mapping[TestId, float],
    groups: Sequence[TestGroup] = (),
) -> RunStarted:
    """How a simulated run begins that is planned with what is `expected`."""
    units = planner.units_of(tests, expected)
    return RunStarted(
        run=RunId("simulated"),
        title="simulated",
        runner="simulated",
        tests=tuple(tests),
        machines=tuple(machines),
        expected_seconds={str(test): seconds for test, seconds in expected.items()},
        planned=planner.planned_makespan(units, machines),
        lower_bound=planner.lower_bound(units, machines),
        groups=tuple(groups),
    )


def heard_by(state: RunState) -> Callable[[TestId], int]:
    return lambda test: len(state.ledger.records[test].history)


def simulate_run(
    started: RunStarted,
    world: World,
    *,
    policy: RunPolicy,
    leases: LeasePolicy,
    seed: int = 0,
    reporters: Sequence[Reporter] = (),
    journal: Journal | None = None,
    tick: float = 1.0,
) -> RunState:
    """The run that begins with `started`, to its end: control, queue and planner decide as they do in every run.

    Raises TimeoutError when it does not end within `LIMIT` virtual seconds.
    """
    clock, state = VirtualClock(), RunState()
    bus = EventBus(state, clock, reporters, journal)
    bus.publish(started)
    control = RunControl(
        state,
        bus.publish,
        fleets=[MachineFleet(state, state.machines, leases)],
        policy=policy,
        classify=lambda _result: UNKNOWN,
        random=Random(seed),
    )
    fleet = SimulatedFleet(started.machines, world, clock, heard_by(state))
    with bus.step():
        commands = control.begin(clock.now())
    ticked = clock.at
    while not control.finished:
        for command in commands:
            fleet.carry_out(command)
        message = fleet.next_message(tick)
        with bus.step():
            commands = control.step(message, clock.now())
            if clock.at >= ticked + tick and not control.finished:
                ticked = clock.at
                commands += control.step(m.Tick(), clock.now())
        if clock.at - fleet.epoch >= LIMIT:
            raise TimeoutError(f"the run does not end (seed {seed})")
    return state
