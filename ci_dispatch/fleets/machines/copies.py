"""When what still runs is worth running on an idle machine too. Pure.

The end of a run waits for its slowest test on its slowest machine. A second execution costs nobody anything but an idle
machine's time; it has to be expected to end clearly sooner all the same, for what is expected may be wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

from ci_dispatch.core.model import MachineSpec
from ci_dispatch.planning.planner import Unit

LEAST_GAIN = 10.0  # seconds
GAIN_PER_COST = 0.5  # of the seconds that the copy takes
RECENT = 256  # results of a job whose times are kept: as many workers may have nothing more to do
REASON = "its other execution had a result first"


def gain(rest: Sequence[Unit], machine: MachineSpec, idle: MachineSpec, running: float) -> float:
    """Seconds that `idle` is expected to end `rest` before `machine` does, which runs it already; 0: it does not pay.

    All of `rest` has been `running` for so many seconds on its machine. What takes longer than expected is expected
    to be late by as much again.
    """
    left = abs(_seconds(rest, machine) - running)
    copy = idle.starts_after + _seconds(rest, idle)
    saved = left - copy
    return saved if saved >= max(LEAST_GAIN, GAIN_PER_COST * copy) else 0.0


def _seconds(units: Sequence[Unit], machine: MachineSpec) -> float:
    each = [unit.seconds for unit in units]
    return max(sum(each) / machine.workers_per_shard, max(each, default=0.0)) / machine.speed
