"""When the rest of a running shard is worth giving to an idle machine. Pure.

A runner cannot be asked to hand tests back, so its job is interrupted: what runs at that moment runs again, and the
runner starts once more. That has to be small beside what it saves.
"""

from __future__ import annotations

from collections.abc import Sequence

from ci_dispatch.core.codec import replace
from ci_dispatch.core.model import AttemptResult, Ended, MachineSpec, TestId, TestResult, Verdict
from ci_dispatch.planning.planner import START_UP, Unit

LEAST_GAIN = 30.0  # seconds that the run gets shorter, as expected now
GAIN_PER_LOSS = 2.0
COLD_SECONDS = 60.0  # for the work tree to come to a machine that has not had it, and to be made ready
REASON = "interrupted, for idle machines take a part of it"


def gain(rest: Sequence[Unit], machine: MachineSpec, idle: MachineSpec, *, cold: bool = False) -> float:
    """Seconds that are saved when `idle` takes its part of what `machine` has not begun; 0: it does not pay.

    `rest` are the units of the shard without a result, longest first: those that run now are taken to be its longest.
    `cold`: the idle machine has not run anything of this run yet.
    """
    running, waiting = rest[: machine.workers_per_shard], rest[machine.workers_per_shard :]
    if not running:
        return 0.0
    power = machine.workers_per_shard * machine.speed
    saved = sum(unit.seconds for unit in waiting) / power * idle.power / (idle.power + power)
    lost = START_UP + running[0].seconds / machine.speed + (COLD_SECONDS if cold else 0.0)
    return saved if saved >= max(LEAST_GAIN, GAIN_PER_LOSS * lost) else 0.0


def as_interrupted(result: AttemptResult, reported_before: frozenset[TestId]) -> AttemptResult:
    """The end of an attempt that was interrupted for this; `reported_before` had results by then.

    A test that fails while its runner is being interrupted says nothing: it runs again, as those do that had not begun.
    """
    if result.ended is not Ended.CANCELLED:  # it was faster
        return result
    return replace(
        result, reason=REASON, suspects=(), results=tuple(_fair(line, reported_before) for line in result.results)
    )


def _fair(line: TestResult, reported_before: frozenset[TestId]) -> TestResult:
    disturbed = line.verdict in (Verdict.FAILED, Verdict.FLAKY) and line.test not in reported_before
    if disturbed or line.verdict is Verdict.NOT_RUN:
        return TestResult(test=line.test, verdict=Verdict.NOT_RUN, reason=REASON)
    return line
