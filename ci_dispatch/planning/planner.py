"""Who gets which units: a weighted head for each machine, then ever smaller pulls, longest first.

`assignment` fills the heads; the tail is pulled by weighted factoring (Hummel et al. 1996), so that a misjudged speed
costs a small shard and not the run. A unit runs on one worker, so no schedule beats the longest unit on the fastest
core. All functions are deterministic.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from math import inf

from ci_dispatch.core.codec import replace
from ci_dispatch.core.model import USUAL_START_UP, MachineName, MachineSpec, Test, TestId, UnitId
from ci_dispatch.planning.assignment import assign

# Measured by `python -m benchmarks plan policies`. Each pull starts a runner and waits for its longest test, so a small
# head costs most where durations are guesses; what it corrects is a wrong speed.
HEAD_SHARE_KNOWN = 0.92  # of all work, when every duration is known, and every speed
HEAD_SHARE_UNKNOWN = 0.9
LEAST_HEAD_SHARE = 0.5
EVERYTHING = 1.01  # a share that rounding cannot make less than all work
FACTORING = 1.5  # a pull takes its machine's share of 1/FACTORING of what is left
START_UP = USUAL_START_UP
WORTH_A_START = 3.0  # a pull lasts at least this many start-ups


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """Tests that stay together, with their expected seconds on one core of speed 1."""

    id: UnitId
    tests: tuple[TestId, ...]
    seconds: float


def units_of(tests: Iterable[Test], expected: Mapping[TestId, float]) -> list[Unit]:
    """The units of `tests`, longest first; ties by id, so that the same input gives the same plan."""
    grouped: dict[UnitId, list[TestId]] = {}
    for test in tests:
        grouped.setdefault(test.unit, []).append(test.id)
    units = (
        Unit(id=unit, tests=tuple(ids), seconds=sum(expected.get(test, 1.0) for test in ids))
        for unit, ids in grouped.items()
    )
    return sorted(units, key=lambda unit: (-unit.seconds, unit.id))


def lower_bound(units: Iterable[Unit], machines: Iterable[MachineSpec]) -> float:
    """Seconds no schedule can beat: all work spread over all power, or the longest unit on the fastest core."""
    units, machines = list(units), list(machines)
    if not units or not machines:
        return 0.0
    work = sum(unit.seconds for unit in units)
    longest = max(unit.seconds for unit in units)
    return max(work / sum(m.power for m in machines), longest / max(m.speed for m in machines))


def head_share(known: float, machines: int, speed_error: float = 0.0, seconds: float = inf) -> float:
    """How much of all work the heads take together, from the share of tests with a known duration (0 to 1).

    `speed_error` is the standard deviation of the logarithm of the least certain machine's speed: as much of what is
    known is left to pull. `seconds` is the lower bound of the run: what is left of a short one is not worth a start of
    its own. One machine has nobody to share with.
    """
    if machines == 1:
        return 1.0
    certain = max(LEAST_HEAD_SHARE, min(HEAD_SHARE_KNOWN, 1 - speed_error))
    share = HEAD_SHARE_UNKNOWN + (certain - HEAD_SHARE_UNKNOWN) * known
    short = (1 - share) * seconds < WORTH_A_START * START_UP
    return 1.0 if short and known > 0.5 else share  # of guesses nobody knows how long they are


def heads(
    units: Sequence[Unit], machines: Sequence[MachineSpec], share: float = HEAD_SHARE_KNOWN
) -> dict[MachineName, list[Unit]]:
    """What each machine begins with: together about `share` of all work, each in proportion to cores x speed.

    `share` 1.0 is a static plan that leaves no tail. With fewer units than machines some heads are empty; they are left
    out. The longest units are in the heads; who gets which is `assign`'s.
    """
    found = slot_heads(units, machines, share)
    return {name: [unit for head in slots for unit in head] for name, slots in found.items()}


def slot_heads(
    units: Sequence[Unit], machines: Sequence[MachineSpec], share: float = HEAD_SHARE_KNOWN
) -> dict[MachineName, list[list[Unit]]]:
    """The same in the first shard of each slot; empty ones are left out."""
    if not machines:
        return {}
    budget = share * sum(unit.seconds for unit in units)
    first: list[Unit] = []
    for unit in units:
        if budget <= 0:
            break
        first.append(unit)
        budget -= unit.seconds
    slots = [slot for machine in machines for slot in _slots(machine)]
    plan = assign([unit.seconds for unit in first], slots, [slot.starts_after for slot in slots])
    found: dict[MachineName, list[list[Unit]]] = {}
    for slot, numbers in zip(slots, plan, strict=True):
        if numbers:
            found.setdefault(slot.name, []).append([first[number] for number in numbers])
    return found


def _slots(machine: MachineSpec) -> list[MachineSpec]:
    """Each slot as a machine of its own."""
    if machine.slots <= 1:
        return [machine]
    return [replace(machine, slots=1, workers=machine.workers_per_shard)] * machine.slots


def pull(units: Sequence[Unit], machine: MachineSpec, machines: Sequence[MachineSpec]) -> list[Unit]:
    """What `machine` takes now from what is left, longest first; `machines` are all that may share it, it included.

    At least one unit, at least what is worth starting a runner for, at most a part of its share of the rest, so that
    pulls shrink and everybody ends together.
    """
    if not units:
        return []
    if [other.name for other in machines] == [machine.name] and machine.slots == 1:
        return list(units)  # nobody to share with: every further start of the runner is a loss
    rest = sum(unit.seconds for unit in units)
    power = machine.power / max(1, machine.slots)
    whole = sum(other.power for other in machines) or power
    target = max(rest * power / whole / FACTORING, WORTH_A_START * machine.starts_after * power)
    taken: list[Unit] = []
    work = 0.0
    for unit in units:
        if taken and work + unit.seconds > target:
            continue  # a shorter one may still fit
        taken.append(unit)
        work += unit.seconds
    return taken


def planned_makespan(units: Sequence[Unit], machines: Sequence[MachineSpec], share: float = HEAD_SHARE_KNOWN) -> float:
    """Seconds the run takes if everything lasts as long as expected: the same heads and pulls, played through."""
    if not units or not machines:
        return 0.0
    first = slot_heads(units, machines, share)
    taken = {unit.id for given in first.values() for head in given for unit in head}
    rest = [unit for unit in units if unit.id not in taken]
    clock = [
        (_duration(head, machine), index)
        for index, machine in enumerate(machines)
        for head, _ in zip_longest(first.get(machine.name, []), range(max(1, machine.slots)), fillvalue=())
    ]
    heapq.heapify(clock)
    end = 0.0
    while clock:
        at, index = heapq.heappop(clock)
        end = max(end, at)
        batch = pull(rest, machines[index], machines)
        if batch:
            gone = {unit.id for unit in batch}
            rest = [unit for unit in rest if unit.id not in gone]
            heapq.heappush(clock, (at + _duration(batch, machines[index]), index))
    return end


def _duration(units: Sequence[Unit], machine: MachineSpec) -> float:
    """Seconds one invocation takes: start-up and the work over its workers, or its longest unit."""
    if not units:
        return 0.0
    work = sum(unit.seconds for unit in units) / (machine.workers_per_shard * machine.speed)
    return machine.starts_after + max(work, max(unit.seconds for unit in units) / machine.speed)
