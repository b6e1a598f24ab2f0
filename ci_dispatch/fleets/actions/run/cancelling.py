"""Cancel a workflow run until that is accepted, then by force when its jobs go on. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from ci_dispatch.core.errors import GitHubRefused
from ci_dispatch.fleets.actions.messages import CancelRun
from ci_dispatch.fleets.actions.rest.errors import RateLimited

CANCEL_AGAIN = 5.0  # seconds, after a cancel that failed
FORCE_AFTER = 60.0  # seconds, for an accepted or a failing cancel to take effect


@dataclass(slots=True)
class CancelState:
    """Seconds since the epoch."""

    since: float | None = None  # when it was first wanted
    accepted: bool = False  # GitHub will end it
    _due: float = 0.0
    _in_flight: bool = False
    _forced: bool = False

    @property
    def wanted(self) -> bool:
        return self.since is not None

    @property
    def pending(self) -> bool:
        """It is wanted, and GitHub does not know yet."""
        return self.wanted and not self.accepted

    def next(self, run: int, now: float, *, force: bool) -> CancelRun | None:
        """What to send now for a run that has jobs nobody waits for; `force`: the gentle way is of no use."""
        self.since = now if self.since is None else self.since
        force = force or now - self.since >= FORCE_AFTER
        if self._in_flight or now < self._due or (self.accepted and (self._forced or not force)):
            return None
        self._in_flight, self._forced = True, force
        return CancelRun(run, force)

    def answered(self, error: GitHubRefused | None, now: float) -> None:
        self._in_flight = False
        self.accepted = self.accepted or error is None
        if error is not None:
            self._forced = False
            self._due = now + (error.seconds if isinstance(error, RateLimited) else CANCEL_AGAIN)
