"""The files that version 0.1 kept beside its runs, `timings.json` and `slack.json`, as rows of the history. Pure."""

from __future__ import annotations

from math import isfinite
from typing import Any

from ci_dispatch.core import codec
from ci_dispatch.core.codec import Value
from ci_dispatch.core.model import RunId, TestId, Verdict
from ci_dispatch.history.values import PastAttempt, PastRun, PastTest, RecordedRun, Remembered, RunSource

TIMINGS, SLACK = "timings.json", "slack.json"


class _Timings(Value):
    version: int
    samples: dict[str, tuple[float, ...]]  # of tests that passed, seconds at speed 1, oldest first


class _Slack(Value):
    v: int
    told: dict[str, Any]
    unfinished: dict[str, Any]


def durations(data: bytes, at: float) -> RecordedRun:
    """What `timings.json` had learnt, as a run without verdicts. Raises ValueError for anything else."""
    known = codec.decode(_Timings, data)
    if known.version != 1:
        raise ValueError(f"version {known.version}, not 1")
    if any(not isfinite(seconds) or seconds < 0 for samples in known.samples.values() for seconds in samples):
        raise ValueError("it has durations that are none")
    tests = [
        PastTest(
            id=TestId(test),
            verdict=Verdict.NOT_RUN,
            attempts=tuple(PastAttempt(verdict=Verdict.PASSED, at=at, seconds=seconds) for seconds in samples),
        )
        for test, samples in sorted(known.samples.items())
    ]
    return RecordedRun(run=PastRun(id=RunId(TIMINGS), at=at, source=RunSource.TIMINGS), tests=tuple(tests))


def notifications(data: bytes, at: float) -> list[Remembered]:
    """What `slack.json` remembered, under the keys that Slack's reporter uses. Raises ValueError for anything else."""
    known = codec.decode(_Slack, data)
    if known.v != 1:
        raise ValueError(f"version {known.v}, not 1")
    kinds = (("notified", known.told), ("unfinished", known.unfinished))
    return [
        Remembered(reporter="slack", key=f"{kind} {key}", value=codec.encode(value), at=at)
        for kind, entries in kinds
        for key, value in entries.items()
    ]
