"""The number of workers that a machine does most with, found by careful steps from run to run.

A machine keeps its number until it is settled; then one with a quarter more is tried for a few runs, later one with a
quarter less. A number is kept only when it is better by more than the runs differ among themselves; a trial that is
clearly worse is undone after one run, and what was tried is left alone for `REMEMBERED` runs. Failures count: a run
that is faster and fails more does not do more. (Hill climbing, each step by a
significance test.)
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import log, sqrt
from statistics import fmean, median

from ci_dispatch.core.model import MachineName, MachineSpec, RunId, TestId, Verdict
from ci_dispatch.planning.durations import DurationEstimate
from ci_dispatch.planning.samples import DurationSample

SETTLED = 5  # runs with one number, before another is tried
TRIAL = 3  # runs with another number, until it is judged
MOST_PER_USUAL = 2  # times the number it began with are the most that are tried
REMEMBERED = 30  # runs of a machine that count
LEAST_GAIN = 0.03  # of what a machine does, for which a number is changed
NOISE = 0.05  # between two runs with the same number, at least
SURE = 2.0  # standard deviations
FULL = 0.5  # share of workers that are busy in an attempt as a whole, from which on a machine was at its work
LEAST_TESTS = 5  # that say how much a machine did in a run


@dataclass(frozen=True, slots=True)
class WorkersRun:
    """What a machine did in one run with a number of workers."""

    workers: int
    rate: float  # seconds of work, on a core of speed 1, done in a second


def tuned_workers(
    samples: Sequence[DurationSample],
    durations: Mapping[TestId, DurationEstimate],
    machines: Iterable[MachineSpec],
    most: int = 0,
) -> dict[MachineName, int]:
    """How many workers each machine that is tuned uses in the next run, from samples, newest last.

    `most`: how many the test runner can use at all; 0: as many as it is told. A machine with several slots is left as
    it is, for nobody can tell what one of them did, and so is one of which nobody knows the cores yet.
    """
    tuned = [machine for machine in machines if machine.tune_workers and machine.slots == 1]
    runs = runs_with_workers(samples, durations) if tuned else {}
    found: dict[MachineName, int] = {}
    for machine in tuned:
        own = runs.get(machine.name, [])
        usual = machine.workers or machine.cores or (own[0].workers if own else 0)
        if usual:
            highest = MOST_PER_USUAL * usual
            found[machine.name] = next_workers(own, usual, min(highest, most) if most else highest)
    return found


def runs_with_workers(
    samples: Sequence[DurationSample], durations: Mapping[TestId, DurationEstimate]
) -> dict[MachineName, list[WorkersRun]]:
    """How much each machine did in each run, oldest first, while it was at its work.

    Tests without a duration, and attempts that neither passed nor failed, say nothing.
    """
    runs: defaultdict[tuple[MachineName, RunId, int], list[DurationSample]] = defaultdict(list)
    for sample in samples:
        if sample.workers and sample.busy >= FULL and sample.test in durations:
            runs[sample.machine, sample.run, sample.workers].append(sample)
    found: defaultdict[MachineName, list[WorkersRun]] = defaultdict(list)
    for (machine, _, workers), own in runs.items():
        paces = [durations[s.test].seconds / s.seconds for s in own if s.verdict is Verdict.PASSED and s.seconds > 0]
        failed = sum(sample.verdict in (Verdict.FAILED, Verdict.FLAKY) for sample in own)
        if len(paces) >= LEAST_TESTS:
            found[machine].append(WorkersRun(workers, workers * median(paces) * len(paces) / (len(paces) + failed)))
    return dict(found)


def next_workers(runs: Sequence[WorkersRun], usual: int, most: int) -> int:
    """How many workers to use in the next run: 1 to `most`.

    Args:
        runs: of one machine, newest last.
        usual: the number while nothing is known.
        most: the highest number that may be tried.
    """
    kept = [run for run in runs if run.workers <= most][-REMEMBERED:]
    if not kept:
        return max(1, min(usual, most))
    rates: defaultdict[int, list[float]] = defaultdict(list)
    for run in kept:
        rates[run.workers].append(log(max(1e-9, run.rate)))
    noise = _noise(rates)
    best = _best(rates, noise)
    now = kept[-1].workers
    streak = next((n for n, run in enumerate(reversed(kept)) if run.workers != now), len(kept))
    if now != best:
        undecided = streak < TRIAL and len(rates[now]) < TRIAL
        return now if undecided and not _is_better(rates[best], rates[now], noise) else best
    if streak >= SETTLED:
        step = max(1, best // 4)
        for other in (min(most, best + step), max(1, best - step)):
            if not any(min(other, best) <= tried <= max(other, best) and tried != best for tried in rates):
                return other
    return best


def _best(rates: Mapping[int, list[float]], noise: float) -> int:
    """The number used most, or one that was tried and is better."""
    best = Counter({workers: len(own) for workers, own in rates.items()}).most_common(1)[0][0]
    for workers in sorted(rates, key=lambda tried: (abs(tried - best), tried)):
        if _is_better(rates[workers], rates[best], noise):
            best = workers
    return best


def _is_better(one: Sequence[float], other: Sequence[float], noise: float) -> bool:
    doubt = SURE * noise * sqrt(1 / len(one) + 1 / len(other))
    return fmean(one) - fmean(other) > max(LEAST_GAIN, doubt)


def _noise(rates: Mapping[int, list[float]]) -> float:
    """Standard deviation of a run, pooled over numbers of workers; `NOISE` at least."""
    squares = sum((rate - fmean(own)) ** 2 for own in rates.values() for rate in own)
    freedom = sum(len(own) - 1 for own in rates.values())
    return max(NOISE, sqrt((squares + NOISE**2) / (freedom + 1)))
