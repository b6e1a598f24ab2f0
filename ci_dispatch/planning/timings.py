"""How long a test will take, learnt from how long it took: durations are kept for a core of speed 1.

A skipped or failed test is no sample (open-metadata/OpenMetadata#30812 weighed a 20-minute file 0 that way), a test
never seen gets a high quantile of the known ones (unknown tests at 0 all pile up on one machine), and the median of the
last samples is what counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median

from ci_dispatch.core.model import TestId, Verdict
from ci_dispatch.planning.samples import DurationSample

SAMPLES_KEPT = 10
UNKNOWN_QUANTILE = 0.75
UNKNOWN_SECONDS = 1.0  # when nothing at all is known


@dataclass(frozen=True, slots=True)
class Timings:
    """Samples in seconds at speed 1, oldest first."""

    samples: Mapping[TestId, tuple[float, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, measured: Iterable[DurationSample]) -> Timings:
        """The last `SAMPLES_KEPT` passes of each test; `measured` has the newest last."""
        passed: defaultdict[TestId, list[float]] = defaultdict(list)
        for sample in measured:
            if sample.verdict is Verdict.PASSED:
                passed[sample.test].append(round(max(0.0, sample.seconds * sample.speed), 3))
        return cls({test: tuple(seconds[-SAMPLES_KEPT:]) for test, seconds in passed.items()})

    def expected(self, tests: Iterable[TestId]) -> dict[TestId, float]:
        """Seconds to expect for each of `tests`."""
        wanted = list(tests)
        known = {test: median(samples) for test in wanted if (samples := self.samples.get(test))}
        ranked = sorted(known.values()) or [UNKNOWN_SECONDS]
        unknown = ranked[min(len(ranked) - 1, int(len(ranked) * UNKNOWN_QUANTILE))]
        return {test: known.get(test, unknown) for test in wanted}
