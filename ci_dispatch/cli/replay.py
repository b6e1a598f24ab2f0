"""`ci-dispatch replay`: a recorded run through the same reporters as a live one."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import click

from ci_dispatch.bus import read_journal
from ci_dispatch.bus import replay as fold
from ci_dispatch.cli.settings import Settings, configured
from ci_dispatch.core.errors import UsageError
from ci_dispatch.core.events import Stamped
from ci_dispatch.core.state import RunState
from ci_dispatch.ports import Sink
from ci_dispatch.reporters.terminal import progress as reporter

REFRESH_SECONDS = 0.5  # between two pictures


@click.command()
@click.argument("events", type=click.Path(path_type=Path), metavar="EVENTS.jsonl")
@click.option("--speed", type=click.FloatRange(min=0, min_open=True), metavar="FACTOR",
              help="1: as fast as it was; 10: ten times faster. Default: at once.")  # fmt: skip
@configured("progress.mode")
def replay(settings: Settings, events: Path, speed: float | None) -> None:
    """Show a recorded run again from its events.

    EVENTS.jsonl is the journal in a run's folder, or the folder.
    """
    journal = events / "events.jsonl" if events.is_dir() else events
    try:
        with journal.open("rb") as lines:
            play(read_journal(lines, str(journal)), settings, speed)
    except (FileNotFoundError, PermissionError) as error:
        raise UsageError(f"{journal} was not replayed", why=str(error.strerror), try_="ls .ci-dispatch/runs") from None


def play(
    events: Iterable[Stamped], settings: Settings, speed: float | None, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Show the events with the reporter of the settings: at once, or in their time divided by `speed`."""
    sink = reporter(settings.config.progress.mode, stream=sys.stdout, aside=sys.stderr, environ=settings.environ)
    try:
        player = _Player(sink, speed, sleep)
        for stamped in events:
            player.show(stamped)
    finally:
        sink.close()


class _Player:
    def __init__(self, sink: Sink, speed: float | None, sleep: Callable[[float], None]) -> None:
        self._sink = sink
        self._speed = speed
        self._sleep = sleep
        self._state = RunState()
        self._now: float | None = None

    def show(self, stamped: Stamped) -> None:
        self._pass_time(stamped.at)
        fold([stamped], self._state, [self._sink])

    def _pass_time(self, until: float) -> None:
        """Let the clock go on, with a picture every half second of the watcher's time."""
        now = until if self._now is None else self._now
        while self._speed and now < until:
            step = min(until - now, REFRESH_SECONDS * self._speed)
            self._sleep(step / self._speed)
            now += step
            self._sink.tick(now, self._state)
        if not self._speed:
            self._sink.tick(until, self._state)
        self._now = max(now, until)
