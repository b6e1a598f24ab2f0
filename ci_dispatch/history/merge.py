"""Which of two records counts, and what is kept: the same whatever is merged first, and however often."""

from __future__ import annotations

from collections.abc import Iterable

from ci_dispatch.core import codec
from ci_dispatch.core.codec import Value
from ci_dispatch.core.model import RunId, Verdict
from ci_dispatch.history.values import PastRun, RecordedRun, Remembered

REMEMBERED = 500  # by each reporter


class Bounds(Value):
    """How much of a history is kept; of its runs those that both allow."""

    runs: int
    seconds: float  # since a run began


def winner(one: RecordedRun, other: RecordedRun) -> RecordedRun:
    """Of two records of one run: the later one, else the one with more verdicts, else any, always the same."""
    return max(one, other, key=_rank)


def _rank(record: RecordedRun) -> tuple[float, float, int, bytes]:
    decided = sum(test.verdict is not Verdict.NOT_RUN for test in record.tests)
    return record.run.at, record.run.seconds, decided, codec.encode(record)


def later(one: Remembered, other: Remembered) -> Remembered:
    """Of two memories under one key."""
    return max(one, other, key=lambda remembered: (remembered.at, remembered.value))


def outdated(runs: Iterable[PastRun], bounds: Bounds, now: float) -> list[RunId]:
    """The runs that the bounds do not allow: the oldest."""
    newest = sorted(runs, key=lambda run: (run.at, run.id), reverse=True)
    return [run.id for place, run in enumerate(newest) if place >= bounds.runs or run.at < now - bounds.seconds]
