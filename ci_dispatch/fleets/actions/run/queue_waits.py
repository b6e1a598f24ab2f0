"""What becomes of jobs that no runner takes: moved, waited for, or given up. Waiting is no sickness. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from enum import Enum, auto

from ci_dispatch.core.model import ANY_MACHINE, MachineName

SEE_AGAIN = 120.0  # seconds, that what is known of other runs' runners may be old
PATIENCE = 4  # queue timeouts that a job waits in vain where no other machine would take it sooner


class Wait(Enum):
    MOVE = auto()  # another machine may take it sooner
    SEE = auto()  # nobody knows yet whether the machine works for others
    GO_ON = auto()
    GIVE_UP = auto()  # its runner neither takes it nor works for anybody


@dataclass(slots=True)
class QueueWaits:
    """Seconds since the epoch."""

    timeout: float
    told: set[MachineName] = field(default_factory=set)  # machines that are waited for, and it was said
    _busy: dict[MachineName, float] = field(default_factory=dict)  # when a runner was last seen at work for others
    _seen: float | None = None
    _seeing: bool = False

    def saw(self, busy: Collection[MachineName], now: float) -> None:
        """The machines whose runners work for other runs now."""
        self._seeing, self._seen = False, now
        self._busy |= dict.fromkeys(busy, now)

    def decide(
        self,
        machine: MachineName,
        since: float,
        now: float,
        *,
        others: Collection[MachineName],
        waiting: Collection[MachineName],
        worked: Callable[[MachineName], float],
    ) -> Wait | None:
        """For a job that waits for `machine` beyond the timeout; None while it is being found out.

        Args:
            since: when it was queued, or the machine last worked for us.
            others: machines that may get work instead.
            waiting: those that jobs of ours wait for.
            worked: when one last worked for us.
        """
        if any(name not in waiting or now - worked(name) < self.timeout for name in others):
            return Wait.MOVE
        if self._seen is None or now - self._seen > SEE_AGAIN:
            if self._seeing:
                return None
            self._seeing = True
            return Wait.SEE
        seen = max(self._busy.values(), default=0.0) if machine == ANY_MACHINE else self._busy.get(machine, 0.0)
        return Wait.GIVE_UP if now - max(since, seen) > PATIENCE * self.timeout else Wait.GO_ON
