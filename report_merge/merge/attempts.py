"""Which executions are the same test, and in what order they happened: the rules of merging, free of files.

Inside one file, executions with one identity are different tests (parametrised duplicates). Across files they are
attempts of the same tests, matched one to one: by position, or, when a later file holds exactly as many as had failed
so far, those that had failed, for that is what re-running the failed ones leaves. Never is one file's pass taken for
another test's retry, and no count ever falls (https://github.com/mikepenz/action-junit-report/issues/1463).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Generic, TypeVar

Execution = TypeVar("Execution")


@dataclass(frozen=True, slots=True)
class FileExecutions(Generic[Execution]):
    """The executions of one identity that one file holds, in document order."""

    attempt: int
    began: float | None  # seconds since 1970
    executions: Sequence[Execution]


def in_order(
    batches: Iterable[FileExecutions[Execution]], bad: Callable[[Execution], bool]
) -> list[FileExecutions[Execution]]:
    """Oldest first: by attempt number; then by start time, when all of one attempt have different ones.

    What nothing puts in order is put so that a failure comes last: it is never hidden by a pass of unknown age. The
    order in which files are given plays no part.
    """
    result: list[FileExecutions[Execution]] = []
    for _, group in groupby(sorted(batches, key=lambda batch: batch.attempt), key=lambda batch: batch.attempt):
        tied = list(group)
        times = {batch.began for batch in tied}
        if len(times) == len(tied) and None not in times:
            tied.sort(key=lambda batch: batch.began or 0.0)
        else:
            tied.sort(key=lambda batch: any(bad(execution) for execution in batch.executions))
        result += tied
    return result


def matched(batches: Iterable[FileExecutions[Execution]], bad: Callable[[Execution], bool]) -> list[list[Execution]]:
    """One list of executions a test, oldest first."""
    tests: list[list[Execution]] = []
    for batch in in_order(batches, bad):
        still_bad = [number for number, executions in enumerate(tests) if bad(executions[-1])]
        positions = still_bad if len(batch.executions) == len(still_bad) else range(len(batch.executions))
        for position, execution in zip(positions, batch.executions, strict=True):
            if position == len(tests):
                tests.append([])
            tests[position].append(execution)
    return tests
