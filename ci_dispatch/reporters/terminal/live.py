"""The live display: bars at the bottom, everything worth keeping above them as ordinary lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from ci_dispatch.core.errors import ExitCode
from ci_dispatch.core.events import Stamped
from ci_dispatch.reporters.terminal.cells import Line, Style, ansi, text_of
from ci_dispatch.reporters.terminal.mode import Glyphs
from ci_dispatch.reporters.terminal.news import News
from ci_dispatch.reporters.terminal.screen import Screen
from ci_dispatch.reporters.terminal.view import render
from ci_dispatch.run.state import RunState

REFRESH = 0.5  # seconds


class Writes(Protocol):
    """Where text goes; `Outlet` is the one that never waits."""

    @property
    def busy(self) -> bool: ...
    def write(self, text: str) -> None: ...
    def close(self) -> None: ...


Size = Callable[[], tuple[int, int]]  # columns, rows: asked again at each refresh
Closing = Callable[[RunState], Sequence[str]]  # the last lines of a run, already safe to print


def last_words(state: RunState, closing: Closing, *, colour: bool) -> str:
    """The closing lines of a run that has ended, the very last one coloured by its verdict; else nothing."""
    if state.finished is None:
        return ""
    lines: list[Line] = [((line, Style.PLAIN),) for line in closing(state)]
    if lines:
        good = state.finished.exit_code == ExitCode.PASSED
        lines[-1] = ((lines[-1][0][0], Style.GOOD if good else Style.BAD),)
    return "\n" + "".join(f"{ansi(line) if colour else text_of(line)}\n" for line in lines)


class LiveReporter:
    """Shows a run on a terminal; redraws every 500 ms and only what changed."""

    name = "terminal"
    essential = False

    def __init__(
        self, outlet: Writes, screen: Screen, *, size: Size, glyphs: Glyphs, closing: Closing, follow: str = ""
    ) -> None:
        self._outlet = outlet
        self._screen = screen
        self._size = size
        self._glyphs = glyphs
        self._closing = closing
        self._news = News(glyphs, follow)
        self._frame: list[Line] = []
        self._drawn = 0.0
        self._state: RunState | None = None

    def handle(self, stamped: Stamped, state: RunState) -> None:
        self._state = state
        lines = self._news.lines(stamped, state)
        if lines or state.finished is not None:
            self._draw(lines, stamped.at, state)

    def tick(self, now: float, state: RunState) -> None:
        if not 0 <= now - self._drawn < REFRESH * 0.9 and not self._outlet.busy:
            self._draw([], now, state)

    def close(self) -> None:
        """Leave the last bars where they are, then say how it ended. Closed twice, it says it once."""
        self._outlet.write(self._screen.leave())
        if self._state is not None:
            self._outlet.write(last_words(self._state, self._closing, colour=self._screen.colour))
            self._state = None
        self._outlet.close()

    def _draw(self, lines: list[Line], now: float, state: RunState) -> None:
        width, height = self._size()
        if not 0 <= now - self._drawn < REFRESH * 0.9 or state.finished is not None:
            self._frame, self._drawn = render(state, now, width, height, self._glyphs), now
            if 0 < len(self._frame) < height - 4:
                self._frame.insert(0, ())  # air between what stays and what moves
        self._outlet.write(self._screen.change(lines, self._frame, width))
