"""The rows of a history: runs, their tests, the attempts of those, and what reporters remember.

A history may come from anywhere: numbers that no run has are refused (ValueError), so that nothing behind this file has
to look again.
"""

from __future__ import annotations

from enum import StrEnum

from ci_dispatch.core.codec import Value
from ci_dispatch.core.model import SPEEDS, RunId, TestId, Verdict

LONGEST = 1e9  # seconds
FIRST, LAST = -6.2e10, 2.5e11  # moments, in seconds since the epoch, that a calendar has a date for


class RunSource(StrEnum):
    """Where a run of the history is known from."""

    RUN = "run"
    JUNIT = "JUnit"
    TIMINGS = "timings.json"  # durations that version 0.1 had learnt; nothing is known of their runs


class PastAttempt(Value):
    """One execution of a test."""

    verdict: Verdict
    machine: str = ""
    at: float = 0.0  # when it ended, seconds since the epoch
    seconds: float | None = None  # by the clock of that machine
    busy: float = 1.0  # share of the machine's workers that were busy meanwhile, 0 to 1
    workers: int = 0  # how many it had then; 0: not known
    speed: float = 1.0  # as configured then
    fingerprint: str = ""  # of its failure's cause

    def __post_init__(self) -> None:
        _require("at", self.at, FIRST, LAST)
        _require("seconds", self.seconds or 0.0, 0.0, LONGEST)
        _require("busy", self.busy, 0.0, 1.0)
        _require("workers", self.workers, 0, 1_000_000)
        _require("speed", self.speed, *SPEEDS)


class KnownTest(Value):
    """A test as some run called it."""

    id: TestId
    name: str = ""
    file: str = ""
    project: str = ""


class PastTest(Value):
    """What became of one test in one run, with its attempts, oldest first."""

    id: TestId
    verdict: Verdict
    name: str = ""
    file: str = ""
    project: str = ""
    reason: str = ""
    attempts: tuple[PastAttempt, ...] = ()


class PastRun(Value):
    """What a run was and how it ended."""

    id: RunId
    at: float  # when it began, seconds since the epoch
    source: RunSource = RunSource.RUN
    title: str = ""  # of the suite
    repository: str = ""
    branch: str = ""
    sha: str = ""
    verdict: str = ""  # the word of `run_report.verdict_word`; empty: not known
    seconds: float = 0.0
    planned: float = 0.0  # makespan
    lower_bound: float = 0.0

    @property
    def decided(self) -> bool:
        """It came to a verdict, and was not interrupted."""
        return self.verdict in ("PASSED", "FAILED", "INCOMPLETE")

    def __post_init__(self) -> None:
        _require("at", self.at, FIRST, LAST)
        for name, seconds in (("seconds", self.seconds), ("planned", self.planned), ("bound", self.lower_bound)):
            _require(name, seconds, 0.0, LONGEST)


class RecordedRun(Value):
    """A run with its tests, each id once, in the order of their ids."""

    run: PastRun
    tests: tuple[PastTest, ...] = ()


class Remembered(Value):
    """What a reporter remembers from one run to the next, under a key of its own."""

    reporter: str
    key: str
    value: bytes
    at: float  # when it was put there, seconds since the epoch


def _require(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:  # NaN is not either
        raise ValueError(f"`{name}` is {value!r}, and not from {least:g} to {most:g}")
