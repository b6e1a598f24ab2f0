"""How fast machines are, learnt from tests that ran on several of them.

The model is log-linear: the logarithm of a test's seconds is a part of the test, a part of the machine, and a part of
the load it ran under. The test's part is eliminated, so a test that ran on one machine only says nothing. Tests that
have run once, before anybody knew how long they are, are compared with others of their file, as far as tests of one
file are alike. A machine's part is a deviation from its configured speed that is drawn to zero while data are few:
ridge regression, the posterior mean under a normal prior (Hoerl and Kennard 1970). Outliers weigh less (Huber 1964). It
is a fit over all that is kept, never a step from the last result, so it has nothing to oscillate about. Meant for up to
a hundred machines: it inverts one matrix of their number.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, log, sqrt
from statistics import fmean, median
from typing import NamedTuple

from ci_dispatch.core.model import MachineName, MachineSpec, TestId, Verdict
from ci_dispatch.planning.ridge import Ridge, RidgeRow
from ci_dispatch.planning.samples import DurationSample

SPREAD = 0.5  # standard deviation of the logarithm of a true speed over the configured one, often just the default
PROJECT_SPREAD = 0.1  # the same of a machine's speed for one project over its speed for all
DAY = 0.1  # the same of a machine's speed in one run over its usual one: results of one run err together
JITTER = 0.02  # seconds by which start and end of a test are uncertain
LOAD = 0.2  # expected logarithm of a test's seconds on a full machine over those on an idle one
LOAD_SPREAD = 0.2
LOADS = 3  # into which a full load is divided
RUNS_KEPT = 10  # of each test on each machine, the newest: machines and tests change
MOST_COMPARED = 1000  # tests and files, those on most machines: more would add no certainty beyond what `DAY` leaves
MOST_OTHERS = 20  # machines that are not in the fleet any more: hosted runners have another name in every run
USUAL_NOISE = 0.25  # standard deviation of the logarithm of a test's seconds from run to run, to begin with
NOISE = 0.05  # the same, at least
HUBER = 1.5  # standard deviations beyond which a residual weighs less
ROUNDS = 4  # of reweighting
MAD_TO_SIGMA = 1.4826  # of normal residuals: their standard deviation over the median of their absolute values
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
        known = sample.machine in self.machines
        speed = self.of(sample.machine, sample.project).speed if known else sample.speed
        return sample.seconds * speed * exp(-self.load * (_load(sample, self.workers) - 1))


class _Cell(NamedTuple):
    """What a machine's samples under about one load say together: of one test, or of a file's tests that ran once."""

    test: TestId | None
    file: str
    machine: MachineName
    value: float  # logarithm of seconds at the configured speed
    idle: float  # load - 1
    noise: float  # variance of `value` in units of the samples' variance
    other: float  # variance that the clock adds, and how much tests of one file differ


def learn_speeds(samples: Sequence[DurationSample], machines: Iterable[MachineSpec]) -> LearntSpeeds:
    """Speeds of `machines`, and of those that earlier runs had most, from samples, newest last.

    Only attempts that passed count. Of samples under other numbers of workers than the last the load is taken relative
    to the last.
    """
    configured = {machine.name: machine.speed for machine in machines}
    others = Counter(sample.machine for sample in samples if sample.machine not in configured)
    former = {name for name, _ in others.most_common(MOST_OTHERS)}
    configured |= {sample.machine: sample.speed for sample in samples if sample.machine in former}
    workers = {sample.machine: sample.workers for sample in samples if sample.workers}
    passed = [sample for sample in samples if sample.verdict is Verdict.PASSED and sample.machine in configured]
    days = {name: len(runs) for name, runs in _runs(passed).items()}
    cells = _cells(passed, configured, workers)
    everything, load = _fit(_compared(cells), configured, dict.fromkeys(configured, 0.0), SPREAD, days)
    prior = {name: log(configured[name] / learnt.speed) for name, learnt in everything.items()}
    by_project: defaultdict[str, list[DurationSample]] = defaultdict(list)
    for sample in passed:
        by_project[sample.project].append(sample)
    found: dict[tuple[MachineName, str], LearntSpeed] = {}
    for project, own in by_project.items() if len(by_project) > 1 else ():
        fitted, _ = _fit(_compared(_cells(own, configured, workers)), configured, prior, PROJECT_SPREAD, days)
        for name, learnt in fitted.items():
            error = sqrt(everything[name].error ** 2 + learnt.error**2)
            found[name, project] = LearntSpeed(learnt.speed, error, learnt.tests)
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
        clock = (JITTER / seconds) ** 2 / len(kept)
        cells.append(_Cell(test, every[-1].file, machine, value, idle, 1 / len(kept), clock))
    return cells + _of_files(cells, samples)


def _of_files(cells: Iterable[_Cell], samples: Iterable[DurationSample]) -> list[_Cell]:
    """Cells of a file's tests that have run once: where they ran then has nothing to do with how long they are."""
    runs: defaultdict[TestId, set[tuple[str, MachineName]]] = defaultdict(set)
    for sample in samples:
        runs[sample.test].add((sample.run, sample.machine))
    grouped: defaultdict[tuple[str, MachineName], list[_Cell]] = defaultdict(list)
    for cell in cells:
        if cell.test is not None and len(runs[cell.test]) == 1:
            grouped[cell.file, cell.machine].append(cell)
    means = {place: fmean(cell.value for cell in own) for place, own in grouped.items()}
    squares = sum((cell.value - means[place]) ** 2 for place, own in grouped.items() for cell in own)
    freedom = sum(len(own) - 1 for own in grouped.values())
    if not freedom:
        return []
    differ = max(NOISE**2, squares / freedom)
    return [
        _Cell(None, file, machine, means[file, machine], fmean(cell.idle for cell in own), 0.0, differ / len(own))
        for (file, machine), own in grouped.items()
    ]


def _compared(cells: Sequence[_Cell]) -> list[list[_Cell]]:
    """The cells of each test and file that can be compared; of many those with the most."""
    groups: defaultdict[tuple[str, str], list[_Cell]] = defaultdict(list)
    for cell in cells:
        groups[cell.file if cell.test is None else "", cell.test or ""].append(cell)
    several = {group: own for group, own in groups.items() if len(own) > 1}
    return [
        several[group] for group in sorted(several, key=lambda group: (-len(several[group]), group))[:MOST_COMPARED]
    ]


def _fit(
    groups: Sequence[Sequence[_Cell]],
    configured: Mapping[MachineName, float],
    prior: Mapping[MachineName, float],
    spread: float,
    days: Mapping[MachineName, int],
) -> tuple[dict[MachineName, LearntSpeed], float]:
    """Each machine's speed, and what load does; `prior`: logarithm of how much slower than configured each may be."""
    index = {name: number for number, name in enumerate(configured)}
    start, spreads = [*prior.values(), LOAD], [*[spread] * len(index), LOAD_SPREAD]
    of_runs = {name: seen * DAY**2 / days[name] for name, seen in Counter(c.machine for g in groups for c in g).items()}
    noise = USUAL_NOISE**2
    slower, covariance = Ridge(start, spreads).solve()
    for _ in range(ROUNDS if groups else 0):
        equations = Ridge(start, spreads)
        far: list[float] = []
        for group in groups:
            rows = [RidgeRow(index[cell.machine], cell.idle, cell.value) for cell in group]
            errors = [noise * cell.noise + cell.other for cell in group]
            left = _standardised([row.value - slower[row.column] - slower[-1] * row.amount for row in rows], errors)
            far += [each / sqrt(1 - 1 / len(group)) for each in left]
            together = [error + of_runs[cell.machine] for error, cell in zip(errors, group, strict=True)]
            weights = [min(1.0, HUBER / max(each, 1e-9)) / error for each, error in zip(left, together, strict=True)]
            equations.add(rows, weights)
        noise = max(NOISE**2, noise * (MAD_TO_SIGMA * median(far)) ** 2)
        slower, covariance = equations.solve()
    pairs = [{(cell.machine, cell.test) for cell in group if cell.test} for group in groups]
    shared = Counter(name for own in pairs if len(own) > 1 for name, _ in own)
    learnt = {
        name: LearntSpeed(configured[name] * exp(-slower[n]), _contrast(covariance, n, len(index)), shared[name])
        for name, n in index.items()
    }
    return learnt, min(1.0, max(0.0, slower[-1]))


def _standardised(left: Sequence[float], errors: Sequence[float]) -> list[float]:
    """How far each lies from their weighted mean, in its own standard deviations."""
    total = sum(1 / error for error in errors)
    middle = sum(each / error for each, error in zip(left, errors, strict=True)) / total
    return [abs(each - middle) / sqrt(error) for each, error in zip(left, errors, strict=True)]


def _contrast(covariance: Sequence[Sequence[float]], number: int, machines: int) -> float:
    """Standard deviation of one machine's part against the mean of all: what they share no comparison can tell."""
    if machines == 1:
        return sqrt(covariance[0][0])
    with_all = fmean(covariance[number][:machines])
    among_all = fmean(fmean(row[:machines]) for row in covariance[:machines])
    return sqrt(max(0.0, covariance[number][number] - 2 * with_all + among_all))
