"""How long tests will take, in seconds on a core of speed 1 with every worker busy, learnt from how long they took.

What counts as a sample of a test:

- One value for each run: the median of the attempts that count. A test that was tried three times, or that lies in a
  file that was split over shards, is no more certain for it.
- An attempt that passed. One that was skipped or not run says nothing: a skipped test is not a test of 0 seconds
  (open-metadata/OpenMetadata#30812 weighed a file of 20 minutes 0 that way).
- A failure, timed out or not, or a pass after the runner's own retry, says how long failing takes. That is what to
  expect of a test that has never passed, or not in its last `FAILING` runs; otherwise it says nothing.

A test nobody measured gets a high quantile of the known ones of its file, else of its project, else of the suite:
unknown tests at 0 would all pile up on one machine.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log, sqrt
from statistics import median

from ci_dispatch.core.model import Test, TestId, Verdict
from ci_dispatch.planning.samples import DurationSample
from ci_dispatch.planning.speeds import LearntSpeeds

HALF_LIFE = 3.0  # runs after which a sample weighs half: a test that was changed is followed, one bad day is not
FAILING = 3  # runs without a pass, until a test is expected to fail again
UNKNOWN_QUANTILE = 0.75
FEW = 3  # known tests of a file or project, fewer of which say nothing about the others
UNKNOWN_SECONDS = 1.0  # when nothing at all is known
UNKNOWN_SPREAD = 1.0
USUAL_SPREAD = 0.25  # of a known test, until its own samples say otherwise; two runs of one suite differ by about that
LEAST_SECONDS = 1e-3
_FAILURES = (Verdict.FAILED, Verdict.FLAKY)


@dataclass(frozen=True, slots=True)
class DurationEstimate:
    """How long a test is expected to take."""

    seconds: float  # on a core of speed 1
    spread: float  # standard deviation of the logarithm of what it will take over `seconds`
    runs: int  # that it was learnt from; 0: nobody has measured it


def learn_durations(
    tests: Iterable[Test],
    samples: Sequence[DurationSample],
    speeds: LearntSpeeds,
) -> dict[TestId, DurationEstimate]:
    """What to expect of each of `tests`, from samples, newest last."""
    wanted = list(tests)
    asked = {test.id for test in wanted}
    attempts: defaultdict[TestId, list[DurationSample]] = defaultdict(list)
    for sample in samples:
        if sample.test in asked and sample.verdict in (Verdict.PASSED, *_FAILURES):
            attempts[sample.test].append(sample)
    known = {test: _known(_by_run(own, speeds)) for test, own in attempts.items()}
    if not known:
        return {test.id: DurationEstimate(UNKNOWN_SECONDS, UNKNOWN_SPREAD, 0) for test in wanted}
    places: defaultdict[tuple[str, ...], list[float]] = defaultdict(list)
    for test in wanted:
        if test.id in known:
            for place in _places(test):
                places[place].append(known[test.id].seconds)
    guesses = {place: _unknown(seconds) for place, seconds in places.items() if len(seconds) >= FEW or not place}
    return {
        test.id: known.get(test.id) or next(guesses[place] for place in _places(test) if place in guesses)
        for test in wanted
    }


def _places(test: Test) -> tuple[tuple[str, ...], ...]:
    """Where to look for tests like this one, the nearest first: its file, its project, the suite."""
    return (test.project, test.file), (test.project,), ()


def _by_run(attempts: Sequence[DurationSample], speeds: LearntSpeeds) -> list[float]:
    """Seconds at speed 1, one value for each run that counts, newest last."""
    runs: dict[str, list[DurationSample]] = {}
    for sample in attempts:
        runs.setdefault(sample.run, []).append(sample)
    passed = [[sample for sample in run if sample.verdict is Verdict.PASSED] for run in runs.values()]
    fails = not any(passed) or (len(runs) >= FAILING and not any(passed[-FAILING:]))
    counted = list(runs.values())[-FAILING:] if fails else [run for run in passed if run]
    return [max(LEAST_SECONDS, median(speeds.seconds(sample) for sample in run)) for run in counted]


def _known(values: Sequence[float]) -> DurationEstimate:
    weights = [0.5 ** ((len(values) - 1 - age) / HALF_LIFE) for age in range(len(values))]
    middle = weighted_median(values, weights)
    squared = [w * log(value / middle) ** 2 for w, value in zip(weights, values, strict=True)]
    own = sum(squared) + USUAL_SPREAD**2  # the usual spread counts as one sample
    certain = sum(weights)
    return DurationEstimate(middle, sqrt(own / (certain + 1) * (1 + 1 / certain)), len(values))


def weighted_median(values: Sequence[float], weights: Sequence[float]) -> float:
    """The value with half of all weight on either side; between two values, where it lies there, their mean.

    Raises ValueError without values.
    """
    ranked = sorted(zip(values, weights, strict=True))
    if not ranked:
        raise ValueError("no values, no median")
    half, below = sum(weights) / 2, 0.0
    for (value, weight), (following, _) in pairwise(ranked):
        below += weight
        if below >= half:
            return value if below > half else (value + following) / 2
    return ranked[-1][0]


def _unknown(seconds: Sequence[float]) -> DurationEstimate:
    ranked = sorted(seconds)
    guess = ranked[min(len(ranked) - 1, int(len(ranked) * UNKNOWN_QUANTILE))]
    squared = [log(value / guess) ** 2 for value in ranked]
    return DurationEstimate(guess, sqrt((sum(squared) + UNKNOWN_SPREAD**2) / (len(ranked) + 1)), 0)
