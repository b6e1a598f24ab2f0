"""Simulated runs for tests and benchmarks: made-up suites, and policies by the names of their numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from random import Random
from typing import Any

from ci_dispatch.core.events import Event, Stamped
from ci_dispatch.core.groups import TestGroup
from ci_dispatch.core.model import MachineSpec, Test, TestId, UnitId
from ci_dispatch.fleets.machines.fleet import LeasePolicy, MachineFleet
from ci_dispatch.fleets.simulated.executor import SimulatedFleet, VirtualClock
from ci_dispatch.fleets.simulated.run import heard_by, run_started, simulate_run
from ci_dispatch.fleets.simulated.world import Behaviour, Outage, Slowdown, World, passes
from ci_dispatch.run.control import RunControl, RunPolicy
from ci_dispatch.run.journal import Journal
from ci_dispatch.run.ports import Reporter
from ci_dispatch.run.state import RunState
from report_merge.failures import UNKNOWN

__all__ = [
    "Behaviour", "EventRecorder", "Outage", "SimulatedFleet", "Slowdown", "VirtualClock", "World", "control_of",
    "heard_by", "make_tests", "passes", "run_started", "simulate",
]  # fmt: skip


def make_tests(count: int, *, unit_size: int = 1) -> tuple[Test, ...]:
    return tuple(
        Test(id=TestId(f"t{n:05}"), unit=UnitId(f"u{n // unit_size:05}"), file=f"f{n // unit_size}", title=(f"t{n}",))
        for n in range(count)
    )


def _policies(**numbers: Any) -> tuple[RunPolicy, LeasePolicy]:
    """From fields of `RunPolicy` and `LeasePolicy`."""
    ours = {f.name for f in fields(RunPolicy)}
    theirs = {f.name for f in fields(LeasePolicy)}
    assert numbers.keys() <= ours | theirs, numbers
    policy = RunPolicy(**{name: value for name, value in numbers.items() if name in ours})
    leases = LeasePolicy(**{name: value for name, value in numbers.items() if name in theirs})
    return policy, leases


def control_of(state: RunState, publish: Callable[[Event], None], *, seed: int = 1, **numbers: Any) -> RunControl:
    """A run over machines, whose start was published; `numbers` are fields of `RunPolicy` and `LeasePolicy`."""
    policy, leases = _policies(**numbers)
    fleet = MachineFleet(state, state.machines, leases)
    return RunControl(
        state, publish, fleets=[fleet], policy=policy, classify=lambda _result: UNKNOWN, random=Random(seed)
    )


class EventRecorder:
    """A reporter that keeps what a simulated run tells."""

    name = "recorder"

    def __init__(self) -> None:
        self.events: list[Stamped] = []

    def handle(self, stamped: Stamped, state: RunState) -> None:
        self.events.append(stamped)

    def tick(self, now: float, state: RunState) -> None: ...
    def close(self) -> None: ...

    def of(self, kind: type[Event]) -> list[Event]:
        return [stamped.event for stamped in self.events if isinstance(stamped.event, kind)]


def simulate(
    tests: Sequence[Test],
    machines: Sequence[MachineSpec],
    world: World,
    *,
    expected: Mapping[TestId, float] | None = None,
    terms: Mapping[str, Any] | None = None,
    groups: Sequence[TestGroup] = (),
    seed: int = 0,
    reporters: Sequence[Reporter] = (),
    journal: Journal | None = None,
    tick: float = 1.0,
) -> RunState:
    """A whole run on paper; `terms` are fields of `RunPolicy` and `LeasePolicy`. Raises as `simulate_run`."""
    policy, leases = _policies(**(terms or {}))
    return simulate_run(
        run_started(tests, machines, expected if expected is not None else world.seconds, groups),
        world,
        policy=policy,
        leases=leases,
        seed=seed,
        reporters=reporters,
        journal=journal,
        tick=tick,
    )
