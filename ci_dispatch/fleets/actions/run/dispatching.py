"""Exactly one run for each batch: while it is not known whether a dispatch arrived, look before sending again. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from ci_dispatch.core.errors import GitHubRefused
from ci_dispatch.fleets.actions.messages import Dispatch, FindRun
from ci_dispatch.fleets.actions.rest.errors import RateLimited, Unavailable
from ci_dispatch.fleets.actions.run.batches import Batch

SEND_SECONDS = 900.0  # GitHub may be away for so long: what ran already is not thrown away for a lost answer
SEARCH_SECONDS = 60.0  # a run may take as long to appear in the list of runs
SEARCH_AGAIN = 5.0
SEARCH_BACK = 120.0  # how much earlier than the search a run of ours may have begun


@dataclass(slots=True)
class DispatchState:
    """How far the dispatch of one batch has come, until its run is known. Seconds since the epoch."""

    due: float | None  # when to send it; None: it was sent and may have started a run, which is looked for
    sent: int = 0
    in_flight: bool = False  # a request is on its way
    search_since: float = 0.0
    search_due: float = 0.0
    search_back: float = SEARCH_BACK
    error: GitHubRefused | None = None  # the last one
    first_sent: float = 0.0

    @property
    def unsent(self) -> bool:
        """No run came of it, for all we know, and none is on its way."""
        return self.due is not None and not self.in_flight

    def search(self, now: float, back: float = SEARCH_BACK) -> None:
        """It may have started a run: look for that before anything is sent again."""
        self.due, self.search_since, self.search_due, self.search_back = None, now, now, back

    def next(self, batch: Batch, now: float, *, send: bool = True) -> Dispatch | FindRun | None:
        """What to ask now, when nothing is on its way; `send`: a new run is still of use."""
        if self.in_flight or now < (self.search_due if self.due is None else self.due):
            return None
        if self.due is not None and not send:
            return None
        self.in_flight = True
        if self.due is None:
            return FindRun(batch.id, self.search_since - self.search_back)
        self.first_sent = self.first_sent if self.sent else now
        self.sent += 1
        return Dispatch(batch)

    def failed(self, error: GitHubRefused, now: float) -> bool:
        """The dispatch failed; whether to give it up. A rate limit did nothing, no answer may have started a run."""
        self.in_flight, self.error = False, error
        if isinstance(error, RateLimited):
            self.sent -= 1  # it was refused before it did anything
            self.due = now + error.seconds
            return False
        if isinstance(error, Unavailable):
            self.search(now)
            return False
        return True

    def not_found(self, error: GitHubRefused | None, now: float) -> bool:
        """The run is not in the list (yet), or the list could not be had; whether to give the dispatch up.

        It is sent again only when a list that came, late enough, does not have it.
        """
        self.in_flight = False
        if isinstance(error, RateLimited):  # waiting for GitHub is no search
            self.search_since += error.seconds
            self.search_due = now + error.seconds
            return False
        self.error = error or self.error
        searched = now - self.search_since >= SEARCH_SECONDS
        since = self.first_sent if self.sent else self.search_since
        if searched and error is None and (not self.sent or now - since < SEND_SECONDS):
            self.due = now + SEARCH_SECONDS * max(0, self.sent - 1)  # 0, 1, 2 ... minutes more each time
        elif searched and now - since >= SEND_SECONDS:
            return True
        else:
            self.search_due = now + SEARCH_AGAIN
        return False

    @property
    def reason(self) -> GitHubRefused:
        """Why it was given up."""
        return self.error or Unavailable(
            "The worker workflow was not dispatched", why=f"it was sent {self.sent} times and never appeared"
        )
