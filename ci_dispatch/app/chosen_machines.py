"""Which machines a run begins with, from its configuration and what is expected of its tests."""

from __future__ import annotations

from collections.abc import Sequence

from ci_dispatch.app.run_spec import Expected, RunSpec, planned_share
from ci_dispatch.core.model import MachineSpec
from ci_dispatch.planning import planner
from ci_dispatch.planning.constraints import Constraints
from ci_dispatch.planning.selection import Planned, Selection, cheapest_in_time, worth_their_cost

TOO_FEW_KNOWN = 0.5  # of the durations: nobody knows how long a run of guesses takes


def planned_by(spec: RunSpec, expected: Expected) -> Planned:
    """How long a run takes over some machines, with the head that it would have."""
    units, share = planner.units_of(expected.tests, expected.seconds), spec.config.run.head_share

    def planned(fleet: Sequence[MachineSpec]) -> float:
        head = planned_share(expected, units, fleet) if share is None else share
        return planner.planned_makespan(units, fleet, head)

    return planned


def choose(spec: RunSpec, expected: Expected) -> tuple[RunSpec, Selection]:
    """A new run as it is planned, and the machines it begins with; the others join when they are needed."""
    spread = spec.with_machines(expected.workers, expected.speeds, expected.start_ups, expected.machine_workers)
    fleet, target = spread.config.fleet, spec.config.run.target_time
    selection = Selection(fleet)
    if target is not None or any(machine.cost for machine in fleet):
        if expected.known < TOO_FEW_KNOWN:
            note = f"all machines join: only {expected.known:.0%} of the durations are known"
            selection = Selection(fleet, note=note)
        else:
            constraints = Constraints(expected.groups, expected.tests, fleet)
            needs = {constraints.of(test.id).needs for test in expected.tests}

            def covers(machines: Sequence[MachineSpec]) -> bool:
                return all(any(labels <= machine.offers for machine in machines) for labels in needs)

            seconds = [unit.seconds for unit in planner.units_of(expected.tests, expected.seconds)]
            selection = (
                cheapest_in_time(seconds, fleet, target, planned_by(spec, expected), covers)
                if target is not None
                else worth_their_cost(seconds, fleet, covers)
            )
    return spread.with_head_for(expected, selection.machines), selection
