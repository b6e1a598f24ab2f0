"""Where a dashboard's events come from: this process, or the journal of a run that is over, goes on or died."""

from __future__ import annotations

import os
import queue
import time
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Protocol

from ci_dispatch.core.errors import UsageError
from ci_dispatch.core.events import Stamped, Warned
from ci_dispatch.core.model import LeaseNumber
from ci_dispatch.reporters.dashboard.view_model import TAIL_LENGTH, OutputPiece
from ci_dispatch.run.journal import JournalReader


class EventSource(Protocol):
    """`take` and `now` are called by the dashboard's thread."""

    pace: float  # seconds of the run in one second

    def take(self, limit: int) -> Sequence[Stamped]:
        """The next events, at most `limit`, without waiting."""

    def now(self) -> float:
        """Seconds since the epoch on the clock of the run."""

    def output(self, lease: LeaseNumber, since: int) -> OutputPiece | None:
        """Output of an attempt that no event brought; None when there is none."""


class LiveSource:
    """Events on their way from the engine's thread to the dashboard's, each of which folds a state of its own.

    A resumed run publishes only what is new: what came before is read from its `journal`, on the dashboard's thread.
    """

    pace = 1.0

    def __init__(self, clock: Callable[[], float] = time.time, journal: Path | None = None) -> None:
        self._queue: queue.SimpleQueue[Stamped] = queue.SimpleQueue()
        self._clock = clock
        self._journal = journal

    def put(self, stamped: Stamped) -> None:
        self._queue.put(stamped)

    def take(self, limit: int) -> Sequence[Stamped]:
        taken = [self._queue.get_nowait() for _ in range(min(limit, self._queue.qsize()))]
        if taken and self._journal is not None:
            taken[:0] = _earlier(self._journal, taken[0])
            self._journal = None
        return taken

    def now(self) -> float:
        return self._clock()

    def output(self, lease: LeaseNumber, since: int) -> OutputPiece | None:  # noqa: ARG002
        return None  # it all comes as events


def _earlier(journal: Path, first: Stamped) -> list[Stamped]:
    if first.seq <= 1:
        return []
    source, found = JournalSource(journal), []
    while events := source.take(10_000):
        found += [stamped for stamped in events if stamped.seq < first.seq]
    return found


class JournalSource:
    """The events of a file that may still grow. What is damaged ends it, with a warning."""

    pace = 1.0

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        """Raises UsageError when the file cannot be read or is no journal."""
        self._path = path
        self._clock = clock
        self._reader = JournalReader(path)
        self._waiting = list(chain.from_iterable(self._reader.read()))
        self._last: Stamped | None = None
        self._damaged = False

    def take(self, limit: int) -> Sequence[Stamped]:
        if len(self._waiting) < limit and not self._damaged:
            self._waiting += self._read()
        taken, self._waiting = self._waiting[:limit], self._waiting[limit:]
        self._last = taken[-1] if taken else self._last
        return taken

    def _read(self) -> list[Stamped]:
        try:
            return list(chain.from_iterable(self._reader.read()))
        except UsageError as error:
            self._damaged = True
            last = self._waiting[-1] if self._waiting else self._last
            seq, at = (last.seq, last.at) if last else (0, 0.0)
            text = f"{error.why or error.what}; what comes after it is not shown"
            return [Stamped(seq=seq, at=at, event=Warned(source=self._path.name, text=text))]

    def now(self) -> float:
        return self._clock()

    def output(self, lease: LeaseNumber, since: int) -> OutputPiece | None:
        """The end of the attempt's output file beside the journal, up to its last whole line."""
        try:
            with (self._path.parent / "attempts" / str(lease) / "output.log").open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                start = max(0 if since > size else since, size - TAIL_LENGTH)
                file.seek(start)
                data = file.read(TAIL_LENGTH)
        except OSError:
            return None
        whole = data[: data.rfind(b"\n") + 1] or data
        return OutputPiece(whole.decode("utf-8", "replace"), start, start + len(whole))


class ReplaySource:
    """A journal once more, `pace` times as fast as it happened; its clock runs with it."""

    def __init__(self, path: Path, pace: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.pace = pace
        self._journal = JournalSource(path)
        self._clock = clock
        self._began = clock()
        self._ahead: list[Stamped] = list(self._journal.take(1))
        self._origin = self._ahead[0].at if self._ahead else 0.0

    def take(self, limit: int) -> Sequence[Stamped]:
        taken: list[Stamped] = []
        now = self.now()
        while len(taken) < limit:
            self._ahead = self._ahead or list(self._journal.take(1))
            if not self._ahead or self._ahead[0].at > now:
                break
            taken.append(self._ahead.pop())
        return taken

    def now(self) -> float:
        return self._origin + (self._clock() - self._began) * self.pace

    def output(self, lease: LeaseNumber, since: int) -> OutputPiece | None:
        return self._journal.output(lease, since)
