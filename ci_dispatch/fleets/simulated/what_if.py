"""A recorded run under another fleet or another way to share the suite: what it would have come to. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ci_dispatch.core.codec import replace
from ci_dispatch.core.events import RunStarted
from ci_dispatch.core.model import MachineName, MachineSpec, TestId, Verdict
from ci_dispatch.fleets.machines.fleet import LeasePolicy
from ci_dispatch.fleets.simulated.run import simulate_run
from ci_dispatch.fleets.simulated.world import World
from ci_dispatch.planning import planner
from ci_dispatch.planning.assignment import width
from ci_dispatch.planning.policies import SharedRun, SharedUnit, SharingPolicy, SharingWorker
from ci_dispatch.run.control import RunPolicy
from ci_dispatch.run.state import RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedOutcome:
    """Seconds of a whole run, and what became of it."""

    makespan: float
    planned: float
    lower_bound: float
    busy: Mapping[MachineName, float]  # share of a machine's workers that had a test, 0 to 1
    lost: tuple[TestId, ...] = ()  # tests without a result


def outcome_of(state: RunState, seconds: float) -> SimulatedOutcome:
    """What a run that has finished, and took `seconds`, came to."""
    assert state.finished is not None
    worked: dict[MachineName, float] = {}
    for record in state.ledger.records.values():
        for _, machine, result in record.history:
            worked[machine] = worked.get(machine, 0.0) + (result.seconds or 0.0)
    makespan = state.finished.makespan
    return SimulatedOutcome(
        makespan=seconds,
        planned=makespan.planned,
        lower_bound=makespan.lower_bound,
        busy=_shares(worked, [machine.spec for machine in state.machines.values()], seconds),
        lost=tuple(t for t, record in state.ledger.records.items() if record.verdict in (None, Verdict.NOT_RUN)),
    )


def under_engine(
    started: RunStarted, fleet: Sequence[MachineSpec], world: World, policy: RunPolicy, leases: LeasePolicy
) -> SimulatedOutcome:
    """The run over `fleet`, as ci-dispatch shares it. Raises TimeoutError as `simulate_run`."""
    if len(fleet) == 1:  # nobody to share with
        policy, leases = replace(policy, head_share=1.0), replace(leases, head_share=1.0)
    names = {machine.name for machine in fleet}
    left_out = {name: why for name, why in started.left_out.items() if name in names}
    begun = replace(started, machines=tuple(fleet), left_out=left_out if len(left_out) < len(fleet) else {})
    state = simulate_run(begun, world, policy=policy, leases=leases)
    assert state.finished is not None
    return outcome_of(state, state.finished.makespan.realised)


def under_policy(
    started: RunStarted, fleet: Sequence[MachineSpec], world: World, share: SharingPolicy
) -> SimulatedOutcome:
    """The run over `fleet` as another tool shares it: a runner for each worker, every test once, no health checks.

    What a machine had when it went is without a result, unless the tool gives it to others.
    """
    tests: dict[str, list[TestId]] = {}
    files: dict[str, str] = {}
    for test in started.tests:
        tests.setdefault(test.unit, []).append(test.id)
        files.setdefault(test.unit, f"{test.project}\n{test.file}")
    expected = started.expected_seconds
    believed = {unit: sum(expected.get(test, 1.0) for test in own) for unit, own in tests.items()}
    units = [SharedUnit(files[unit], believed[unit], len(own)) for unit, own in tests.items()]
    ids = list(tests.values())
    machines = [machine for machine in fleet for _ in range(width(machine))]
    workers = [
        SharingWorker(each.name, world.delays_of(each.name).first, world.start_up_of(each.name)) for each in machines
    ]

    def lasts(worker: int, unit: int, at: float) -> tuple[float, bool]:
        machine, took = machines[worker], 0.0
        if world.gone(machine.name, at):
            return 0.0, False
        for test in ids[unit]:
            took += world.lasts(test, machine, at + took)
        left = world.gone_in(machine.name, at)
        return (took, True) if took <= left else (left, False)

    def as_believed(worker: int, unit: int, _at: float) -> tuple[float, bool]:
        return units[unit].believed / machines[worker].speed, True

    shared = share(units, workers, lasts)
    return SimulatedOutcome(
        makespan=shared.makespan,
        planned=share(units, workers, as_believed).makespan,
        lower_bound=_bound(started, fleet),
        busy=_shares(shared.busy, fleet, shared.makespan),
        lost=_lost(shared, ids),
    )


def _bound(started: RunStarted, fleet: Sequence[MachineSpec]) -> float:
    expected = {TestId(test): seconds for test, seconds in started.expected_seconds.items()}
    return planner.lower_bound(planner.units_of(started.tests, expected), fleet)


def _lost(shared: SharedRun, ids: Sequence[Sequence[TestId]]) -> tuple[TestId, ...]:
    return tuple(test for unit in sorted(shared.lost) for test in ids[unit])


def _shares(
    worked: Mapping[MachineName, float], fleet: Sequence[MachineSpec], makespan: float
) -> dict[MachineName, float]:
    return {
        machine.name: min(1.0, worked.get(machine.name, 0.0) / (width(machine) * makespan)) if makespan else 0.0
        for machine in fleet
    }
