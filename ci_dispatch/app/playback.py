"""Plays recorded events through the terminal reporter of a live run."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping

from ci_dispatch.core.events import Stamped
from ci_dispatch.reporters.terminal import progress
from ci_dispatch.reporters.terminal.reporter import REFRESH
from ci_dispatch.run.journal import replay
from ci_dispatch.run.state import RunState


def play(
    events: Iterable[Stamped],
    *,
    mode: str,
    environ: Mapping[str, str],
    speed: float | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> RunState:
    """Show the events as `--progress MODE` would: in their time divided by `speed`, or without one at once."""
    reporter = progress(mode, stdout=sys.stdout, stderr=sys.stderr, environ=environ)
    state = RunState()
    now: float | None = None
    try:
        for stamped in events:
            now = stamped.at if now is None else now
            while speed and now < stamped.at:  # a picture every half second of the watcher's time
                step = min(stamped.at - now, REFRESH * speed)
                sleep(step / speed)
                now += step
                reporter.tick(now, state)
            now = max(now, stamped.at)
            replay([stamped], state, [reporter])
        return state
    finally:
        reporter.close()
