"""The face of a run in this process: `ci-dispatch run --dashboard`."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ci_dispatch.core.events import Stamped
from ci_dispatch.core.model import LeaseNumber
from ci_dispatch.reporters.dashboard.follow import JournalTail
from ci_dispatch.reporters.dashboard.service import Dashboard
from ci_dispatch.reporters.dashboard.tails import Piece
from ci_dispatch.run.state import RunState


class Inbox:
    """Events on their way from the engine's thread to the dashboard's, each of which folds a state of its own.

    A resumed run tells only what is new: what happened before is read from its `journal`, on the dashboard's thread.
    """

    pace = 1.0

    def __init__(self, clock: Callable[[], float] = time.time, journal: Path | None = None) -> None:
        self._queue: queue.SimpleQueue[Stamped] = queue.SimpleQueue()
        self._clock = clock
        self._journal = journal

    def put(self, stamped: Stamped) -> None:
        self._queue.put(stamped)

    def take(self, limit: int) -> Sequence[Stamped]:
        taken = [self._queue.get_nowait() for _ in range(min(limit, self._queue.qsize()))]
        if taken and self._journal is not None:
            taken[:0] = _earlier(self._journal, taken[0])
            self._journal = None
        return taken

    def now(self) -> float:
        return self._clock()

    def output(self, lease: LeaseNumber, since: int) -> Piece | None:  # noqa: ARG002
        return None  # it all comes as events


def _earlier(journal: Path, first: Stamped) -> list[Stamped]:
    if first.seq <= 1:
        return []
    tail, found = JournalTail(journal), []
    while events := tail.take(10_000):
        found += [stamped for stamped in events if stamped.seq < first.seq]
    return found


class DashboardReporter:
    """Hands each event over; never waits for a browser. It fails, and is switched off, when its thread has ended."""

    name = "dashboard"
    essential = False

    def __init__(
        self, host: str = "127.0.0.1", port: int = 0, *, token: str = "", journal: Path | None = None,
        metrics: Callable[[RunState], str] | None = None,
    ) -> None:  # fmt: skip
        """`journal` has what happened before a resume, `metrics` writes the text of /metrics.

        Raises UsageError when the address cannot be listened on.
        """
        self._inbox = Inbox(journal=journal)
        self._dashboard = Dashboard(self._inbox, host=host, port=port, token=token, metrics=metrics)
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
