"""How a run ends: the exit code and the three makespans. Pure questions to the state."""

from __future__ import annotations

import signal
from collections.abc import Collection, Iterable

from ci_dispatch.core.errors import ExitCode
from ci_dispatch.core.events import VerdictReached
from ci_dispatch.core.model import ANY_MACHINE, FailureCause, Makespan, ShardKind, TestId, Verdict
from ci_dispatch.planning import planner
from ci_dispatch.run.ledger import Ledger
from ci_dispatch.run.state import MachineState, RunState

SHOWN_MACHINES = 3  # of those that are in trouble: the reason stands beside every test that did not run


def exit_code(state: RunState) -> ExitCode:
    """Interrupted before incomplete before failed: a lost test never reads as "tests failed".

    A selection of which every test was skipped is as good as empty, and an empty one is never a pass.
    """
    if state.interrupted is not None:
        return ExitCode.TERMINATED if state.interrupted == signal.SIGTERM else ExitCode.INTERRUPTED
    if not state.ledger.complete or _cut_short(state.ledger):
        return ExitCode.INCOMPLETE
    flaky = state.verdicts[Verdict.FLAKY] if state.started and state.started.flaky_is_failure else 0
    if state.verdicts[Verdict.FAILED] or flaky:
        return ExitCode.TESTS_FAILED
    all_skipped = state.verdicts[Verdict.SKIPPED] == state.total
    asked = state.started is not None and state.started.fail_if_all_skipped
    return ExitCode.NOTHING_TO_RUN if all_skipped and asked else ExitCode.PASSED


def _cut_short(ledger: Ledger) -> bool:
    """Whether a test had another attempt coming, and the last one was of another work tree than the run's.

    A copy counts for the tests that have their result from it, and only for these.
    """
    last = {
        test: attempt
        for number, attempt in ledger.attempts.items()
        for test in attempt.lease.shard.tests
        if attempt.lease.shard.kind is not ShardKind.COPY or number in {n for n, _, _ in ledger.records[test].history}
    }
    results = (attempt.result for attempt in last.values() if not attempt.stale)
    return any(result is not None and result.cause is FailureCause.TREE for result in results)


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
        VerdictReached(test=test, verdict=Verdict.FAILED, reason=f"failed, and was not tried again: {reason}")
        if record.failures
        else VerdictReached(test=test, verdict=Verdict.NOT_RUN, reason=reason)
        for test, record in ledger.records.items()
        if record.verdict is None
    ]


def nobody_left(machines: Iterable[MachineState], lacking: Collection[str] = ()) -> str:
    """That no machine is left to go on, and what is the matter with each of these; `lacking` are labels of theirs
    that no machine has that is well."""
    told = [f"{machine.spec.name}: {machine.why_unusable}" for machine in machines if machine.why_unusable]
    more = [f"and {len(told) - SHOWN_MACHINES} more"] if len(told) > SHOWN_MACHINES else []
    nobody = f"no healthy machine has {', '.join(lacking)}" if lacking else "no healthy machine"
    return " - ".join([nobody, *told[:SHOWN_MACHINES], *more])
