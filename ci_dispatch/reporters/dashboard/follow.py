"""The journal of a run as a source of events: of one that is over, that goes on in another process, or that died."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ci_dispatch.core.errors import UsageError
from ci_dispatch.core.events import Stamped, Warned
from ci_dispatch.core.model import LeaseNumber
from ci_dispatch.reporters.dashboard.tails import EACH, Piece
from ci_dispatch.run.journal import JournalReader


class JournalTail:
    """The events of a file that may still grow. What is damaged ends it, with a warning."""

    pace = 1.0

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        """Raises UsageError when the file cannot be read or is no journal."""
        self._path = path
        self._clock = clock
        self._reader = JournalReader(path)
        self._waiting = self._reader.read()
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
            return self._reader.read()
        except UsageError as error:
            self._damaged = True
            last = self._waiting[-1] if self._waiting else self._last
            seq, at = (last.seq, last.at) if last else (0, 0.0)
            text = f"{error.why or error.what}; what comes after it is not shown"
            return [Stamped(seq=seq, at=at, event=Warned(source=self._path.name, text=text))]

    def now(self) -> float:
        return self._clock()

    def output(self, lease: LeaseNumber, since: int) -> Piece | None:
        """The end of the attempt's output file beside the journal, up to its last whole line."""
        try:
            with (self._path.parent / "attempts" / str(lease) / "output.log").open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                start = max(0 if since > size else since, size - EACH)
                file.seek(start)
                data = file.read(EACH)
        except OSError:
            return None
        whole = data[: data.rfind(b"\n") + 1] or data
        return Piece(whole.decode("utf-8", "replace"), start, start + len(whole))


class Replay:
    """A journal once more, `pace` times as fast as it happened; its clock runs with it."""

    def __init__(self, path: Path, pace: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.pace = pace
        self._tail = JournalTail(path)
        self._clock = clock
        self._began = clock()
        self._ahead: list[Stamped] = list(self._tail.take(1))
        self._origin = self._ahead[0].at if self._ahead else 0.0

    def take(self, limit: int) -> Sequence[Stamped]:
        taken: list[Stamped] = []
        now = self.now()
        while len(taken) < limit:
            self._ahead = self._ahead or list(self._tail.take(1))
            if not self._ahead or self._ahead[0].at > now:
                break
            taken.append(self._ahead.pop())
        return taken

    def now(self) -> float:
        return self._origin + (self._clock() - self._began) * self.pace

    def output(self, lease: LeaseNumber, since: int) -> Piece | None:
        return self._tail.output(lease, since)
