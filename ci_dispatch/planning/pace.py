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
from math import exp, log
from typing import NamedTuple

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
        files = {machine: _files(recent) for machine, recent in self._recent.items()}
        if len(files) < 2:
            return {}
        within, between = _variances(files)
        measured = {machine: _mean(own, within, between) for machine, own in files.items()}
        weights = {machine: 1 / (SPREAD**2 + error) for machine, (_, error) in measured.items()}
        common = sum(weights[m] * mean for m, (mean, _) in measured.items()) / sum(weights.values())
        slower = {m: (mean - common) * SPREAD**2 * weights[m] for m, (mean, _) in measured.items()}
        return {machine: min(MOST, max(1 / MOST, exp(-value))) for machine, value in slower.items()}


class _File(NamedTuple):
    """The surprises of one file on one machine."""

    results: int
    mean: float
    squares: float  # of their deviations from it, summed


def _files(recent: Iterable[tuple[Hashable, float]]) -> list[_File]:
    groups: dict[Hashable, list[float]] = {}
    for group, value in recent:
        groups.setdefault(group, []).append(value)
    return [_summed(values) for values in groups.values()]


def _summed(values: list[float]) -> _File:
    mean = sum(values) / len(values)
    return _File(len(values), mean, sum((value - mean) ** 2 for value in values) if len(values) > 1 else 0.0)


def _variances(machines: Mapping[MachineName, list[_File]]) -> tuple[float, float]:
    """Of results in a file of one machine, and of files in a machine: the method of moments, pooled over machines.

    Files count as one more that was misjudged by `SPREAD`, so that a machine with one file is not taken for that file.
    """
    files = [file for own in machines.values() for file in own]
    means = [_summed([file.mean for file in own]) for own in machines.values()]
    of_means = (SPREAD**2 + sum(own.squares for own in means)) / (1 + sum(own.results - 1 for own in means))
    freedom = sum(file.results - 1 for file in files)
    within = max(NOISE**2, sum(file.squares for file in files) / freedom if freedom else of_means)
    return within, max(0.0, of_means - within * sum(1 / file.results for file in files) / len(files))


def _mean(files: list[_File], within: float, between: float) -> tuple[float, float]:
    """A machine's mean surprise, and the variance of its error."""
    weights = [1 / (between + within / file.results) for file in files]
    total = sum(weights)
    return sum(weight * file.mean for weight, file in zip(weights, files, strict=True)) / total, 1 / total
