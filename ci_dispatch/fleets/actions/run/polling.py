"""When to poll, download and run again, and when GitHub has been silent for too long: the clocks of all runs. Pure.

Polls are as frequent as the request budget allows, never more than asked for. A 48-shard run needs 48 downloads
whatever we do; what is left of the budget is spread evenly over the polls.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ci_dispatch.core.errors import GitHubRefused
from ci_dispatch.fleets.actions import messages as g
from ci_dispatch.fleets.actions.rest.errors import RateLimited, Unavailable
from ci_dispatch.fleets.actions.run.workflow_run import WorkflowRun

WINDOW = 1800.0  # seconds the budget is for
BUDGET = 120  # requests in a window at the default interval: a quarter of GITHUB_TOKEN's 1,000 an hour
DEFAULT_INTERVAL = 15.0  # seconds; who asks for a shorter one pays with more requests
SLOWEST = 60.0  # seconds between two polls, however little is left
RESERVE = 6  # for a dispatch, a re-run, a listing and what else comes up
FIRST_POLL = 5.0  # after a dispatch: its jobs take seconds to appear
DOWNLOAD_INTERVAL = 120.0  # between two downloads while jobs still run
DOWNLOAD_AGAIN = 20.0  # when all jobs have ended, or one ended and its report was not there
NO_JOBS = 60.0  # polls without any job, until the run itself is asked for
LONG_RATE_LIMIT = 4  # times our patience: longer than that is not waited for


class Polling:
    """Seconds since the epoch. After a rate limit nothing is asked of GitHub until it allows it."""

    def __init__(self, interval: float, patience: float) -> None:
        self._patience = patience
        self._budget = PollBudget(interval=interval)
        self._quiet_until = 0.0
        self._failing_since: float | None = None

    def quiet(self, now: float) -> bool:
        return now < self._quiet_until

    def began(self, run: WorkflowRun, now: float) -> None:
        run.poll_due = now + FIRST_POLL

    def commands(self, runs: Iterable[WorkflowRun], now: float) -> Iterator[g.Poll | g.Download]:
        for run in runs:
            if run.id is None or run.over or self.quiet(now):
                continue
            asks = not run.ended or run.asks_who_cancelled
            if not run.polling and now >= run.poll_due and not run.settled and asks:
                run.polling = True
                silent = run.no_jobs_since is not None and now - run.no_jobs_since >= NO_JOBS
                yield g.Poll(run.id, whole=silent or run.asks_who_cancelled, annotated=frozenset(run.annotations))
            if run.wanted() and not run.downloading and (now >= run.download_due or self._just_ended(run)):
                run.downloading = True
                yield self._download(run, run.id)

    @staticmethod
    def _just_ended(run: WorkflowRun) -> bool:
        """All jobs have ended and nothing was downloaded since: no reason to wait."""
        return run.ended and all(run.jobs[shard].missing == 0 for shard in run.wanted())

    @staticmethod
    def _download(run: WorkflowRun, number: int) -> g.Download:
        leases = {shard: run.jobs[shard].lease for shard in run.wanted()}
        wanted = [(shard, run.attempt, str(lease)) for shard, lease in leases.items() if lease is not None]
        return g.Download(number, run.batch.id, tuple(wanted), run.to_explain())

    def downloaded(self, run: WorkflowRun, now: float) -> None:
        run.downloading = False
        soon = run.ended or any(run.jobs[shard].missing for shard in run.wanted())
        run.download_due = now + (DOWNLOAD_AGAIN if soon else DOWNLOAD_INTERVAL)

    def polled(self, runs: Sequence[WorkflowRun], run: WorkflowRun, polled: g.Polled, now: float) -> None:
        self._failing_since = None
        run.polling, run.refused_since = False, None
        watched = [each for each in runs if each.id is not None and not each.over]
        owed = sum(not job.settled for each in watched for job in each.jobs.values())
        pause = self._budget.next_poll(now, polled.sent, owed, polled.remaining)
        run.poll_due = now + pause * max(1, len(watched))

    def failed(self, runs: Iterable[WorkflowRun], run: WorkflowRun, error: GitHubRefused, now: float) -> bool:
        """A poll or a download failed; whether it is time to give up."""
        run.polling = False
        if isinstance(error, RateLimited):
            return self.limited(runs, error, now)
        self._failing_since = now if self._failing_since is None else self._failing_since
        failing = now - self._failing_since
        run.poll_due = now + min(60.0, max(self._budget.interval, failing / 4))
        return failing >= (self._patience if isinstance(error, Unavailable) else self._patience / 10)

    def limited(self, runs: Iterable[WorkflowRun], error: RateLimited, now: float) -> bool:
        """Nothing is asked before GitHub allows it; whether that is too long to wait."""
        self._quiet_until = now + error.seconds
        for run in runs:
            run.poll_due = max(run.poll_due, self._quiet_until)
        return error.seconds > self._patience * LONG_RATE_LIMIT


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
