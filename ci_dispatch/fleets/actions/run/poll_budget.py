"""How often to poll: as often as the request budget allows, never more often than asked for. Pure.

A 48-shard run needs 48 downloads whatever we do; what is left of the budget is spread evenly over the polls.
"""

from __future__ import annotations

from dataclasses import dataclass

WINDOW = 1800.0  # seconds the budget is for
BUDGET = 120  # requests in a window at the default interval: a quarter of GITHUB_TOKEN's 1,000 an hour
DEFAULT_INTERVAL = 15.0  # seconds; who asks for a shorter one pays with more requests
SLOWEST = 60.0  # seconds between two polls, however little is left
RESERVE = 6  # for a dispatch, a re-run, a listing and what else comes up


@dataclass(slots=True)
class PollBudget:
    """`interval` is the shortest time between polls."""

    interval: float = DEFAULT_INTERVAL
    _window_began: float = 0.0
    _sent_before: int = 0

    @property
    def budget(self) -> int:
        return max(BUDGET, round(BUDGET * DEFAULT_INTERVAL / self.interval))

    def next_poll(self, now: float, sent: int, owed: int, remaining: int | None = None) -> float:
        """Seconds until the next poll. `sent`: requests so far; `owed`: those that must come, such as downloads.

        `remaining` is what the token has left, which others spend too: near its end we slow down first.
        """
        if now - self._window_began >= WINDOW or not self._window_began:
            self._window_began, self._sent_before = now, sent
        left = self.budget - (sent - self._sent_before) - owed - RESERVE
        if remaining is not None:
            left = min(left, remaining - owed - RESERVE)
        if left <= 0:
            return SLOWEST
        time_left = WINDOW - (now - self._window_began)
        return min(SLOWEST, max(self.interval, time_left / left))
