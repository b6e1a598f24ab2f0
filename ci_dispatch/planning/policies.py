"""Other tools' ways to share a suite, written anew from their sources: which worker runs what, and when it ends. Pure.

Nothing here decides about a run: they are what a run is compared with. A unit stays whole under each of them.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import NamedTuple

from ci_dispatch.core.model import MachineName


class SharedUnit(NamedTuple):
    """What is shared, in the order of the listing."""

    file: str  # with its project
    believed: float  # seconds, as known before
    tests: int = 1


class SharingWorker(NamedTuple):
    """What runs one unit at a time."""

    machine: MachineName
    ready: float  # seconds until it may begin
    start_up: float  # of a test runner


Lasts = Callable[[int, int, float], tuple[float, bool]]
"""(worker, unit, seconds at which it begins): seconds until it is over, or its machine is gone; whether it is over."""


@dataclass(slots=True)
class SharedRun:
    """What came of it: when the last unit ended, seconds of units by machine, and units without a result."""

    makespan: float = 0.0
    busy: dict[MachineName, float] = field(default_factory=dict)
    lost: list[int] = field(default_factory=list)

    def ran(self, machine: MachineName, began: float, seconds: float) -> None:
        self.makespan = max(self.makespan, began + seconds)
        self.busy[machine] = self.busy.get(machine, 0.0) + seconds


SharingPolicy = Callable[[Sequence[SharedUnit], Sequence[SharingWorker], Lasts], SharedRun]


def by_count(units: Sequence[SharedUnit], workers: Sequence[SharingWorker], lasts: Lasts) -> SharedRun:
    """Playwright's `--shard`, one for each worker: slices of the listing with equally many tests."""
    ends = list(accumulate(unit.tests for unit in units))
    cuts = [bisect_right(ends, ends[-1] * part // len(workers)) for part in range(1, len(workers))]
    return _lists(_slices(units, cuts), workers, lasts)


def in_chunks(units: Sequence[SharedUnit], workers: Sequence[SharingWorker], lasts: Lasts) -> SharedRun:
    """pytest-split's `duration_based_chunks`: slices of the listing with about equal expected durations."""
    ends = list(accumulate(unit.believed for unit in units))
    cuts = [bisect_right(ends, ends[-1] * part / len(workers)) for part in range(1, len(workers))]
    return _lists(_slices(units, cuts), workers, lasts)


def least_duration(units: Sequence[SharedUnit], workers: Sequence[SharingWorker], lasts: Lasts) -> SharedRun:
    """pytest-split's `least_duration`: longest first, each to the group with the least, all groups alike."""
    return _lists(_longest_first([[number] for number in range(len(units))], units, len(workers)), workers, lasts)


def by_file(units: Sequence[SharedUnit], workers: Sequence[SharingWorker], lasts: Lasts) -> SharedRun:
    """Longest first by file and project, which stay whole."""
    files: dict[str, list[int]] = {}
    for number, unit in enumerate(units):
        files.setdefault(unit.file, []).append(number)
    return _lists(_longest_first(list(files.values()), units, len(workers)), workers, lasts)


def worksteal(units: Sequence[SharedUnit], workers: Sequence[SharingWorker], lasts: Lasts) -> SharedRun:
    """pytest-xdist's `worksteal`: equal slices; who has fewer than two left takes half of the longest queue.

    What a dead worker had goes to the others; each worker starts once.
    """
    queues = _slices(units, [len(units) * part // len(workers) for part in range(1, len(workers))])
    clock = [(worker.ready + worker.start_up, index) for index, worker in enumerate(workers)]
    orphans: list[int] = []
    idle: list[int] = []
    shared = SharedRun()
    heapq.heapify(clock)
    while clock:
        at, index = heapq.heappop(clock)
        queue = queues[index]
        if len(queue) < 2:
            queue += orphans[:1]
            del orphans[:1]
            longest = max(queues, key=len)
            if longest is not queue and len(queue) < 2 and (take := min(len(longest) - 2, len(longest) // 2)) > 0:
                queue += longest[-take:]
                del longest[-take:]
        if not queue:
            idle.append(index)
            continue
        unit = queue.pop(0)
        took, over = lasts(index, unit, at)
        if not over:
            orphans += [unit, *queue]
            queue.clear()
            for other in idle:  # they wait for news
                heapq.heappush(clock, (at + took, other))
            idle.clear()
            continue
        shared.ran(workers[index].machine, at, took)
        heapq.heappush(clock, (at + took, index))
    shared.lost = [*orphans, *(unit for queue in queues for unit in queue)]
    return shared


def one_by_one(units: Sequence[SharedUnit], workers: Sequence[SharingWorker], lasts: Lasts) -> SharedRun:
    """GNU parallel over SSH with a job for each unit: a free worker takes the next listed and starts a runner."""
    clock = [(worker.ready, index) for index, worker in enumerate(workers)]
    heapq.heapify(clock)
    todo = list(range(len(units)))[::-1]
    shared = SharedRun()
    while todo and clock:
        unit = todo.pop()
        at, index = heapq.heappop(clock)
        began = at + workers[index].start_up
        took, over = lasts(index, unit, began)
        if not over:
            todo.append(unit)
            continue
        shared.ran(workers[index].machine, began, took)
        heapq.heappush(clock, (began + took, index))
    shared.lost = todo
    return shared


SHARING_POLICIES: Mapping[str, tuple[str, SharingPolicy]] = {
    "shard": ("Playwright `--shard`", by_count),
    "pytest-split": ("pytest-split `duration_based_chunks`", in_chunks),
    "least-duration": ("pytest-split `least_duration`", least_duration),
    "lpt-file": ("longest first by file", by_file),
    "worksteal": ("pytest-xdist `worksteal`", worksteal),
    "parallel": ("GNU parallel, a job a test", one_by_one),
}
"""By the word for the command line: what it is, and how it shares."""


def _lists(queues: Sequence[Sequence[int]], workers: Sequence[SharingWorker], lasts: Lasts) -> SharedRun:
    """A fixed list for each worker: nobody helps another, and what a machine had that goes is lost."""
    shared = SharedRun()
    for index, (worker, queue) in enumerate(zip(workers, queues, strict=True)):
        at = worker.ready + worker.start_up
        for place, unit in enumerate(queue):
            took, over = lasts(index, unit, at)
            if not over:
                shared.lost += queue[place:]
                break
            shared.ran(worker.machine, at, took)
            at += took
    return shared


def _slices(units: Sequence[SharedUnit], cuts: Sequence[int]) -> list[list[int]]:
    return [list(range(begin, end)) for begin, end in pairwise([0, *cuts, len(units)])]


def _longest_first(groups: Sequence[Sequence[int]], units: Sequence[SharedUnit], workers: int) -> list[list[int]]:
    queues: list[list[int]] = [[] for _ in range(workers)]
    least = [(0.0, index) for index in range(workers)]
    work = [(sum(units[unit].believed for unit in group), group) for group in groups]
    for seconds, group in sorted(work, key=lambda pair: -pair[0]):
        total, index = least[0]
        queues[index] += group
        heapq.heapreplace(least, (total + seconds, index))
    return queues
