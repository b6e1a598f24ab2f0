"""Which executions are the same test, and which of them decides: the rules of merging, free of files.

Inside one file, executions with one identity are different tests (parametrised duplicates). Only an attempt number
makes a retry: a later attempt's executions are matched one to one, by position, or, when it holds exactly as many as
had failed so far, to those that failed, for that is what re-running the failed ones leaves.

In several files of one attempt one identity is a collision: the worst outcome decides. Nobody knows whose retry a later
pass then is, so it clears a failure only when it comes from the file at the same place, or when as many files hold the
test as had collided. No execution is ever left out (https://github.com/mikepenz/action-junit-report/issues/1463).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby, zip_longest
from typing import Generic, TypeVar

Execution = TypeVar("Execution")
BAD_RANK = 2  # of `rank`: 0 skipped, 1 passed, 2 failed


@dataclass(frozen=True, slots=True)
class FileExecutions(Generic[Execution]):
    """The executions of one identity that one file holds, in document order."""

    attempt: int
    file: str
    place: str  # the file's path without its attempt
    executions: Sequence[Execution]
    began: datetime | None = None


@dataclass(slots=True)
class _Uncleared(Generic[Execution]):
    """A failure that no later attempt has cleared."""

    execution: Execution
    place: str
    files: int  # that held the test in the attempt it failed in


@dataclass(slots=True)
class _Tries(Generic[Execution]):
    """The executions of one test so far."""

    settled: list[Execution] = field(default_factory=list)
    uncleared: list[_Uncleared[Execution]] = field(default_factory=list)

    def add(self, attempt: list[tuple[str, Execution]], rank: Callable[[Execution], int]) -> None:
        places = {place for place, _ in attempt}
        kept = [f for f in self.uncleared if f.files > 1 and f.place not in places and len(places) < f.files]
        self.settled += [failure.execution for failure in self.uncleared if not any(failure is one for one in kept)]
        ordered = sorted(attempt, key=lambda one: rank(one[1]))
        self.settled += [execution for _, execution in ordered if rank(execution) < BAD_RANK]
        failed = [_Uncleared(one, place, len(places)) for place, one in ordered if rank(one) == BAD_RANK]
        self.uncleared = [*kept, *failed]

    @property
    def executions(self) -> list[Execution]:
        """The one that decides last."""
        return [*self.settled, *(failure.execution for failure in self.uncleared)]


def matched(
    batches: Iterable[FileExecutions[Execution]], rank: Callable[[Execution], int], *, by_time: bool = False
) -> list[list[Execution]]:
    """One list of executions a test, the one that decides last; else in the order of attempts.

    `by_time`: files of one attempt number that began at different, comparable times are attempts too.
    """
    tests: list[_Tries[Execution]] = []
    for attempt in _attempts(batches, by_time=by_time):
        columns = [
            [(batch.place, one) for batch, one in zip(attempt, column, strict=True) if one is not None]
            for column in zip_longest(*(batch.executions for batch in attempt))
        ]
        failing = [number for number, test in enumerate(tests) if test.uncleared]
        positions = failing if len(columns) == len(failing) else range(len(columns))
        for position, column in zip(positions, columns, strict=True):
            if position == len(tests):
                tests.append(_Tries())
            tests[position].add(column, rank)
    return [test.executions for test in tests]


def collided(batches: Iterable[FileExecutions[Execution]], *, by_time: bool = False) -> tuple[str, ...]:
    """The files that tell of a test in one attempt together; none when each attempt has one."""
    return tuple(
        batch.file for together in _attempts(batches, by_time=by_time) if len(together) > 1 for batch in together
    )


def _attempts(
    batches: Iterable[FileExecutions[Execution]], *, by_time: bool
) -> Iterator[list[FileExecutions[Execution]]]:
    for _, group in groupby(sorted(batches, key=lambda batch: batch.attempt), key=lambda batch: batch.attempt):
        together = list(group)
        if by_time and (ordered := _by_time(together)):
            yield from ([one] for one in ordered)
        else:
            yield together


def _by_time(batches: list[FileExecutions[Execution]]) -> list[FileExecutions[Execution]] | None:
    """In the order of their starts; None when that is unknown: a time is missing, twice there, or of no known zone."""
    times = [batch.began for batch in batches]
    if None in times or len(set(times)) < len(times) or len({time.tzinfo is None for time in times if time}) > 1:
        return None
    return sorted(batches, key=lambda batch: batch.began or datetime.min)  # noqa: DTZ901  none is None here
