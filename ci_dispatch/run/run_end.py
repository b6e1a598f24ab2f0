"""How a run ends: the exit code and the three makespans. Pure questions to the state."""

from __future__ import annotations

import signal
from collections.abc import Iterable

from ci_dispatch.core.errors import ExitCode
from ci_dispatch.core.events import VerdictReached
from ci_dispatch.core.model import ANY_MACHINE, Makespan, TestId, Verdict
from ci_dispatch.planning import planner
from ci_dispatch.run.ledger import Ledger
from ci_dispatch.run.state import MachineState, RunState

SHOWN_MACHINES = 3  # of those that are in trouble: the reason stands beside every test that did not run


def exit_code(state: RunState) -> ExitCode:
    """Interrupted before incomplete before failed: a lost test never reads as "tests failed"."""
    if state.interrupted is not None:
        return ExitCode.TERMINATED if state.interrupted == signal.SIGTERM else ExitCode.INTERRUPTED
    if not state.ledger.complete:
        return ExitCode.INCOMPLETE
    flaky = state.verdicts[Verdict.FLAKY] if state.started and state.started.flaky_is_failure else 0
    return ExitCode.TESTS_FAILED if state.verdicts[Verdict.FAILED] or flaky else ExitCode.PASSED


def expected_seconds(state: RunState) -> dict[TestId, float]:
    """What the plan was made of."""
    given = state.started.expected_seconds if state.started else {}
    return {TestId(test): seconds for test, seconds in given.items()}


def makespan(state: RunState, now: float, head_share: float) -> Makespan:
    """Planned and bound for the machines that got work, whose cores are known by now; realised by the clock."""
    machines = (machine for name, machine in state.machines.items() if name != ANY_MACHINE)
    fleet = [machine.spec for machine in machines if machine.first_work is not None]
    units = planner.units_of((record.test for record in state.ledger.records.values()), expected_seconds(state))
    return Makespan(
        planned=round(planner.planned_makespan(units, fleet, head_share), 3),
        realised=round(now - state.started_at, 3),
        lower_bound=round(planner.lower_bound(units, fleet), 3),
    )


def give_up(ledger: Ledger, reason: str) -> list[VerdictReached]:
    """A verdict for every test that has none: one that ran and failed has failed, whatever else was planned for it."""
    return [
        VerdictReached(test=test, verdict=Verdict.FAILED if record.failures else Verdict.NOT_RUN, reason=reason)
        for test, record in ledger.records.items()
        if record.verdict is None
    ]


def nobody_left(machines: Iterable[MachineState]) -> str:
    """That no machine is left to go on, and what is the matter with each."""
    told = [f"{machine.spec.name}: {machine.trouble}" for machine in machines if machine.trouble]
    more = [f"and {len(told) - SHOWN_MACHINES} more"] if len(told) > SHOWN_MACHINES else []
    return " - ".join(["no healthy machine", *told[:SHOWN_MACHINES], *more])
