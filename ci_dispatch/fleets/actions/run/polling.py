"""When to look, fetch and run again: the clocks of the runs we follow. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ci_dispatch.core.codec import replace
from ci_dispatch.core.errors import GitHubRefused
from ci_dispatch.core.model import ShardKind, TestId
from ci_dispatch.fleets.actions import messages as g
from ci_dispatch.fleets.actions.rest.errors import RateLimited, RequestRefused, Unavailable
from ci_dispatch.fleets.actions.run.dispatch_planner import Terms
from ci_dispatch.fleets.actions.run.poll_budget import Pace
from ci_dispatch.fleets.actions.run.rerun import Remedy
from ci_dispatch.fleets.actions.run.workflow_run import Track, Tracked
from ci_dispatch.run.ledger import Ledger

FIRST_LOOK = 5.0  # after a dispatch: its jobs take seconds to appear
FETCH_INTERVAL = 120.0  # between two fetches while jobs still run
FETCH_AGAIN = 20.0  # for reports of jobs that have all ended
RERUN_AGAIN = 30.0  # while GitHub still calls the run running
RERUN_PATIENCE = 900.0  # a dead runner's job looks alive for almost ten minutes
BLIND = 60.0  # looks without any job, until the run itself is looked at


class Following:
    def __init__(self, terms: Terms) -> None:
        self._patience = terms.patience
        self._pace = Pace(interval=terms.poll_interval)
        self._quiet_until = 0.0  # a rate limit was told
        self._failing_since: float | None = None

    def sent(self, tracked: Tracked, run: int, now: float) -> None:
        tracked.run, tracked.look_due = run, now + FIRST_LOOK

    def wishes(self, runs: Sequence[Tracked], now: float) -> list[g.Asked]:
        asked: list[g.Asked] = []
        for tracked in runs:
            if tracked.run is None or tracked.over or now < self._quiet_until:
                continue
            if not tracked.looking and now >= tracked.look_due and not tracked.settled and not tracked.ended:
                tracked.looking = True
                blind = tracked.blind_since is not None and now - tracked.blind_since >= BLIND
                asked.append(g.Look(tracked.run, whole=blind, seen=frozenset(tracked.noted)))
            wanted = tracked.wanted()
            if wanted and not tracked.fetching and (now >= tracked.fetch_due or self._just_ended(tracked)):
                tracked.fetching = True
                asked.append(self._fetch(tracked))
        return asked

    @staticmethod
    def _just_ended(tracked: Tracked) -> bool:
        """All jobs have ended and nobody has fetched since: no reason to wait."""
        return tracked.ended and all(tracked.tracks[shard].missing == 0 for shard in tracked.wanted())

    @staticmethod
    def _fetch(tracked: Tracked) -> g.Fetch:
        assert tracked.run is not None
        leases = {shard: tracked.tracks[shard].lease for shard in tracked.wanted()}
        wanted = [(shard, tracked.attempt, str(lease)) for shard, lease in leases.items() if lease is not None]
        return g.Fetch(tracked.run, tracked.batch.id, tuple(wanted))

    @staticmethod
    def fetch_interval(tracked: Tracked) -> float:
        return FETCH_AGAIN if tracked.ended else FETCH_INTERVAL

    def looked(self, runs: Sequence[Tracked], tracked: Tracked, looked: g.Looked, now: float) -> None:
        self._failing_since = None
        tracked.looking, tracked.refused_since = False, None
        watched = [run for run in runs if run.run is not None and not run.over]
        owed = sum(not track.settled for run in watched for track in run.tracks.values())
        pause = self._pace.next_look(now, looked.sent, owed, looked.remaining)
        tracked.look_due = now + pause * max(1, len(watched))

    def troubled(self, runs: Sequence[Tracked], tracked: Tracked, error: GitHubRefused, now: float) -> bool:
        """A look or fetch failed; whether it is time to give up."""
        tracked.looking = False
        if isinstance(error, RateLimited):
            self._quiet_until = now + error.seconds
            for run in runs:
                run.look_due = max(run.look_due, self._quiet_until)
            return error.seconds > self._patience * 4
        self._failing_since = self._failing_since or now
        failing = now - self._failing_since
        tracked.look_due = now + min(60.0, max(self._pace.interval, failing / 4))
        return failing >= (self._patience if isinstance(error, Unavailable) else self._patience / 10)

    # -- again ------------------------------------------------------------------------------------------------------

    def remedies(
        self,
        runs: Iterable[Tracked],
        usable: Callable[[Track], bool],
        not_before: Callable[[TestId], float],
        now: float,
    ) -> list[g.Asked]:
        """For runs whose jobs have all been settled: run again, or let the tests go into a new dispatch."""
        asked: list[g.Asked] = []
        for tracked in runs:
            if tracked.over or tracked.rerunning or tracked.run is None or not tracked.settled:
                continue
            if tracked.remedy(now, usable) is not Remedy.RERUN:
                self._let_go(tracked)
                continue
            if tracked.rerun_due is None:
                owed = (test for track in tracked.tracks.values() for test in track.owed)
                tracked.rerun_due = max(not_before(test) for test in owed)
            if now >= max(tracked.rerun_due, self._quiet_until):
                tracked.rerunning = True
                asked.append(g.RunAgain(tracked.run, tracked.attempt))
        return asked

    @staticmethod
    def _let_go(tracked: Tracked) -> None:
        tracked.over = True
        for track in tracked.tracks.values():
            track.owed = set()

    @staticmethod
    def rerun_accepted(tracked: Tracked, ledger: Ledger, now: float) -> list[Track]:
        """The run's next attempt begins: its failed jobs anew, each for the tests it owes."""
        tracked.rerunning, tracked.rerun_due, tracked.refused_since = False, None, None
        tracked.attempt += 1
        tracked.look_due = now + FIRST_LOOK
        again: list[Track] = []
        for shard, track in tracked.tracks.items():
            if track.passed:
                continue
            tests = tuple(test for test in track.entry.shard.tests if test in track.owed)
            entry = replace(track.entry, shard=replace(track.entry.shard, tests=tests, kind=ShardKind.RETRY))
            tracked.tracks[shard] = Track(entry, now)
            again.append(tracked.tracks[shard])
        assert all(ledger.records[test].lease is None for track in again for test in track.entry.shard.tests)
        return again

    def rerun_refused(self, tracked: Tracked, error: GitHubRefused, now: float) -> bool:
        """Whether to give the re-run up: its tests then go into a new dispatch."""
        tracked.rerunning = False
        tracked.refused_since = tracked.refused_since or now
        waits = isinstance(error, RateLimited | Unavailable) or (
            isinstance(error, RequestRefused) and error.status == 403 and "running" in str(error)
        )
        if waits and now - tracked.refused_since < RERUN_PATIENCE:
            tracked.rerun_due = now + (error.seconds if isinstance(error, RateLimited) else RERUN_AGAIN)
            return False
        self._let_go(tracked)
        return True
