"""How fast machines are today, compared with each other: what a run's own results say while it goes on.

A result's surprise is the logarithm of how long it took over how long it should have taken on its machine. Surprises
that all machines share are about the tests; what is left is about a machine: a variance-components model (Searle,
Casella and McCulloch 1992) of results in files in machines, and the best linear unbiased prediction of each machine's
part. Where durations are guesses, surprises differ from file to file, and little is believed of a machine until it has
run many.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Hashable, Iterable, Mapping
from math import exp, log, sqrt
from statistics import fmean

from ci_dispatch.core.model import MachineName

RECENT = 40  # results of each machine that count: it may become slow in the middle of a run
SPREAD = 0.3  # standard deviation of the logarithm of a machine's pace: about 35 % either way is usual
NOISE = 0.1  # of a result's surprise, at least
MOST = 4.0  # no machine is believed to be more than so many times slower or faster than it was configured
OVERHEAD = 0.1  # seconds added to both sides of a surprise: milliseconds say nothing about a machine


class Pace:
    """The last surprises of each machine, by the files (or whatever else) that share a misjudgement."""

    def __init__(self) -> None:
        self._recent: defaultdict[MachineName, deque[tuple[Hashable, float]]] = defaultdict(
            lambda: deque(maxlen=RECENT)
        )

    def took(self, machine: MachineName, seconds: float, expected: float, group: Hashable = "") -> None:
        """A result, in the order of their arrival; `expected`: seconds on this machine, as configured."""
        self._recent[machine].append((group, log((seconds + OVERHEAD) / (expected + OVERHEAD))))

    def factors(self) -> dict[MachineName, float]:
        """What to multiply configured speeds by, 1/`MOST` to `MOST`; a machine that is not named is as configured.

        With results of one machine only there is nothing to compare: its tests may be what takes longer.
        """
        cells = {machine: _by_group(recent) for machine, recent in self._recent.items()}
        if len(cells) < 2:
            return {}
        within, between = _variances(cells)
        measured = {machine: _mean(groups, within, between) for machine, groups in cells.items()}
        weights = {machine: 1 / (SPREAD**2 + error) for machine, (_, error) in measured.items()}
        common = sum(weights[m] * mean for m, (mean, _) in measured.items()) / sum(weights.values())
        slower = {m: (mean - common) * SPREAD**2 * weights[m] for m, (mean, _) in measured.items()}
        return {machine: min(MOST, max(1 / MOST, exp(-value))) for machine, value in slower.items()}


_Groups = Mapping[Hashable, list[float]]


def _by_group(recent: Iterable[tuple[Hashable, float]]) -> dict[Hashable, list[float]]:
    groups: dict[Hashable, list[float]] = {}
    for group, value in recent:
        groups.setdefault(group, []).append(value)
    return groups


def _variances(machines: Mapping[MachineName, _Groups]) -> tuple[float, float]:
    """Of results in a group of one machine, and of groups in a machine: the method of moments, pooled over machines.

    Files count as one that was misjudged by `SPREAD`, so that a machine with a single file is not taken for that file.
    """
    results, groups = _Spread(), _Spread()
    groups.add([-SPREAD / sqrt(2), SPREAD / sqrt(2)])
    for cells in machines.values():
        for values in cells.values():
            results.add(values)
        groups.add([fmean(values) for values in cells.values()])
    within = max(NOISE**2, results.variance if results.freedom else groups.variance)
    size = fmean(1 / len(values) for cells in machines.values() for values in cells.values())
    return within, max(0.0, groups.variance - within * size)


class _Spread:
    """A variance pooled over samples that each have a mean of their own."""

    def __init__(self) -> None:
        self.freedom = 0
        self._squares = 0.0

    def add(self, values: list[float]) -> None:
        mean = fmean(values)
        self._squares += sum((value - mean) ** 2 for value in values)
        self.freedom += len(values) - 1

    @property
    def variance(self) -> float:
        return self._squares / self.freedom if self.freedom else 0.0


def _mean(groups: _Groups, within: float, between: float) -> tuple[float, float]:
    """A machine's mean surprise, and the variance of its error."""
    weights = {group: 1 / (between + within / len(values)) for group, values in groups.items()}
    total = sum(weights.values())
    return sum(weights[group] * fmean(values) for group, values in groups.items()) / total, 1 / total
