"""The journal of a run as a source of events: of one that is over, that goes on in another process, or that died."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ci_dispatch.core.errors import UsageError
from ci_dispatch.core.events import Stamped, Warned, loads
from ci_dispatch.core.model import LeaseNumber
from ci_dispatch.reporters.dashboard.tails import EACH, Piece

CHUNK = 1024 * 1024  # bytes read at a time


class JournalTail:
    """The events of a file that may still grow. A line that is cut is waited for; one that is damaged is a warning."""

    pace = 1.0

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        """Raises UsageError when the file cannot be read or is no journal of this version."""
        self._path = path
        self._clock = clock
        self._offset = 0
        self._line = 0
        self._rest = b""
        self._waiting: list[Stamped] = []
        self._last: Stamped | None = None
        _check(path)

    def take(self, limit: int) -> Sequence[Stamped]:
        if len(self._waiting) < limit:
            self._waiting += self._read()
        taken, self._waiting = self._waiting[:limit], self._waiting[limit:]
        return taken

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

    def _read(self) -> list[Stamped]:
        try:
            if self._path.stat().st_size < self._offset:  # another run began in the same file
                self._offset, self._line, self._rest = 0, 0, b""
            with self._path.open("rb") as file:
                file.seek(self._offset)
                chunk = file.read(CHUNK)
        except OSError:
            return []  # for a moment, or for good: then silence says so
        self._offset += len(chunk)
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        return [stamped for line in lines if line.strip() for stamped in self._event(line)]

    def _event(self, line: bytes) -> Sequence[Stamped]:
        self._line += 1
        try:
            self._last = loads(line.decode())
        except ValueError:
            seq, at = (self._last.seq, self._last.at) if self._last else (0, 0.0)
            text = f"line {self._line} is damaged and was left out"
            return (Stamped(seq=seq, at=at, event=Warned(source=self._path.name, text=text)),)
        return (self._last,)


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


def _check(path: Path) -> None:
    try:
        with path.open("rb") as file:
            first = file.readline(CHUNK)
    except OSError as error:
        why = error.strerror or str(error)
        raise UsageError(f"{path} cannot be read", why=why, hint="give a run's folder, or its events.jsonl") from error
    if not first.endswith(b"\n"):
        return  # a run that is just beginning
    try:
        loads(first.decode())
    except ValueError as error:
        raise UsageError(
            f"{path} is not the journal of a run", why=str(error), hint="give a run's folder, or its events.jsonl"
        ) from error
