"""The event stream itself, one JSON object a line, as the journal has it: for programs that watch a run."""

from __future__ import annotations

from ci_dispatch.core.events import TRANSIENT, AttemptOutput, Stamped
from ci_dispatch.reporters.terminal.live import Closing, Writes, last_words
from ci_dispatch.reporters.terminal.news import follows
from ci_dispatch.run.journal import dumps
from ci_dispatch.run.state import RunState


class JsonReporter:
    """Writes every event to `outlet`; runners' output only where it is followed. `aside` gets the last lines."""

    name = "terminal"
    essential = False

    def __init__(self, outlet: Writes, aside: Writes, *, closing: Closing, follow: str = "") -> None:
        self._outlet = outlet
        self._aside = aside
        self._closing = closing
        self._follow = follow
        self._state: RunState | None = None

    def handle(self, stamped: Stamped, state: RunState) -> None:
        self._state = state
        event = stamped.event
        followed = isinstance(event, AttemptOutput) and follows(self._follow, event, state)
        if followed or not isinstance(event, TRANSIENT):
            self._outlet.write(dumps(stamped).decode() + "\n")

    def tick(self, now: float, state: RunState) -> None:
        pass

    def close(self) -> None:
        """Standard output stays pure JSON; how it ended is said aside."""
        if self._state is not None:
            self._aside.write(last_words(self._state, self._closing, colour=False))
            self._state = None
        self._outlet.close()
        self._aside.close()


class QuietReporter:
    """Shows no progress; says how it ended."""

    name = "terminal"
    essential = False

    def __init__(self, outlet: Writes, *, colour: bool, closing: Closing) -> None:
        self._outlet = outlet
        self._colour = colour
        self._closing = closing
        self._state: RunState | None = None

    def handle(self, stamped: Stamped, state: RunState) -> None:  # noqa: ARG002
        self._state = state

    def tick(self, now: float, state: RunState) -> None:
        pass

    def close(self) -> None:
        if self._state is not None:
            self._outlet.write(last_words(self._state, self._closing, colour=self._colour))
            self._state = None
        self._outlet.close()
