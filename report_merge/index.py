"""What is held of a report between the two passes: where every suite and test stands and how it ended. No texts.

It is all that is ever held of a million tests: some thirty bytes each.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field

FAILURE, ERROR, SKIPPED, EARLIER_FAILURE, EARLIER_ERROR, REWRITE = 1, 2, 4, 8, 16, 32
BAD, EARLIER = FAILURE | ERROR, EARLIER_FAILURE | EARLIER_ERROR
HAS_WALL, HAS_PROJECT, GIVE_PROJECT, HAS_CONTENT = 1, 2, 4, 8


def _numbers(kind: str) -> Callable[[], array[int]]:
    return lambda: array(kind)


@dataclass(slots=True, kw_only=True)
class SuiteTable:
    """One entry a suite, in document order; the counts are of the suite's own tests, not of the suites inside it."""

    start: array[int] = field(default_factory=_numbers("Q"))  # offset of its start tag
    end: array[int] = field(default_factory=_numbers("Q"))  # offset behind it, give or take the end tag
    parent: array[int] = field(default_factory=_numbers("q"))  # -1: none
    properties_at: array[int] = field(default_factory=_numbers("Q"))  # 0: it has none
    flags: bytearray = field(default_factory=bytearray)
    began: array[float] = field(default_factory=lambda: array("d"))  # seconds since 1970, NaN when unknown
    tests: array[int] = field(default_factory=_numbers("q"))
    failures: array[int] = field(default_factory=_numbers("q"))
    errors: array[int] = field(default_factory=_numbers("q"))
    skipped: array[int] = field(default_factory=_numbers("q"))
    took: array[int] = field(default_factory=_numbers("q"))  # microseconds


@dataclass(slots=True, kw_only=True)
class CaseTable:
    """One entry a test, in document order."""

    identity: array[int] = field(default_factory=_numbers("q"))  # hash of project, file, classname, name
    start: array[int] = field(default_factory=_numbers("I"))
    end: array[int] = field(default_factory=_numbers("I"))
    suite: array[int] = field(default_factory=_numbers("I"))
    took: array[int] = field(default_factory=_numbers("q"))  # microseconds, -1 when unknown
    flags: bytearray = field(default_factory=bytearray)


@dataclass(slots=True)
class MachineTotals:
    tests: int = 0
    failed: int = 0
    busy: int = 0  # microseconds


@dataclass(slots=True, kw_only=True)
class FileIndex:
    root_name: str = ""
    suites: SuiteTable = field(default_factory=SuiteTable)
    cases: CaseTable = field(default_factory=CaseTable)
    machines: dict[str, MachineTotals] = field(default_factory=dict)
    slowest: list[tuple[int, int]] = field(default_factory=list)  # (microseconds, test), a heap
    expected: list[tuple[str, str, str, str]] = field(default_factory=list)  # identities of tests that were asked for
    projects: dict[int, str] = field(default_factory=dict)  # by suite, where our property gives it
    span_told: bool = False  # began and ended come from our own properties, which include suites that merging left out
    attempts: int = 0  # tries told inside this file, surefire's too
    began: float = math.inf
    ended: float = -math.inf


def verdict_flags(flags: int) -> int:
    """A test's flags reduced to the one that counts it: FAILURE, ERROR, SKIPPED or 0 for passed and flaky.

    A failure and a skip count as the failure; a skip does not excuse an earlier try that failed.
    """
    if flags & BAD:
        return flags & BAD
    if flags & SKIPPED:
        if flags & EARLIER:
            return FAILURE if flags & EARLIER_FAILURE else ERROR
        return SKIPPED
    return 0
