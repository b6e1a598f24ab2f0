"""One dispatched workflow run and its jobs: what each poll, download and hour tells about its shards. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from ci_dispatch.core.model import AttemptResult, Ended, FailureCause, LeaseNumber, MachineName, ShardId, TestId
from ci_dispatch.fleets.actions.messages import Polled
from ci_dispatch.fleets.actions.rest.models import JobView
from ci_dispatch.fleets.actions.run.batches import Batch
from ci_dispatch.fleets.actions.run.cancelling import CancelState
from ci_dispatch.fleets.actions.run.dispatching import DispatchState
from ci_dispatch.fleets.actions.run.job_outcome import JobOutcome, ended_with_its_run, job_outcome, shard_of
from ci_dispatch.fleets.actions.run.matrix import MatrixJob
from ci_dispatch.fleets.actions.run.rerun import EndedJob, Remedy, remedy
from ci_dispatch.run.messages import CancelledExternally

DOWNLOAD_TRIES = 3  # after a job's end, until its report counts as missing
CANCEL_SECONDS = 300.0  # GitHub ends a cancelled run's jobs by force after this; one that still runs was not cancelled
LIMIT_SLACK = 60.0  # seconds by which a job that ran for its whole time limit may look shorter to us


@dataclass(frozen=True, slots=True)
class JobStarted:
    """A runner took the shard."""

    shard: ShardId
    runner: str


@dataclass(frozen=True, slots=True)
class NotTaken:
    """No runner took the shard for so long (seconds)."""

    shard: ShardId
    seconds: float


@dataclass(frozen=True, slots=True)
class JobEnded:
    """The shard's attempt is over and no report will tell more."""

    shard: ShardId
    result: AttemptResult


Finding: TypeAlias = JobStarted | NotTaken | JobEnded | CancelledExternally


@dataclass(slots=True)
class ShardJob:
    """One shard in the current attempt of its run."""

    job: MatrixJob
    since: float  # when it was queued
    lease: LeaseNumber | None = None  # None: in a shared queue, nobody took it yet
    outcome: JobOutcome = JobOutcome.WAITING
    passed: bool = False
    started: float | None = None
    changed: float = 0.0  # when its outcome last changed
    view: JobView | None = None  # as GitHub showed it last
    stopped: bool = False  # it was cancelled, and its run was not
    settled: bool = False  # its lease has ended
    missing: int = 0  # downloads that did not bring its report
    owed: set[TestId] = field(default_factory=set)  # to be tried again in a re-run

    @property
    def awaits_report(self) -> bool:
        return not self.settled and not self.outcome.open


@dataclass(slots=True)
class WorkflowRun:
    """A dispatch and what became of it."""

    batch: Batch
    sent_at: float
    jobs: dict[ShardId, ShardJob]
    dispatch: DispatchState
    id: int | None = None  # GitHub's; None until it is known
    attempt: int = 1
    cancel: CancelState = field(default_factory=CancelState)
    annotations: dict[int, tuple[str, ...]] = field(default_factory=dict)  # by job
    polling: bool = False
    poll_due: float = 0.0
    no_jobs_since: float | None = None  # polls that show no job at all
    conclusion: str = ""  # of the run itself, once GitHub has shown it as completed in this attempt
    downloading: bool = False
    download_due: float = 0.0
    rerun_due: float | None = None
    rerunning: bool = False
    refused_since: float | None = None
    later: int = 0  # an attempt that somebody else began
    over: bool = False  # nothing more is expected of it

    @classmethod
    def of(cls, batch: Batch, now: float) -> WorkflowRun:
        jobs = {job.shard.id: ShardJob(job, now) for job in batch.jobs}
        return cls(batch, now, jobs, DispatchState(due=now))

    @property
    def expected(self) -> set[TestId]:
        """Tests that it may still tell about, or will once its failed jobs are run again."""
        jobs = () if self.over else self.jobs.values()
        return {test for job in jobs for test in (job.owed if job.settled else job.job.shard.tests)}

    @property
    def ended(self) -> bool:
        """Every job has ended, for all we know."""
        return all(job.settled or not job.outcome.open for job in self.jobs.values())

    @property
    def settled(self) -> bool:
        return all(job.settled for job in self.jobs.values())

    @property
    def open_jobs(self) -> list[ShardJob]:
        """Those whose end is waited for."""
        return [] if self.over else [job for job in self.jobs.values() if not job.settled]

    @property
    def still_runs(self) -> bool:
        """GitHub may still have jobs of it that nobody waits for."""
        return self.id is not None and any(job.outcome.open for job in self.jobs.values())

    @property
    def asks_who_cancelled(self) -> bool:
        """A job was cancelled and not by us, and it is not known whether all of the run was."""
        return bool(self._cancelled()) and not self.cancel.wanted

    def _cancelled(self) -> list[ShardJob]:
        return [job for job in self.jobs.values() if not job.settled and job.outcome is JobOutcome.CANCELLED]

    def see(self, polled: Polled, now: float, *, shard_timeout: float) -> list[Finding]:
        """What is new since the last poll."""
        self.annotations.update(polled.annotations)
        findings: list[Finding] = []
        newest = max([polled.view.attempt if polled.view else 0, *(view.attempt for view in polled.jobs)])
        if newest > self.attempt and not self.rerunning:
            self._replace(newest, now)
            return []
        if polled.jobs:
            self.no_jobs_since = None
        elif polled.view and polled.view.completed:
            return self._without_jobs(polled.view.conclusion, polled.view.url)
        else:
            self.no_jobs_since = now if self.no_jobs_since is None else self.no_jobs_since
        for view in polled.jobs:
            shard = shard_of(view, self.jobs)
            if shard is not None and view.attempt == self.attempt and not self.jobs[shard].settled:
                findings += self._job(self.jobs[shard], view, now, shard_timeout)
        if polled.view and polled.view.completed and polled.view.attempt >= self.attempt:
            self.conclusion = polled.view.conclusion or "completed"
        return findings + self._who_cancelled(now)

    def _replace(self, attempt: int, now: float) -> None:
        """Somebody has run it again, perhaps after a cancel that no poll saw: what was told still counts."""
        self.later, self.download_due = attempt, now
        for job in self.jobs.values():
            if not job.settled:
                job.outcome, job.changed = JobOutcome.REPLACED, now

    def _job(self, job: ShardJob, view: JobView, now: float, shard_timeout: float) -> list[Finding]:
        findings: list[Finding] = []
        shard, before = job.job.shard.id, job.outcome
        job.outcome, job.passed = job_outcome(view, self.annotations.get(view.id, ())), view.conclusion == "success"
        ran = 0.0 if job.started is None else now - job.started
        if job.outcome is JobOutcome.CANCELLED and ran >= shard_timeout - LIMIT_SLACK:
            job.outcome = JobOutcome.TIMED_OUT  # GitHub says so only in an annotation, which we may not be able to see
        if job.outcome is JobOutcome.CANCELLED and job.stopped:
            job.outcome = JobOutcome.STOPPED
        if job.outcome is not before:
            job.changed = now
        job.view = view
        if view.taken and job.started is None:
            job.started = now
            findings.append(JobStarted(shard, view.runner))
        if job.outcome is JobOutcome.LOST:
            why = f"GitHub lost the runner {view.runner or '?'} while it ran {view.name}"
            findings.append(JobEnded(shard, _nothing(Ended.LOST, why)))
        elif job.outcome is JobOutcome.NEVER_STARTED:
            findings.append(
                JobEnded(shard, _nothing(Ended.NOT_STARTED, f"no runner took {view.name}: {view.conclusion}"))
            )
        return findings

    def _who_cancelled(self, now: float) -> list[Finding]:
        """Did somebody cancel the run, or did GitHub end single jobs of it, such as those of a stopped runner?

        The run's conclusion proves nothing: GitHub concludes it as cancelled when one job was
        (https://github.com/vm0-ai/vm0/issues/35329). Annotations say; where we may not see them, a run that goes on.
        """
        if not self.asks_who_cancelled:
            return []
        cancelled = self._cancelled()
        notes = [self._notes(job) for job in cancelled]
        if any(map(ended_with_its_run, notes)):
            return [self._cancelled_outside()]
        went_on = self._went_on(min(job.changed for job in cancelled), now)
        unknown = [job for job, said in zip(cancelled, notes, strict=True) if not said and not went_on]
        if unknown and not self.conclusion:
            stopped = [job for job in cancelled if job not in unknown]
        elif self.conclusion == "cancelled" and (len(unknown) > 1 or any(job.started is None for job in unknown)):
            return [self._cancelled_outside()]  # all that had not ended, at once, or one that no runner had
        else:
            stopped = cancelled
        for job in stopped:
            job.stopped, job.outcome = True, JobOutcome.STOPPED
            self.download_due = now  # it may have had the time to report
        return []

    def _went_on(self, since: float, now: float) -> bool:
        """Whether other jobs did what those of a cancelled run cannot: wait or run for long, or end by themselves."""
        return any(
            (job.outcome is JobOutcome.WAITING and now > since)
            or (job.outcome is JobOutcome.RUNNING and now - since > CANCEL_SECONDS)
            or (job.outcome is JobOutcome.REPORTS and job.changed > since)
            for job in self.jobs.values()
        )

    def _notes(self, job: ShardJob) -> tuple[str, ...]:
        return self.annotations.get(job.view.id, ()) if job.view else ()

    def _cancelled_outside(self) -> CancelledExternally:
        return CancelledExternally(f"run {self.id} was cancelled on GitHub, and not by us")

    def overdue(
        self, now: float, idle_since: Callable[[MachineName], float], *, queue_timeout: float, shard_timeout: float
    ) -> list[Finding]:
        """Jobs that wait or run too long. `idle_since`: when a machine last did something for us; `now` while it does.

        Waiting for a machine that works for us is no reason to go elsewhere.
        """
        findings: list[Finding] = []
        for shard, job in self.jobs.items():
            if job.settled:
                continue
            waited = now - max(job.since, idle_since(job.job.machine))
            if job.outcome is JobOutcome.WAITING and waited > queue_timeout:
                findings.append(NotTaken(shard, waited))
            elif job.outcome is JobOutcome.RUNNING and job.started is not None and now - job.started > shard_timeout:
                why = f"GitHub shows it running for more than {shard_timeout:.0f} s, longer than it may"
                findings.append(JobEnded(shard, _nothing(Ended.LOST, why)))
        return findings

    def _without_jobs(self, conclusion: str, url: str) -> list[Finding]:
        """The run has ended and never had a job: the workflow itself cannot be used, and no retry helps."""
        why = f"the worker workflow made no jobs ({conclusion or 'no conclusion'}): look at {url}"
        result = AttemptResult(ended=Ended.NOT_STARTED, cause=FailureCause.USAGE, reason=why)
        for job in self.jobs.values():
            job.outcome = JobOutcome.NEVER_STARTED
        return [JobEnded(shard, result) for shard, job in self.jobs.items() if not job.settled]

    def wanted(self) -> tuple[ShardId, ...]:
        """Shards whose job has ended and whose report is not here."""
        return tuple(shard for shard, job in self.jobs.items() if job.awaits_report)

    def not_downloaded(self) -> list[Finding]:
        """After a download: shards whose report will not come any more."""
        findings: list[Finding] = []
        for shard in self.wanted():
            job = self.jobs[shard]
            job.missing += 1
            gone = job.outcome in (JobOutcome.STOPPED, JobOutcome.REPLACED)
            undecided = job.outcome is JobOutcome.CANCELLED and self.asks_who_cancelled
            if gone or (job.missing >= DOWNLOAD_TRIES and not undecided):  # whatever the others do
                findings.append(JobEnded(shard, self._without_report(job)))
        return findings

    def to_explain(self) -> tuple[int, ...]:
        """Jobs, by GitHub's id, whose report is looked for a last time: what else is noted about them?"""
        last = (job for job in self.jobs.values() if job.awaits_report and job.missing == DOWNLOAD_TRIES - 1)
        return tuple(job.view.id for job in last if job.view and job.view.id not in self.annotations)

    def _without_report(self, job: ShardJob) -> AttemptResult:
        why = f"its job {job.outcome} and left no report{self._where_it_failed(job)}"
        match job.outcome:
            case JobOutcome.TIMED_OUT:
                return AttemptResult(ended=Ended.TIMED_OUT, reason=why)
            case JobOutcome.CANCELLED | JobOutcome.REPLACED:
                return AttemptResult(ended=Ended.CANCELLED, reason=why)
            case JobOutcome.STOPPED if job.started is None:
                return AttemptResult(ended=Ended.NOT_STARTED, reason="it was cancelled before a runner took it")
            case JobOutcome.STOPPED:
                return _nothing(Ended.LOST, f"{why}: its runner was stopped")
            case _:
                return AttemptResult(ended=Ended.EXITED, cause=FailureCause.CRASH, reason=why)

    def _where_it_failed(self, job: ShardJob) -> str:
        if job.view is None:
            return ""
        step = next((f": its step {step.name} failed" for step in job.view.steps if step.conclusion == "failure"), "")
        notes = "; ".join(self._notes(job))
        return step + (f" ({notes})" if notes else "") + (f", see {job.view.url}" if job.view.url else "")

    def remedy(self, now: float, usable: Callable[[ShardJob], bool]) -> Remedy:
        jobs = [
            EndedJob(outcome=job.outcome, passed=job.passed, owes=bool(job.owed), usable=usable(job))
            for job in self.jobs.values()
        ]
        return remedy(jobs, attempt=self.attempt, age=now - self.sent_at, cancelled=self.cancel.wanted)


def _nothing(ended: Ended, why: str) -> AttemptResult:
    return AttemptResult(ended=ended, cause=FailureCause.MACHINE, reason=why)
