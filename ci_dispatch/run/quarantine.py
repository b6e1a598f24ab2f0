"""Quarantine: when a machine that answers gets no more work, and when it does again. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from ci_dispatch.core.events import MachineQuarantined, MachineReleased
from ci_dispatch.core.model import AttemptResult, Ended, FailureCause, MachineName, ShardKind, Verdict
from ci_dispatch.run.ledger import AttemptRecord
from ci_dispatch.run.state import RunState

OPENS_AFTER = 3  # attempts in a row in which nothing on this machine went well
MASS_FAILURE = 3  # tests at least, for "it fails everything" to say something about the machine

_LOST = (Ended.LOST, Ended.LEASE_ENDED)
_SICK = (FailureCause.SETUP, FailureCause.MACHINE, FailureCause.CRASH)


def judge(state: RunState, name: MachineName) -> MachineQuarantined | MachineReleased | None:
    """The event that puts a machine into quarantine, or releases it, when what it has run by now calls for that."""
    machine = state.machines[name]
    here = [attempt for attempt in state.ledger.attempts.values() if attempt.lease.machine == name]
    others_pass = any(o.verdicts[Verdict.PASSED] for o in state.machines.values() if o is not machine)
    reason = opens(here, others_pass=others_pass)
    if reason and not machine.quarantined:
        return MachineQuarantined(machine=name, reason=reason)
    return MachineReleased(machine=name) if machine.quarantined and not reason else None


def opens(attempts: Iterable[AttemptRecord], *, others_pass: bool) -> str:
    """Why the machine with these attempts (in order) is put into quarantine, or an empty string.

    `others_pass`: tests pass on other machines, so that failing everything here is not the tests' doing. Tests that
    have failed before may well be to blame themselves: a retry in which all fail says nothing about the machine, nor
    does a copy, which may be one of a retry.
    """
    streak = 0
    reason = ""
    for attempt in attempts:
        if attempt.result is None or attempt.result.ended is Ended.CANCELLED:
            continue
        if attempt.result.cause is FailureCause.TREE:  # nor can any later one be of the run's content
            return attempt.result.reason
        bad = _infrastructure(attempt.result)
        if not bad and (failed := _failures_of_all(attempt.result)):
            if attempt.lease.shard.kind in (ShardKind.RETRY, ShardKind.COPY):
                continue
            bad = f"all {failed} tests failed, while others pass elsewhere" if others_pass else ""
        streak = streak + 1 if bad else 0
        reason = bad or reason
    return f"{streak} attempts in a row came to nothing, the last: {reason}" if streak >= OPENS_AFTER else ""


def _infrastructure(result: AttemptResult) -> str:
    """What went wrong besides its tests, or an empty string."""
    return (
        (result.reason or f"{result.cause or result.ended}") if result.ended in _LOST or result.cause in _SICK else ""
    )


def _failures_of_all(result: AttemptResult) -> int:
    """How many tests failed when all did, and enough to say something; else 0."""
    ran = [r.verdict for r in result.results if r.verdict not in (Verdict.NOT_RUN, Verdict.SKIPPED)]
    return len(ran) if len(ran) >= MASS_FAILURE and all(verdict is Verdict.FAILED for verdict in ran) else 0
