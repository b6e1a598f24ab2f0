"""Plays recorded events through the terminal reporter of a live run."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping

from ci_dispatch.reporters.terminal import progress
from ci_dispatch.reporters.terminal.reporter import REFRESH
from ci_dispatch.run.journal import Entry, replay
from ci_dispatch.run.state import RunState


def play(
    entries: Iterable[Entry],
    *,
    mode: str,
    environ: Mapping[str, str],
    speed: float | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> RunState:
    """Show a journal's entries as `--progress MODE` would: in their time divided by `speed`, or without one at once."""
    reporter = progress(mode, stdout=sys.stdout, stderr=sys.stderr, environ=environ)
    state = RunState()
    now: float | None = None
    try:
        for entry in entries:
            at = entry[0].at
            now = at if now is None else now
            while speed and now < at:  # a picture every half second of the watcher's time
                step = min(at - now, REFRESH * speed)
                sleep(step / speed)
                now += step
                reporter.tick(now, state)
            now = max(now, at)
            replay([entry], state, [reporter])
        return state
    finally:
        reporter.close()
