"""Which machines a run begins with: those that are worth their cost, or the cheapest that make a target time. Pure.

What a machine is left out for is said. Gains are of `assignment.bound`, in which each machine begins after its own
start-up; whether a target is made is decided by the plan itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, islice
from math import inf

from ci_dispatch.core.model import MachineName, MachineSpec, PlannedTime
from ci_dispatch.planning.assignment import bound_of, width

SAFE_SHARE = 0.9  # of a target that a plan may take: runs take up to that much longer than planned
MOST_COMBINED = 10  # machines of which every set is looked at; of more only one after another is left out
MOST_PLANNED = 30  # sets that are planned until one makes the target
CURVE_POINTS = 12

Covers = Callable[[Sequence[MachineSpec]], bool]
"""Whether these machines can run every test: groups may need what not all have."""

Planned = Callable[[Sequence[MachineSpec]], float]
"""Seconds that a run over these machines is planned to take."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The machines a run begins with, in the order of the fleet, and why the others wait."""

    machines: tuple[MachineSpec, ...]
    left_out: Mapping[MachineName, str] = field(default_factory=dict)
    note: str = ""  # what a person should know of it

    @property
    def told(self) -> list[str]:
        """A sentence for each machine that waits, and the note."""
        waits = [f"{name} waits until it is needed: {why}" for name, why in self.left_out.items()]
        return [*waits, *([self.note] if self.note else [])]


def anybody(_machines: Sequence[MachineSpec]) -> bool:
    """Of a run without needs."""
    return True


def worth_their_cost(seconds: Sequence[float], machines: Sequence[MachineSpec], covers: Covers = anybody) -> Selection:
    """All but those that shorten the run by no more than they cost; `seconds` are of units on a core of speed 1.

    A machine without a cost joins, and so does one whose cores nobody knows yet.
    """
    joined, left_out, work = list(machines), dict[MachineName, str](), _work(seconds)
    while len(joined) > 1:
        whole = work.least(joined)
        gains = [
            (work.least(others) - whole, machine)
            for machine in joined
            if machine.cost and machine.cores and covers(others := [each for each in joined if each is not machine])
        ]
        gain, worst = min(gains, key=lambda pair: pair[0] - pair[1].cost, default=(inf, joined[0]))
        if gain > worst.cost:
            break
        joined.remove(worst)
        left_out[worst.name] = f"it would shorten the run by {gain:.1f} s and costs {worst.cost:g} s"
    return Selection(tuple(joined), left_out)


def cheapest_in_time(
    seconds: Sequence[float], machines: Sequence[MachineSpec], target: float, planned: Planned, covers: Covers = anybody
) -> Selection:
    """The machines that cost least, and of these the fewest workers, whose plan takes `SAFE_SHARE` of `target`.

    All, when none make it, or when nobody knows how many cores one has.
    """
    if unknown := [machine.name for machine in machines if not machine.cores]:
        return Selection(tuple(machines), note=f"all machines join: the cores of {', '.join(unknown)} are not known")
    limit = SAFE_SHARE * target
    possible = (each for each in _cheapest_first(_work(seconds), machines, limit) if covers(each))
    for chosen in islice(possible, MOST_PLANNED):
        if (takes := planned(chosen)) <= limit:
            names = {machine.name for machine in chosen}
            reason = f"the others are planned to take {takes:.1f} s, and {target:g} s is the target"
            return Selection(tuple(chosen), {each.name: reason for each in machines if each.name not in names})
    note = f"all machines join: no fewer are planned to take less than {SAFE_SHARE:.0%} of the target of {target:g} s"
    return Selection(tuple(machines), note=note)


def curve(seconds: Sequence[float], machines: Sequence[MachineSpec], planned: Planned) -> list[PlannedTime]:
    """The planned time of one machine, of two and so on: first the best one, then what shortens the run most.

    At most `CURVE_POINTS`, the last of them all machines.
    """
    chosen: list[MachineSpec] = []
    sets: list[tuple[MachineSpec, ...]] = []
    left = sorted(machines, key=lambda machine: (-machine.power, machine.starts_after, machine.name))
    work = _work(seconds)
    while left:
        near = left[:CURVE_POINTS]  # of a large fleet not all need be looked at
        best = min(near, key=lambda machine: work.least([*chosen, machine]))
        left.remove(best)
        chosen.append(best)
        sets.append(tuple(chosen))
    steps = min(len(sets), CURVE_POINTS)
    shown = [sets[round(point * (len(sets) - 1) / max(1, steps - 1))] for point in range(steps)]
    return [PlannedTime(machines=tuple(machine.name for machine in each), seconds=planned(each)) for each in shown]


@dataclass(frozen=True, slots=True)
class _Work:
    """What the units of a run come to: their seconds together, and the longest."""

    seconds: float
    longest: float

    def least(self, machines: Sequence[MachineSpec]) -> float:
        return bound_of(self.seconds, self.longest, machines, [machine.starts_after for machine in machines])


def _price(machines: Sequence[MachineSpec]) -> tuple[float, int]:
    return sum(machine.cost for machine in machines), sum(map(width, machines))


def _cheapest_first(work: _Work, machines: Sequence[MachineSpec], limit: float) -> Iterator[Sequence[MachineSpec]]:
    """Sets of machines that may end within `limit`."""
    if len(machines) <= MOST_COMBINED:
        sets = (each for size in range(1, len(machines) + 1) for each in combinations(machines, size))
        yield from (each for each in sorted(sets, key=_price) if work.least(each) <= limit)
        return
    sets_found, chosen = list[Sequence[MachineSpec]](), list(machines)
    while chosen and work.least(chosen) <= limit:
        sets_found.append(tuple(chosen))
        fewer = [[other for other in chosen if other is not machine] for machine in chosen]
        possible = [each for each in fewer if each and work.least(each) <= limit]
        if not possible:
            break
        chosen = min(possible, key=_price)
    yield from reversed(sets_found)


def _work(seconds: Sequence[float]) -> _Work:
    return _Work(sum(seconds), max(seconds, default=0.0))
