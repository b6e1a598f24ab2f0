"""Which machine gets which units so that the last ends soonest: Q||Cmax with a fixed cost for each machine.

Longest processing time first (Graham 1969; for uniform machines Gonzalez, Ibarra and Sahni 1977), then a local search
that moves or swaps units between the worker that ends last and another. Its budget is counted in comparisons, not in
seconds, so that the same input always gives the same plan.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import inf

from ci_dispatch.core.model import MachineSpec

COMPARISONS = 100_000  # that the local search may make: about a tenth of a second
CLOSE_ENOUGH = 1.001  # of the lower bound: estimates are never that good

Assignment = list[list[int]]  # for each machine the numbers of its units, in their order


def width(machine: MachineSpec) -> int:
    """How many units it runs at once, in all its slots."""
    return max(1, machine.slots * machine.workers_per_shard)


def assign(seconds: Sequence[float], machines: Sequence[MachineSpec], starts: Sequence[float] = ()) -> Assignment:
    """Units of `seconds` on a core of speed 1, longest first, for machines of which each begins after its `starts`.

    A machine's units are in the order in which its runner should begin them. By `makespan`, and but for what is close
    enough to the bound, the plan is never longer than longest processing time first, by machine or by worker, nor than
    the units dealt out in turn. Of plans close enough, the one that gives each machine work in proportion to its power.
    """
    if not machines or not seconds:
        return [[] for _ in machines]
    starts = starts or [0.0] * len(machines)
    enough = CLOSE_ENOUGH * bound(seconds, machines, starts)
    best: tuple[float, Assignment] | None = None
    for give in (_by_power, _by_worker, _in_turn):
        workers = give(seconds, machines, starts)
        end = _last(workers).end
        if end > enough and give is not _in_turn:
            end = _improve(workers, enough)
        if best is None or end < best[0]:
            best = end, _in_order(workers, starts)
        if best[0] <= enough:
            break
    assert best is not None
    return best[1]


def bound(seconds: Sequence[float], machines: Sequence[MachineSpec], starts: Sequence[float] = ()) -> float:
    """Seconds no assignment can beat: all work over the workers that have begun, or the longest unit on one of them."""
    if not seconds or not machines:
        return 0.0
    return bound_of(sum(seconds), max(seconds), machines, starts)


def bound_of(work: float, longest: float, machines: Sequence[MachineSpec], starts: Sequence[float] = ()) -> float:
    """The same, of units of which only their sum and the longest are known."""
    starts = starts or [0.0] * len(machines)
    longest = min(start + longest / machine.speed for start, machine in zip(starts, machines, strict=True))
    power, end = 0.0, inf
    for start, machine in sorted(zip(starts, machines, strict=True), key=lambda pair: pair[0]):
        if end <= start:
            break
        work, power = work + start * width(machine) * machine.speed, power + width(machine) * machine.speed
        end = work / power
    return max(end, longest)


def makespan(
    plan: Sequence[Sequence[int]],
    seconds: Sequence[float],
    machines: Sequence[MachineSpec],
    starts: Sequence[float] = (),
) -> float:
    """When the last machine ends whose free workers take its units in their order, as test runners do."""
    last = 0.0
    for units, machine, start in zip(plan, machines, starts or [0.0] * len(machines), strict=True):
        free = [start] * min(width(machine), len(units))
        for unit in units:
            last = max(last, end := free[0] + seconds[unit] / machine.speed)
            heapq.heapreplace(free, end)
    return last


@dataclass(slots=True)
class _Worker:
    machine: int
    speed: float
    end: float
    units: list[tuple[float, int]] = field(default_factory=list)  # seconds and number, shortest first

    def take(self, seconds: float, unit: int) -> None:
        insort(self.units, (seconds, unit))
        self.end += seconds / self.speed


def _workers(machines: Sequence[MachineSpec], starts: Sequence[float]) -> list[_Worker]:
    return [
        _Worker(number, machine.speed, starts[number])
        for number, machine in enumerate(machines)
        for _ in range(width(machine))
    ]


def _by_power(seconds: Sequence[float], machines: Sequence[MachineSpec], starts: Sequence[float]) -> list[_Worker]:
    """Each unit to the machine that would end first if its workers could share it, there to the worker that is free."""
    work = [0.0] * len(machines)
    powers = [width(machine) * machine.speed for machine in machines]
    workers = _workers(machines, starts)
    free: list[list[tuple[float, int]]] = [[] for _ in machines]
    for number, worker in enumerate(workers):
        free[worker.machine].append((worker.end, number))
    # Of machines alike only the one with the least work need be looked at.
    alike: dict[tuple[float, float, float], list[tuple[float, int]]] = {}
    first = min(starts)
    for index, machine in enumerate(machines):
        alike.setdefault((machine.speed, powers[index], starts[index] - first), []).append((0.0, index))
    groups = sorted(alike.items())
    for unit, length in enumerate(seconds):
        _, group = min(
            groups,
            key=lambda pair: (
                pair[0][2] + max((pair[1][0][0] + length) / pair[0][1], length / pair[0][0]),
                -pair[0][1],
            ),
        )
        index = group[0][1]
        work[index] += length
        heapq.heapreplace(group, (work[index], index))
        worker = workers[free[index][0][1]]
        worker.take(length, unit)
        heapq.heapreplace(free[index], (worker.end, free[index][0][1]))
    return workers


def _by_worker(seconds: Sequence[float], machines: Sequence[MachineSpec], starts: Sequence[float]) -> list[_Worker]:
    """Each unit to the worker that ends first with it. Workers of one speed differ only by when they are free."""
    workers = _workers(machines, starts)
    alike: dict[float, list[tuple[float, int]]] = {}
    for number, worker in enumerate(workers):
        alike.setdefault(worker.speed, []).append((worker.end, number))
    groups = sorted(alike.items(), reverse=True)
    for unit, length in enumerate(seconds):
        _, group = min(groups, key=lambda pair: pair[1][0][0] + length / pair[0])
        number = group[0][1]
        workers[number].take(length, unit)
        heapq.heapreplace(group, (workers[number].end, number))
    return workers


def _in_turn(seconds: Sequence[float], machines: Sequence[MachineSpec], starts: Sequence[float]) -> list[_Worker]:
    workers = _workers(machines, starts)
    for unit, length in enumerate(seconds):
        workers[unit % len(workers)].take(length, unit)
    return workers


def _last(workers: Iterable[_Worker]) -> _Worker:
    return max((worker for worker in workers if worker.units), key=lambda worker: worker.end)


def _improve(workers: Sequence[_Worker], target: float) -> float:
    """Relieve the worker that ends last, again and again, until that is `target`, nobody can, or the budget is spent.

    Returns when the last one ends.
    """
    left = COMPARISONS
    while left > 0 and (last := _last(workers)).end > target:
        for other in sorted(workers, key=lambda worker: worker.end):
            left -= len(last.units)
            if (found := _exchange(last, other)) is not None:
                _carry_out(last, other, *found)
                break
            if left <= 0:
                break
        else:
            break
    return _last(workers).end


def _exchange(last: _Worker, other: _Worker) -> tuple[tuple[float, int], tuple[float, int] | None] | None:
    """What `last` gives to `other` and takes for it, so that both end as early as can be; None: nothing."""
    best, found = last.end * (1 - 1e-9), None
    ideal = (last.end - other.end) / (1 / last.speed + 1 / other.speed)
    if ideal <= 0:
        return None
    for unit in last.units:
        near = bisect_left(other.units, (unit[0] - ideal, -1))
        for back in (None, *other.units[max(0, near - 1) : near + 1]):
            moved = unit[0] - (back[0] if back else 0.0)
            end = max(last.end - moved / last.speed, other.end + moved / other.speed)
            if end < best:
                best, found = end, (unit, back)
    return found


def _carry_out(last: _Worker, other: _Worker, unit: tuple[float, int], back: tuple[float, int] | None) -> None:
    last.units.remove(unit)
    other.take(*unit)
    moved = unit[0]
    if back:
        other.units.remove(back)
        other.end -= back[0] / other.speed
        insort(last.units, back)
        moved -= back[0]
    last.end -= moved / last.speed


def _in_order(workers: Sequence[_Worker], starts: Sequence[float]) -> Assignment:
    """The units of each machine by when their workers begin: a runner whose free workers take the next does so."""
    begins: list[list[tuple[float, int]]] = [[] for _ in starts]
    for worker in workers:
        at = starts[worker.machine]
        for seconds, unit in reversed(worker.units):
            begins[worker.machine].append((at, unit))
            at += seconds / worker.speed
    return [[unit for _, unit in sorted(units)] for units in begins]
