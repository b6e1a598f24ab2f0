"""The face of a run in this process: `ci-dispatch run --dashboard`."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Sequence

from ci_dispatch.core.events import Stamped
from ci_dispatch.core.model import LeaseNumber
from ci_dispatch.core.state import RunState
from ci_dispatch.reporters.dashboard.service import Dashboard
from ci_dispatch.reporters.dashboard.tails import Piece


class Inbox:
    """Events on their way from the engine's thread to the dashboard's, each of which folds a state of its own."""

    pace = 1.0

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._queue: queue.SimpleQueue[Stamped] = queue.SimpleQueue()
        self._clock = clock

    def put(self, stamped: Stamped) -> None:
        self._queue.put(stamped)

    def take(self, limit: int) -> Sequence[Stamped]:
        return [self._queue.get_nowait() for _ in range(min(limit, self._queue.qsize()))]

    def now(self) -> float:
        return self._clock()

    def output(self, lease: LeaseNumber, since: int) -> Piece | None:  # noqa: ARG002
        return None  # it all comes as events


class DashboardSink:
    """Hands each event over; never waits for a browser. It fails, and is switched off, when its thread has ended."""

    name = "dashboard"
    essential = False

    def __init__(self, host: str = "127.0.0.1", port: int = 0, token: str = "") -> None:
        """Raises UsageError when the address cannot be listened on."""
        self._inbox = Inbox()
        self._dashboard = Dashboard(self._inbox, host=host, port=port, token=token)
        self._dashboard.start()

    @property
    def url(self) -> str:
        return self._dashboard.url

    def handle(self, stamped: Stamped, state: RunState) -> None:  # noqa: ARG002
        if self._dashboard.failure:
            raise RuntimeError(self._dashboard.failure)
        self._inbox.put(stamped)

    def tick(self, now: float, state: RunState) -> None:
        pass

    def close(self) -> None:
        self._dashboard.stop()
