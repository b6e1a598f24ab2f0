"""The tests a report holds: those worth showing with what they said, within a budget; the others packed, on request."""

from __future__ import annotations

import marshal
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, overload

from report_merge import failures
from report_merge.junit.document import Identity, SuiteElement
from report_merge.limits import ReadLimits
from report_merge.model import Attempt, Case, Outcome, SuiteContext, UneventfulTest, Verdict

_HEADLINE = 300  # characters left of a text when the budget is spent: enough for the first line
_FAST = 1  # zlib's level
_BEHIND_ALL = 1 << 32  # positions are below it


@dataclass(frozen=True, slots=True)
class LeanCases:
    """Tests of one file without texts: what they are called, how they ended and how long they took."""

    positions: array[int]
    packed: bytes

    def __iter__(self) -> Iterator[UneventfulTest]:
        suites, rows = self._unpacked()
        around = [SuiteContext(*suite) for suite in suites]
        for suite, name, classname, file, ordinal, seconds, skipped, message in rows:
            outcome = Outcome.SKIPPED if skipped else Outcome.PASSED
            yield UneventfulTest(around[suite], name, classname, file, ordinal, seconds, outcome, message)

    def durations(self) -> Iterator[float]:
        _, rows = self._unpacked()
        return (row[5] or 0.0 for row in rows)

    def _unpacked(self) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
        suites, rows = marshal.loads(zlib.decompress(self.packed))  # noqa: S302  our own bytes
        return suites, rows


@dataclass(slots=True)
class LeanWriter:
    positions: array[int] = field(default_factory=lambda: array("I"))
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    suites: list[tuple[Any, ...]] = field(default_factory=list)
    _suite: SuiteElement | None = None

    def add(
        self,
        position: int,
        suite: SuiteElement,
        identity: Identity,
        took: int | None,
        *,
        ordinal: int = 0,
        skipped: bool = False,
        message: str = "",
    ) -> None:
        if suite is not self._suite:
            self._suite = suite
            self.suites.append(tuple(suite.around))
        _, file, classname, name = identity
        seconds = None if took is None else took / 1e6
        self.positions.append(position)
        self.rows.append((len(self.suites) - 1, name, classname, file, ordinal, seconds, skipped, message))

    def closed(self, ordinals: dict[int, int]) -> LeanCases:
        """`ordinals`: those above 0, by position, of tests that were added without one."""
        positions, rows = self.positions, self.rows
        if ordinals:
            rows = [
                row if row[4] else (*row[:4], ordinals.get(position, 0), *row[5:])
                for position, row in zip(positions, rows, strict=True)
            ]
        order = sorted(range(len(rows)), key=positions.__getitem__)
        packed = marshal.dumps((self.suites, [rows[row] for row in order]))
        return LeanCases(array("I", (positions[row] for row in order)), zlib.compress(packed, _FAST))


class KeptCases(Sequence[Case]):
    """Every test of a report, file by file. Those that are not eventful are unpacked as they are asked for."""

    def __init__(self, files: Sequence[tuple[list[tuple[int, Case]], LeanCases]]) -> None:
        self._files = files

    @cached_property
    def eventful(self) -> tuple[Case, ...]:
        return tuple(case for eventful, _ in self._files for _, case in eventful)

    def durations(self) -> Iterator[float]:
        """How long each test took, without making a case of it."""
        for eventful, lean in self._files:
            yield from (case.seconds for _, case in eventful)
            yield from lean.durations()

    def mapped(self, change: Callable[[Case], Case]) -> KeptCases:
        """The same with each eventful case changed."""
        return KeptCases([([(at, change(case)) for at, case in eventful], lean) for eventful, lean in self._files])

    def tests(self) -> Iterator[Case | UneventfulTest]:
        """What `Report.tests` gives."""
        for eventful, lean in self._files:
            waiting = iter((*eventful, (_BEHIND_ALL, None)))
            at, case = next(waiting)
            for position, test in zip(lean.positions, lean, strict=True):
                while at <= position and case is not None:
                    yield case
                    at, case = next(waiting)
                yield test
            while case is not None:
                yield case
                at, case = next(waiting)

    def __len__(self) -> int:
        return sum(len(eventful) + len(lean.positions) for eventful, lean in self._files)

    def __iter__(self) -> Iterator[Case]:
        return (test if isinstance(test, Case) else test.case for test in self.tests())

    @overload
    def __getitem__(self, at: int) -> Case: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[Case, ...]: ...
    def __getitem__(self, at: int | slice) -> Case | tuple[Case, ...]:
        return tuple(self)[at]


def with_cause(case: Case, limits: ReadLimits, rules: failures.FailureRules) -> Case:
    """The case with the cause of its last failed attempt, and then with no text longer than the limit."""
    attempts = list(case.attempts)
    for number in range(len(attempts) - 1, -1, -1):
        if attempts[number].outcome.bad:
            attempts[number] = replace(attempts[number], cause=failures.cause_of(attempts[number], rules))
            break
    return cut_to(replace(case, attempts=tuple(attempts)), limits)


def cut_to(case: Case, limits: ReadLimits) -> Case:
    return replace(case, attempts=tuple(_clipped(attempt, limits.text_bytes) for attempt in case.attempts))


def headline(case: Case) -> Case:
    """The case with no more of its texts than a line to know it by."""
    return replace(case, attempts=tuple(_clipped(replace(a, stdout="", stderr=""), _HEADLINE) for a in case.attempts))


class TextBudget:
    """What is left of the bytes that texts may take in memory: a failure is not to lack room because of what passed."""

    def __init__(self, limits: ReadLimits) -> None:
        whole = limits.kept_text_bytes
        self._room = {
            Verdict.FAILED: whole * 3 // 4,
            Verdict.FLAKY: whole // 8,
            Verdict.PASSED: whole // 16,
            Verdict.SKIPPED: whole // 16,
        }

    def within(self, case: Case) -> Case:
        room = self._room[case.verdict]
        if _size(case.attempts) > max(room, 0):
            case = headline(case)
        self._room[case.verdict] -= _size(case.attempts)
        return case


def _clipped(attempt: Attempt, most: int) -> Attempt:
    """The ends of traces and output tell more than the middles."""
    if max(map(len, (attempt.message, attempt.text, attempt.stdout, attempt.stderr))) <= most:
        return attempt
    return replace(
        attempt,
        message=_cut(attempt.message, most),
        text=_cut(attempt.text, most),
        stdout=_cut(attempt.stdout, most),
        stderr=_cut(attempt.stderr, most),
    )


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters left out; the merged XML has them ...\n{text[-half:]}"


def _size(attempts: Iterable[Attempt]) -> int:
    return sum(len(a.message) + len(a.text) + len(a.stdout) + len(a.stderr) for a in attempts)
