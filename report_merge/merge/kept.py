"""The tests a report holds: those worth showing with what they said, within a budget; the others packed, on request."""

from __future__ import annotations

import heapq
import marshal
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, overload

from report_merge import failures
from report_merge.junit.document import Identity, SuiteElement, key_of
from report_merge.junit.testcase import BAD, EARLIER, FAILURE, counted_bit
from report_merge.limits import ReadLimits
from report_merge.model import Attempt, Case, Outcome, Verdict

_HEADLINE = 300  # characters left of a text when the budget is spent: enough for the first line
_FAST = 1  # zlib's level


@dataclass(frozen=True, slots=True)
class LeanCases:
    """Tests of one file without texts: what they are called, how they ended and how long they took."""

    positions: array[int]
    packed: bytes
    ordinals: dict[int, int]  # by row, where not 0

    def __iter__(self) -> Iterator[Case]:
        suites, rows = self._unpacked()
        for number, (suite, name, classname, file, took, bits, message) in enumerate(rows):
            title, project, machine, shard, source, first = suites[suite]
            *tried, outcome = _outcomes(bits)
            attempts = [Attempt(number=first + n, outcome=one) for n, one in enumerate(tried)]
            seconds = None if took is None else took / 1e6
            last = Attempt(
                number=first + len(tried),
                outcome=outcome,
                seconds=seconds,
                message=message,
                machine=machine,
                shard=shard,
                source=source,
            )
            key = key_of((project, file, classname, name), self.ordinals.get(number, 0))
            yield Case(key=key, suite=title, attempts=(*attempts, last))

    def durations(self) -> Iterator[float]:
        _, rows = self._unpacked()
        return ((row[4] or 0) / 1e6 for row in rows)

    def _unpacked(self) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
        suites, rows = marshal.loads(zlib.decompress(self.packed))  # noqa: S302  our own bytes
        return suites, rows


@dataclass(slots=True)
class LeanWriter:
    positions: array[int] = field(default_factory=lambda: array("I"))
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    suites: list[tuple[Any, ...]] = field(default_factory=list)
    ordinals: dict[int, int] = field(default_factory=dict)
    _suite: SuiteElement | None = None

    def add(
        self,
        position: int,
        suite: SuiteElement,
        identity: Identity,
        took: int | None,
        bits: int,
        ordinal: int = 0,
        message: str = "",
    ) -> None:
        if suite is not self._suite:
            self._suite, around = suite, suite.around
            self.suites.append(
                (around.suite, around.project, around.machine, around.shard, around.source, around.attempt)
            )
        if ordinal:
            self.ordinals[len(self.rows)] = ordinal
        self.positions.append(position)
        self.rows.append((len(self.suites) - 1, identity[3], identity[2], identity[1], took, bits, message[:_HEADLINE]))

    def closed(self, ordinals: dict[int, int]) -> LeanCases:
        """`ordinals`: those above 0, by position."""
        order = sorted(range(len(self.rows)), key=self.positions.__getitem__)
        positions = array("I", (self.positions[row] for row in order))
        rows = [self.rows[row] for row in order]
        of_rows = {}
        if ordinals or self.ordinals:
            found = (
                (at, self.ordinals.get(row) or ordinals.get(self.positions[row], 0)) for at, row in enumerate(order)
            )
            of_rows = {at: ordinal for at, ordinal in found if ordinal}
        return LeanCases(positions, zlib.compress(marshal.dumps((self.suites, rows)), _FAST), of_rows)


def _outcomes(bits: int) -> tuple[Outcome, ...]:
    counted = counted_bit(bits)
    if counted & BAD:
        return (Outcome.FAILED if counted == FAILURE else Outcome.ERROR,)
    if counted:
        return (Outcome.SKIPPED,)
    return (Outcome.FAILED, Outcome.PASSED) if bits & EARLIER else (Outcome.PASSED,)


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

    def __len__(self) -> int:
        return sum(len(eventful) + len(lean.positions) for eventful, lean in self._files)

    def __iter__(self) -> Iterator[Case]:
        for eventful, lean in self._files:
            pairs = heapq.merge(eventful, zip(lean.positions, lean, strict=True), key=lambda pair: pair[0])
            yield from (case for _, case in pairs)

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
