"""How long a test will take, learnt from how long it took: durations are kept for a core of speed 1.

A skipped or failed test is no sample (open-metadata/OpenMetadata#30812 weighed a 20-minute file 0 that way), a test
never seen gets a high quantile of the known ones (unknown tests at 0 all pile up on one machine), and the median of the
last samples is what counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from statistics import median

from ci_dispatch.core.model import TestId

SAMPLES_KEPT = 10
UNKNOWN_QUANTILE = 0.75
UNKNOWN_SECONDS = 1.0  # when nothing at all is known
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Timings:
    """Samples in seconds at speed 1, oldest first."""

    samples: Mapping[TestId, tuple[float, ...]] = field(default_factory=dict)

    def with_samples(self, new: Iterable[tuple[TestId, float]]) -> Timings:
        """These timings and the new samples; the oldest beyond `SAMPLES_KEPT` go."""
        merged = dict(self.samples)
        for test, seconds in new:
            merged[test] = (*merged.get(test, ()), round(max(0.0, seconds), 3))[-SAMPLES_KEPT:]
        return Timings(merged)

    def expected(self, tests: Iterable[TestId]) -> dict[TestId, float]:
        """Seconds to expect for each of `tests`."""
        wanted = list(tests)
        known = {test: median(samples) for test in wanted if (samples := self.samples.get(test))}
        ranked = sorted(known.values()) or [UNKNOWN_SECONDS]
        unknown = ranked[min(len(ranked) - 1, int(len(ranked) * UNKNOWN_QUANTILE))]
        return {test: known.get(test, unknown) for test in wanted}


def dumps(timings: Timings) -> str:
    samples = {test: list(samples) for test, samples in sorted(timings.samples.items())}
    return json.dumps({"version": _VERSION, "samples": samples}, ensure_ascii=False, indent=0)


def loads(text: str) -> Timings:
    """Raises ValueError for anything `dumps` did not write: the caller goes on without timings and says so."""
    try:
        raw = json.loads(text)
        if raw["version"] != _VERSION:
            raise ValueError(f"version {raw['version']!r}, this is version {_VERSION}")
        return Timings({TestId(test): tuple(map(_seconds, samples)) for test, samples in raw["samples"].items()})
    except (TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a timings file: {error}") from error


def _seconds(sample: object) -> float:
    if isinstance(sample, (int, float)) and isfinite(sample) and sample >= 0:
        return float(sample)
    raise ValueError(f"{sample!r} is no duration")
