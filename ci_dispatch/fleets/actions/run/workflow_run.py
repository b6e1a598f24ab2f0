"""One dispatched run as we follow it: what each look tells about its shards. Pure; the dispatcher decides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from ci_dispatch.core.model import AttemptResult, Ended, FailureCause, LeaseNumber, MachineName, ShardId, TestId
from ci_dispatch.fleets.actions.messages import Looked
from ci_dispatch.fleets.actions.rest.models import JobView
from ci_dispatch.fleets.actions.run.batches import Batch
from ci_dispatch.fleets.actions.run.job_outcome import Fate, fate, shard_of
from ci_dispatch.fleets.actions.run.matrix import MatrixJob
from ci_dispatch.fleets.actions.run.rerun import Remedy, Standing, remedy

REPORT_TRIES = 3  # fetches after a job's end until its report counts as missing


@dataclass(frozen=True, slots=True)
class Took:
    """A runner took the shard."""

    shard: ShardId
    runner: str


@dataclass(frozen=True, slots=True)
class Over:
    """The shard's attempt is over and no report will tell more."""

    shard: ShardId
    result: AttemptResult


@dataclass(frozen=True, slots=True)
class CalledOff:
    """Somebody cancelled the run, and it was not us."""

    reason: str


News: TypeAlias = Took | Over | CalledOff


@dataclass(slots=True)
class Track:
    """One shard in the current attempt of its run."""

    entry: MatrixJob
    since: float  # when it was queued
    lease: LeaseNumber | None = None  # None: pooled, nobody took it yet
    fate: Fate = Fate.WAITING
    passed: bool = False
    started: float | None = None
    settled: bool = False  # its lease has ended
    missing: int = 0  # fetches that did not bring its report
    owed: set[TestId] = field(default_factory=set)  # to be tried again in a re-run

    @property
    def awaits_report(self) -> bool:
        return not self.settled and not self.fate.open


@dataclass(slots=True)
class Tracked:
    batch: Batch
    sent_at: float
    tracks: dict[ShardId, Track]
    run: int | None = None
    attempt: int = 1
    noted: set[int] = field(default_factory=set)  # jobs whose annotations are known
    moved: dict[MachineName, float] = field(default_factory=dict)  # when a job of that machine last did something
    looking: bool = False
    look_due: float = 0.0
    blind_since: float | None = None  # looks that show no job at all
    fetching: bool = False
    fetch_due: float = 0.0
    rerun_due: float | None = None
    rerunning: bool = False
    refused_since: float | None = None
    cancelled: bool = False  # by us
    over: bool = False  # nothing more is expected of it

    @classmethod
    def of(cls, batch: Batch, now: float) -> Tracked:
        return cls(batch, now, {entry.shard.id: Track(entry, now) for entry in batch.entries})

    @property
    def ended(self) -> bool:
        """Every job has ended, for all we know."""
        return all(track.settled or not track.fate.open for track in self.tracks.values())

    @property
    def settled(self) -> bool:
        return all(track.settled for track in self.tracks.values())

    @property
    def open_jobs(self) -> bool:
        """GitHub may still have jobs of it that nobody waits for."""
        return self.run is not None and any(track.fate.open for track in self.tracks.values())

    def see(self, looked: Looked, now: float, *, queue_timeout: float, shard_timeout: float) -> list[News]:
        """What is new since the last look."""
        self.noted.update(looked.notes)
        news: list[News] = []
        if looked.jobs:
            self.blind_since = None
        elif looked.view and looked.view.completed:
            return self._stillborn(looked.view.conclusion, looked.view.url)
        else:
            self.blind_since = self.blind_since or now
        for job in looked.jobs:
            shard = shard_of(job, self.tracks)
            if shard is not None and job.attempt == self.attempt and not self.tracks[shard].settled:
                news += self._job(self.tracks[shard], job, looked.notes.get(job.id, ()), now)
        return news + self._overdue(now, queue_timeout, shard_timeout)

    def _job(self, track: Track, job: JobView, notes: tuple[str, ...], now: float) -> list[News]:
        news: list[News] = []
        shard, before = track.entry.shard.id, track.fate
        track.fate, track.passed = fate(job, notes), job.conclusion == "success"
        if track.fate is not before:
            self.moved[track.entry.machine] = now
        if job.taken and track.started is None:
            track.started = now
            news.append(Took(shard, job.runner))
        if track.fate is Fate.LOST:
            why = f"GitHub lost the runner {job.runner or '?'} while it ran {job.name}"
            news.append(Over(shard, _nothing(Ended.LOST, why)))
        elif track.fate is Fate.NEVER_STARTED:
            news.append(Over(shard, _nothing(Ended.NOT_STARTED, f"no runner took {job.name}: {job.conclusion}")))
        elif track.fate is Fate.CANCELLED and not self.cancelled:
            news.append(CalledOff(f"{job.name} was cancelled on GitHub, and not by us"))
        return news

    def _overdue(self, now: float, queue_timeout: float, shard_timeout: float) -> list[News]:
        busy = {t.entry.machine for t in self.tracks.values() if t.fate is Fate.RUNNING and not t.settled}
        news: list[News] = []
        for shard, track in self.tracks.items():
            if track.settled:
                continue
            idle_since = max(track.since, self.moved.get(track.entry.machine, 0.0))
            if track.fate is Fate.WAITING and track.entry.machine not in busy and now - idle_since > queue_timeout:
                labels = ", ".join(track.entry.labels)
                why = f"no runner with the labels {labels} took it within {queue_timeout:.0f} s"
                news.append(Over(shard, _nothing(Ended.NOT_STARTED, why)))
            elif track.fate is Fate.RUNNING and track.started is not None and now - track.started > shard_timeout:
                why = f"GitHub shows it running for more than {shard_timeout:.0f} s, longer than it may"
                news.append(Over(shard, _nothing(Ended.LOST, why)))
        return news

    def _stillborn(self, conclusion: str, url: str) -> list[News]:
        """The run has ended and never had a job: the workflow itself cannot be used, and no retry helps."""
        why = f"the worker workflow made no jobs ({conclusion or 'no conclusion'}): look at {url}"
        result = AttemptResult(ended=Ended.NOT_STARTED, cause=FailureCause.USAGE, reason=why)
        for track in self.tracks.values():
            track.fate = Fate.NEVER_STARTED
        return [Over(shard, result) for shard, track in self.tracks.items() if not track.settled]

    def wanted(self) -> tuple[ShardId, ...]:
        """Shards whose job has ended and whose report is not here."""
        return tuple(shard for shard, track in self.tracks.items() if track.awaits_report)

    def not_brought(self) -> list[News]:
        """After a fetch: shards whose report will not come any more."""
        news: list[News] = []
        for shard in self.wanted():
            track = self.tracks[shard]
            track.missing += 1
            if track.missing < REPORT_TRIES or not self.ended:
                continue
            ended = Ended.CANCELLED if track.fate is Fate.CANCELLED else Ended.EXITED
            ended = Ended.TIMED_OUT if track.fate is Fate.TIMED_OUT else ended
            why = f"its job {track.fate} and left no report"
            trouble = FailureCause.CRASH if ended is Ended.EXITED else FailureCause.NONE
            news.append(Over(shard, AttemptResult(ended=ended, cause=trouble, reason=why)))
        return news

    def remedy(self, now: float, usable: Callable[[Track], bool]) -> Remedy:
        standings = [
            Standing(fate=track.fate, passed=track.passed, owes=bool(track.owed), usable=usable(track))
            for track in self.tracks.values()
        ]
        return remedy(standings, attempt=self.attempt, age=now - self.sent_at, cancelled=self.cancelled)


def _nothing(ended: Ended, why: str) -> AttemptResult:
    return AttemptResult(ended=ended, cause=FailureCause.MACHINE, reason=why)
