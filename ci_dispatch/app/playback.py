"""Plays recorded events through the reporter of a live run."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable

from ci_dispatch.app.settings import Settings
from ci_dispatch.core.events import Stamped
from ci_dispatch.reporters.terminal import progress
from ci_dispatch.run.journal import replay
from ci_dispatch.run.ports import Reporter
from ci_dispatch.run.state import RunState

REFRESH_SECONDS = 0.5  # between two pictures


def play(
    events: Iterable[Stamped], settings: Settings, speed: float | None, sleep: Callable[[float], None] = time.sleep
) -> RunState:
    """Show the events with the reporter of the settings: at once, or in their time divided by `speed`."""
    reporter = progress(settings.config.progress.mode, stream=sys.stdout, aside=sys.stderr, environ=settings.environ)
    try:
        player = _Player(reporter, speed, sleep)
        for stamped in events:
            player.show(stamped)
        return player.state
    finally:
        reporter.close()


class _Player:
    def __init__(self, reporter: Reporter, speed: float | None, sleep: Callable[[float], None]) -> None:
        self._sink = reporter
        self._speed = speed
        self._sleep = sleep
        self.state = RunState()
        self._now: float | None = None

    def show(self, stamped: Stamped) -> None:
        self._pass_time(stamped.at)
        replay([stamped], self.state, [self._sink])

    def _pass_time(self, until: float) -> None:
        """Let the clock go on, with a picture every half second of the watcher's time; without a speed, at once."""
        now = until if self._now is None else self._now
        while self._speed and now < until:
            step = min(until - now, REFRESH_SECONDS * self._speed)
            self._sleep(step / self._speed)
            now += step
            self._sink.tick(now, self.state)
        self._now = max(now, until)
