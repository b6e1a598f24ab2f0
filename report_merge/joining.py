"""Indexes of many files -> one result: which tests are the same, what they came to, what every suite now counts."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from report_merge.index import BAD, EARLIER, EARLIER_ERROR, EARLIER_FAILURE, ERROR, FAILURE, SKIPPED, verdict_flags
from report_merge.indexing import Indexed
from report_merge.merge.attempts import FileExecutions, matched

_IDENTITIES_AT_ONCE = 1 << 18


class Execution(NamedTuple):
    """One <testcase> by where it stands: the file's number and the test's number in it."""

    file: int
    case: int


@dataclass(slots=True)
class OutcomeCounts:
    """Counts as the merged file states them: each test once."""

    tests: int = 0
    failures: int = 0
    errors: int = 0
    skipped: int = 0
    flaky: int = 0
    took: int = 0  # microseconds, of the last attempts

    def add(self, flags: int, took: int, sign: int = 1) -> None:
        self.tests += sign
        self.took += sign * max(took, 0)
        counted = verdict_flags(flags)
        self.failures += sign * (counted == FAILURE)
        self.errors += sign * (counted == ERROR)
        self.skipped += sign * (counted == SKIPPED)
        self.flaky += sign * (counted == 0 and flags & EARLIER != 0)

    def plus(self, other: OutcomeCounts) -> None:
        self.tests += other.tests
        self.failures += other.failures
        self.errors += other.errors
        self.skipped += other.skipped
        self.flaky += other.flaky
        self.took += other.took


@dataclass(slots=True)
class Joined:
    """The tests that several files tell of: by their first execution, which stands for all of them."""

    tests: list[dict[int, list[Execution]]]  # for each file: test number -> all executions of it, oldest first
    ordinals: dict[Execution, int]  # of first executions, where not 0
    absorbed: list[set[int]]  # for each file: tests that are told elsewhere
    totals: OutcomeCounts = field(default_factory=OutcomeCounts)


def join(files: Sequence[Indexed]) -> Joined:
    """Brings the executions of each test together and corrects the suites' counts in place."""
    joined = Joined([{} for _ in files], {}, [set() for _ in files])
    for file in files:
        _count(file, joined.totals)
    for batches in _by_identity(files).values():
        tests = matched(batches, lambda execution: _flags(files, execution) & BAD != 0)
        for ordinal, executions in enumerate(tests):
            first, *others = executions
            if ordinal:
                joined.ordinals[first] = ordinal
            if others:
                joined.tests[first.file][first.case] = executions
                for other in others:
                    joined.absorbed[other.file].add(other.case)
                _recount(files, executions, joined.totals)
    return joined


def _by_identity(files: Sequence[Indexed]) -> dict[int, list[FileExecutions[Execution]]]:
    """The executions of every identity that more than one file holds."""
    shared = _shared_identities(files)
    batches: dict[int, list[FileExecutions[Execution]]] = defaultdict(list)
    if not shared:
        return batches
    for number, file in enumerate(files):
        here: dict[int, list[Execution]] = defaultdict(list)
        for case, identity in enumerate(file.index.cases.identity):
            if identity in shared:
                here[identity].append(Execution(number, case))
        for identity, executions in here.items():
            began = file.index.suites.began[file.index.cases.suite[executions[0].case]]
            known = None if math.isnan(began) else began
            batches[identity].append(FileExecutions(file.source.attempt, known, executions))
    return batches


def _shared_identities(files: Sequence[Indexed]) -> set[int]:
    """Identities in more than one file, found a slice of all identities at a time, so that few are held as objects."""
    slices = 1 + sum(len(file.index.cases.identity) for file in files) // _IDENTITIES_AT_ONCE
    shared: set[int] = set()
    for wanted in range(slices):
        seen: set[int] = set()
        for file in files:
            identities = file.index.cases.identity
            here = set(identities) if slices == 1 else {i for i in identities if i % slices == wanted}
            shared |= seen & here
            seen |= here
    return shared


def _count(file: Indexed, totals: OutcomeCounts) -> None:
    suites, flags = file.index.suites, file.index.cases.flags
    totals.tests += sum(suites.tests)
    totals.failures += sum(suites.failures)
    totals.errors += sum(suites.errors)
    totals.skipped += sum(suites.skipped)
    totals.took += sum(suites.took)
    totals.flaky += sum(flags.count(value) for value in range(64) if value & EARLIER and not verdict_flags(value))


def _recount(files: Sequence[Indexed], executions: list[Execution], totals: OutcomeCounts) -> None:
    """Takes every execution out of the counts, then puts the one test they are where the first one stands."""
    for execution in executions:
        gone = OutcomeCounts()
        gone.add(_flags(files, execution), _took(files, execution), -1)
        _change(files, execution, gone, totals)
    test = OutcomeCounts()
    test.add(combined_flags(files, executions), _took(files, executions[-1]))
    _change(files, executions[0], test, totals)


def _change(files: Sequence[Indexed], at: Execution, change: OutcomeCounts, totals: OutcomeCounts) -> None:
    index = files[at.file].index
    suites, suite = index.suites, index.cases.suite[at.case]
    for column in ("tests", "failures", "errors", "skipped", "took"):
        amount = getattr(change, column)
        getattr(suites, column)[suite] += amount
        setattr(totals, column, getattr(totals, column) + amount)
    totals.flaky += change.flaky


def combined_flags(files: Sequence[Indexed], executions: list[Execution]) -> int:
    """The flags of a test from those of its executions: the last decides, the first failed try names the kind."""
    *earlier, last = (_flags(files, execution) for execution in executions)
    outcome = last & (BAD | SKIPPED)
    first_bad = next((kind for flags in earlier if (kind := _first_bad(flags))), 0)
    if not first_bad:
        return last
    if outcome & BAD:
        return FAILURE if first_bad == EARLIER_FAILURE else ERROR
    return outcome | first_bad


def _first_bad(flags: int) -> int:
    if flags & BAD:
        return EARLIER_FAILURE if flags & FAILURE else EARLIER_ERROR
    return flags & EARLIER


def _flags(files: Sequence[Indexed], execution: Execution) -> int:
    return files[execution.file].index.cases.flags[execution.case]


def _took(files: Sequence[Indexed], execution: Execution) -> int:
    return files[execution.file].index.cases.took[execution.case]
