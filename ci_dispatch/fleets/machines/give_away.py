"""When the rest of a running shard is worth giving to an idle machine. Pure.

A runner cannot be asked to hand tests back, so its job is interrupted: what runs at that moment runs again, and the
runner starts once more. That has to be small beside what it saves.
"""

from __future__ import annotations

from collections.abc import Sequence

from ci_dispatch.core.model import MachineSpec
from ci_dispatch.planning.planner import Unit

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
    lost = idle.starts_after + running[0].seconds / machine.speed + (COLD_SECONDS if cold else 0.0)
    return saved if saved >= max(LEAST_GAIN, GAIN_PER_LOSS * lost) else 0.0
