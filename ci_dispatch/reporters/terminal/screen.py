"""Bytes for a terminal: permanent lines scroll away above, a few lines at the bottom are redrawn in place.

Never the alternate screen, never the mouse, the cursor stays visible: a run that is killed leaves nothing to repair.
`Screen` says what to write; `StreamWriter` writes it on a thread of its own, so that a terminal that is held (Ctrl-S)
or a pipe nobody reads holds up neither the run nor its leases.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from threading import Condition, Thread
from typing import Protocol, TextIO

from ci_dispatch.reporters.terminal.cells import Line, ansi, line_cells, text_of
from report_merge.render.escape import no_workflow_command

_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"  # synchronised output: shown at once or ignored
_NO_WRAP, _WRAP = "\x1b[?7l", "\x1b[?7h"  # a glyph wider than we think must not start a new row
_MOST_WAITING = 20_000  # writes
_CLOSE_DEADLINE = 5.0  # seconds


class TextWriter(Protocol):
    """Where text goes; `StreamWriter` is the one that never waits."""

    @property
    def busy(self) -> bool: ...
    def write(self, text: str) -> None: ...
    def close(self) -> None: ...


class Screen:
    """The live region of a terminal, and what it takes to change it."""

    def __init__(self, *, colour: bool, reflows: bool) -> None:
        """`reflows`: the terminal wraps lines anew when it becomes narrower, so that the region takes more rows."""
        self.colour = colour
        self._paint = ansi if colour else text_of
        self._reflows = reflows
        self._frame: Sequence[Line] = ()
        self._width = 0

    def change(self, lines: Sequence[Line], frame: Sequence[Line], width: int) -> str:
        """What to write so that `lines` stand above and `frame` is the new region; empty when nothing changed."""
        if not lines and frame == self._frame and width == self._width:
            return ""
        text = _BEGIN + self._erase(width)
        text += "".join(f"{self._paint(line)}\n" for line in lines)
        if frame:
            text += _NO_WRAP + "\n".join(self._paint(line) for line in frame) + _WRAP
        self._frame, self._width = frame, width
        return text + _END

    def leave(self) -> str:
        """What to write so that the region stays where it is, for good."""
        return "\n" if self._frame else ""

    def _erase(self, width: int) -> str:
        if not self._frame:
            return ""
        rows = len(self._frame)
        if self._reflows and 0 < width < self._width:
            rows = sum(max(1, -(-line_cells(line) // width)) for line in self._frame)
        return "\r" + (f"\x1b[{rows - 1}A" if rows > 1 else "") + "\x1b[J"


class StreamWriter:
    """Writes text to a stream in order, from any thread, without ever waiting for it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._encoding = stream.encoding or "utf-8"
        self._descriptor = _descriptor_of(stream)
        self._waiting: list[str] = []
        self._closed = False
        self._changed = Condition()
        self._error: OSError | None = None
        self._thread = Thread(target=self._work, name="terminal", daemon=True)
        self._thread.start()

    def write(self, text: str) -> None:
        """Raises the OSError that an earlier write met (a closed pipe, a full disk), or that nothing is taken."""
        if not text:
            return
        with self._changed:
            if self._error is not None:
                raise self._error
            if len(self._waiting) >= _MOST_WAITING:
                raise BlockingIOError(f"{_MOST_WAITING:,} pieces of output wait and nobody reads them")
            self._waiting.append(text.encode(self._encoding, "replace").decode(self._encoding))
            self._changed.notify()

    @property
    def busy(self) -> bool:
        """Whether the stream still takes what it was given; then a new frame can wait."""
        return bool(self._waiting)

    def close(self) -> None:
        """Write what is left, for at most 5 s; raises OSError when not all could be written."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(_CLOSE_DEADLINE)
        if self._error is not None:
            raise self._error
        if self._thread.is_alive():
            raise TimeoutError(f"the terminal took nothing for {_CLOSE_DEADLINE:g} s: the last lines were not shown")

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                text = "".join(self._waiting)
                self._waiting.clear()
            try:
                self._put(text)
            except (OSError, ValueError) as error:  # ValueError: the stream was closed
                with self._changed:
                    self._error = error if isinstance(error, OSError) else OSError(str(error))
                    self._waiting.clear()
                return

    def _put(self, text: str) -> None:
        """Straight to the descriptor: a writer stuck in the stream's own buffer would abort the interpreter's exit."""
        if self._descriptor is None:
            self._stream.write(text)
            self._stream.flush()
            return
        data = memoryview(text.encode(self._encoding))
        while data:
            data = data[os.write(self._descriptor, data) :]


class JobLog:
    """Output that may become the log of a GitHub job: no line of it is a workflow command, but those of `command`."""

    def __init__(self, output: TextWriter) -> None:
        self._output = output

    @property
    def busy(self) -> bool:
        return self._output.busy

    def write(self, text: str) -> None:
        """Whole lines, of whatever foreign text."""
        self._output.write(no_workflow_command(text))

    def command(self, line: str) -> None:
        """A workflow command of our own; what is foreign in it is on one line."""
        self._output.write(f"{line}\n")

    def close(self) -> None:
        self._output.close()


def _descriptor_of(stream: TextIO) -> int | None:
    try:
        stream.flush()
        return stream.fileno()
    except (OSError, ValueError):
        return None
