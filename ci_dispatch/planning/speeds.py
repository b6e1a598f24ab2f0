"""How fast machines are, learnt from tests that ran on several of them.

The model is log-linear: the logarithm of a test's seconds is a part of the test, a part of the machine, and a part of
the load it ran under. The test's part is eliminated, so a test that ran on one machine only says nothing. A machine's
part is a deviation from its configured speed that is drawn to zero while data are few: ridge regression, the posterior
mean under a normal prior (Hoerl and Kennard 1970). Outliers weigh less (Huber 1964). It is a fit over all that is kept,
never a step from the last result, so it has nothing to oscillate about. Meant for up to a hundred machines: it inverts
one matrix of their number.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, log, sqrt
from statistics import fmean, median
from typing import NamedTuple

from ci_dispatch.core.model import MachineName, MachineSpec, TestId, Verdict
from ci_dispatch.planning.samples import DurationSample

SPREAD = 0.3  # standard deviation of the logarithm of a true speed over the configured one
PROJECT_SPREAD = 0.1  # the same of a machine's speed for one project over its speed for all
DAY = 0.1  # the same of a machine's speed in one run over its usual one: results of one run err together
JITTER = 0.02  # seconds by which start and end of a test are uncertain
LOAD = 0.2  # expected logarithm of a test's seconds on a full machine over those on an idle one
LOAD_SPREAD = 0.2
LOADS = 3  # into which a full load is divided
RUNS_KEPT = 10  # of each test on each machine, the newest: machines and tests change
TESTS_COMPARED = 1000  # at most, those on most machines: more would make nothing more certain than `DAY` leaves it
NOISE = 0.05  # of the logarithm of a test's seconds, at least
HUBER = 1.5  # standard deviations beyond which a residual weighs less
ROUNDS = 4  # of reweighting
LEAST_SECONDS = 1e-3


@dataclass(frozen=True, slots=True)
class LearntSpeed:
    """Of one core, relative like the configured one; 1.0 is a core on which a second of work takes a second."""

    speed: float
    error: float  # standard deviation of its logarithm, relative to the machines it was compared with
    tests: int  # how many that ran on other machines too


@dataclass(frozen=True, slots=True)
class LearntSpeeds:
    """Speeds by machine and project, and what load does; `of` and `seconds` know an answer for every machine."""

    machines: Mapping[MachineName, LearntSpeed] = field(default_factory=dict)
    projects: Mapping[tuple[MachineName, str], LearntSpeed] = field(default_factory=dict)
    workers: Mapping[MachineName, int] = field(default_factory=dict)  # what a full load is: those of the last run
    load: float = LOAD

    def of(self, machine: MachineName, project: str | None = None) -> LearntSpeed:
        """Of a project, or else of all; 1.0 with an error of `SPREAD` for a machine nobody described."""
        nothing = LearntSpeed(1.0, SPREAD, 0)
        everything = self.machines.get(machine, nothing)
        return everything if project is None else self.projects.get((machine, project), everything)

    def seconds(self, sample: DurationSample) -> float:
        """What the test would have taken on a core of speed 1 with every worker busy."""
        idle = _load(sample, self.workers) - 1
        return sample.seconds * self.of(sample.machine, sample.project).speed * exp(-self.load * idle)


class _Cell(NamedTuple):
    """What one machine's samples of one test under about one load say together."""

    test: TestId
    machine: MachineName
    value: float  # logarithm of seconds at the configured speed
    idle: float  # load - 1
    noise: float  # variance of `value` in units of the samples' variance
    jitter: float  # variance that the clock adds


def learn_speeds(samples: Sequence[DurationSample], machines: Iterable[MachineSpec]) -> LearntSpeeds:
    """Speeds of `machines` from samples, newest last. Only attempts that passed count.

    Of samples under other numbers of workers than the last the load is taken relative to the last.
    """
    configured = {sample.machine: sample.speed for sample in samples}
    configured |= {machine.name: machine.speed for machine in machines}
    workers = {sample.machine: sample.workers for sample in samples if sample.workers}
    passed = [sample for sample in samples if sample.verdict is Verdict.PASSED]
    days = {name: len(runs) for name, runs in _runs(passed).items()}
    cells = _cells(passed, configured, workers)
    everything, load = _fit(_compared(cells), configured, dict.fromkeys(configured, 0.0), SPREAD, days)
    names = list(configured)
    found: dict[tuple[MachineName, str], LearntSpeed] = {}
    by_project: defaultdict[str, list[_Cell]] = defaultdict(list)
    projects = {sample.test: sample.project for sample in passed}
    for cell in cells:
        by_project[projects[cell.test]].append(cell)
    for project, own in by_project.items() if len(by_project) > 1 else ():
        prior = {name: log(configured[name] / everything[name].speed) for name in names}
        fitted, _ = _fit(_compared(own), configured, prior, PROJECT_SPREAD, days)
        for name in names:
            error = sqrt(everything[name].error ** 2 + fitted[name].error ** 2)
            found[name, project] = LearntSpeed(fitted[name].speed, error, fitted[name].tests)
    return LearntSpeeds(everything, found, workers, load)


def _runs(samples: Iterable[DurationSample]) -> dict[MachineName, set[str]]:
    runs: defaultdict[MachineName, set[str]] = defaultdict(set)
    for sample in samples:
        runs[sample.machine].add(sample.run)
    return runs


def _load(sample: DurationSample, workers: Mapping[MachineName, int]) -> float:
    """Busy workers over those of a full machine; at most 2, beyond which nobody has measured."""
    full = workers.get(sample.machine, 0)
    return min(2.0, sample.busy * sample.workers / full if full and sample.workers else sample.busy)


def _cells(
    samples: Iterable[DurationSample], configured: Mapping[MachineName, float], workers: Mapping[MachineName, int]
) -> list[_Cell]:
    grouped: defaultdict[tuple[TestId, MachineName, int], list[DurationSample]] = defaultdict(list)
    for sample in samples:
        grouped[sample.test, sample.machine, round(_load(sample, workers) * LOADS)].append(sample)
    cells = []
    for (test, machine, _), every in grouped.items():
        kept = every[-RUNS_KEPT:]
        seconds = max(LEAST_SECONDS, median(sample.seconds for sample in kept))
        idle = fmean(_load(sample, workers) for sample in kept) - 1
        value = log(seconds * configured[machine])
        cells.append(_Cell(test, machine, value, idle, 1 / len(kept), (JITTER / seconds) ** 2 / len(kept)))
    return cells


def _compared(cells: Sequence[_Cell]) -> list[list[_Cell]]:
    """The cells of each test that can be compared; of many tests those with the most."""
    tests: defaultdict[TestId, list[_Cell]] = defaultdict(list)
    for cell in cells:
        tests[cell.test].append(cell)
    several = [own for own in tests.values() if len(own) > 1]
    return sorted(several, key=lambda own: (-len(own), own[0].test))[:TESTS_COMPARED]


def _fit(
    tests: Sequence[Sequence[_Cell]],
    configured: Mapping[MachineName, float],
    prior: Mapping[MachineName, float],
    spread: float,
    days: Mapping[MachineName, int],
) -> tuple[dict[MachineName, LearntSpeed], float]:
    """Each machine's speed, and what load does; `prior`: logarithm of how much slower than configured each may be."""
    index = {name: number for number, name in enumerate(configured)}
    slower = [*prior.values(), LOAD]
    precision = [*[1 / spread**2] * len(index), 1 / LOAD_SPREAD**2]
    seen = Counter(cell.machine for own in tests for cell in own)
    shared_tests = Counter(name for own in tests if len(names := {cell.machine for cell in own}) > 1 for name in names)
    noise = 0.25**2
    inverse = [
        [(1 / p if row == column else 0.0) for column, p in enumerate(precision)] for row in range(len(precision))
    ]
    for _ in range(ROUNDS if tests else 0):
        normal = [
            [(p if row == column else 0.0) for column, p in enumerate(precision)] for row in range(len(precision))
        ]
        right = [p * value for p, value in zip(precision, [*prior.values(), LOAD], strict=True)]
        residuals = []
        for own in tests:
            errors = [noise * cell.noise + cell.jitter for cell in own]
            rows = [(index[cell.machine], cell.idle, cell.value) for cell in own]
            left = [value - slower[number] - slower[-1] * idle for number, idle, value in rows]
            middle = _weighted_mean(left, [1 / error for error in errors])
            far = [abs(each - middle) / sqrt(error) for each, error in zip(left, errors, strict=True)]
            residuals += [each / sqrt(1 - 1 / len(own)) for each in far]
            shared = [
                error + seen[cell.machine] * DAY**2 / days[cell.machine]
                for error, cell in zip(errors, own, strict=True)
            ]
            weights = [min(1.0, HUBER / max(each, 1e-9)) / error for each, error in zip(far, shared, strict=True)]
            _accumulate(normal, right, rows, weights)
        noise = max(NOISE**2, noise * (1.4826 * median(residuals)) ** 2)  # the median of absolute residuals, as sigma
        inverse = _inverse(normal)
        slower = [sum(a * b for a, b in zip(row, right, strict=True)) for row in inverse]
    learnt = {}
    for name, number in index.items():
        error = _contrast(inverse, number, len(index))
        learnt[name] = LearntSpeed(configured[name] * exp(-slower[number]), error, shared_tests[name])
    return learnt, min(1.0, max(0.0, slower[-1]))


def _weighted_mean(values: Sequence[float], weights: Sequence[float]) -> float:
    return sum(v * w for v, w in zip(values, weights, strict=True)) / sum(weights)


def _accumulate(
    normal: list[list[float]],
    right: list[float],
    rows: Sequence[tuple[int, float, float]],
    weights: Sequence[float],
) -> None:
    """Add one test's rows (machine, load - 1, value) to the normal equations, its own part eliminated."""
    total = sum(weights)
    mean_idle = sum(w * idle for w, (_, idle, _) in zip(weights, rows, strict=True)) / total
    mean = sum(w * value for w, (_, _, value) in zip(weights, rows, strict=True)) / total
    for w, (machine, idle, value) in zip(weights, rows, strict=True):
        normal[machine][machine] += w
        normal[machine][-1] += w * (idle - mean_idle)
        normal[-1][machine] += w * (idle - mean_idle)
        normal[-1][-1] += w * (idle - mean_idle) ** 2
        right[machine] += w * (value - mean)
        right[-1] += w * (idle - mean_idle) * (value - mean)
        for other_w, (other, _, _) in zip(weights, rows, strict=True):
            normal[machine][other] -= w * other_w / total


def _contrast(covariance: Sequence[Sequence[float]], number: int, machines: int) -> float:
    """Standard deviation of one machine's part against the mean of all: what they share no comparison can tell."""
    if machines == 1:
        return sqrt(covariance[0][0])
    with_all = fmean(covariance[number][:machines])
    among_all = fmean(fmean(row[:machines]) for row in covariance[:machines])
    return sqrt(max(0.0, covariance[number][number] - 2 * with_all + among_all))


def _inverse(matrix: Sequence[Sequence[float]]) -> list[list[float]]:
    """Of a symmetric positive definite matrix, by Gauss and Jordan; no pivoting is needed for those."""
    size = len(matrix)
    work = [[*row, *[float(n == number) for n in range(size)]] for number, row in enumerate(matrix)]
    for column in range(size):
        pivot = work[column][column]
        own = work[column] = [value / pivot for value in work[column]]
        for row in range(size):
            factor = work[row][column]
            if row != column and factor:
                work[row] = [value - factor * other for value, other in zip(work[row], own, strict=True)]
    return [row[size:] for row in work]
