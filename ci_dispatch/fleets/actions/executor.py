"""Carries out what an `ActionsFleet` asks for: calls of GitHub's API, downloads, and the file of dispatches.

Nothing here waits but for an answer: rate limits and retries are clocks of the fleet. Two queues, each with a client of
its own; cancelling has one, so that a run is told to end at once even while another call waits for GitHub: a runner
gives a cancelled orchestrator seven seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from ci_dispatch.core.errors import GitHubRefused, UnreadableReport
from ci_dispatch.core.model import AttemptResult, Ended, FailureCause, ShardId
from ci_dispatch.fleets.actions import messages as g
from ci_dispatch.fleets.actions import shard_report
from ci_dispatch.fleets.actions.rest.api import GitHubApi
from ci_dispatch.fleets.actions.rest.artifacts import ArtifactLimits, BadArtifact, fetch
from ci_dispatch.fleets.actions.rest.errors import RateLimited, RequestRefused, Unavailable
from ci_dispatch.fleets.actions.rest.models import ArtifactView, JobView
from ci_dispatch.fleets.actions.run.job_outcome import needs_annotations
from ci_dispatch.run.messages import Command, Message, Noticed
from ci_dispatch.run.worker_threads import WorkerThreads

ANNOTATIONS_A_POLL = 10  # asked for in one poll; the others in the next ones
RUNS_SEEN = 10  # other workflow runs that are asked which runners they have
ENDING_SECONDS = 5.0  # for a request that is on its way
CALLS, CANCELS = "github", "github-cancel"


class ActionsExecutor:
    """`ports.Executor` over two clients; each is used by one thread only."""

    takes: tuple[type[Command], ...] = (
        g.Dispatch, g.FindRun, g.Poll, g.Download, g.SeeRunners, g.RerunFailedJobs, g.CancelRun, g.SaveDispatches,
    )  # fmt: skip

    def __init__(
        self,
        github: GitHubApi,
        urgent: GitHubApi,
        *,
        workflow: str,
        ref: str,
        commit: str,
        attempts: Path,
        save: Callable[[tuple[g.SavedDispatch, ...]], None],
        threads: WorkerThreads,
    ) -> None:
        """`attempts` gets one folder for each lease; `save` writes on the loop's thread, before anything is sent.

        Results of another `commit` are not believed.
        """
        self._github, self._urgent = github, urgent
        self._workflow, self._ref, self._commit = workflow, ref, commit
        self._attempts = attempts
        self._save, self._threads = save, threads
        self._begun = False  # a run of ours is known to GitHub

    def carry_out(self, command: Command) -> None:
        match command:
            case g.SaveDispatches(dispatches=dispatches):
                self._save(dispatches)
            case g.CancelRun(run=run):
                self._enqueue(CANCELS, lambda: self._cancel(command), lambda error: g.CancelResult(run, error))
            case g.Dispatch(batch=batch):
                self._enqueue(CALLS, lambda: self._dispatch(command), lambda error: g.DispatchFailed(batch.id, error))
            case g.FindRun(batch=name):
                self._enqueue(CALLS, lambda: self._find(command), lambda error: g.RunFound(name, None, error))
            case g.Poll(run=run):
                self._enqueue(CALLS, lambda: self._poll(command), lambda error: g.PollFailed(run, error))
            case g.Download(run=run):
                self._enqueue(CALLS, lambda: self._download(command), lambda error: g.DownloadDone(run, error))
            case g.SeeRunners():
                self._enqueue(CALLS, lambda: self._see_runners(command), lambda _error: g.RunnersSeen())
            case g.RerunFailedJobs(run=run):
                self._enqueue(CALLS, lambda: self._rerun(command), lambda error: g.RerunResult(run, error))
            case _:
                raise AssertionError(command)

    def close(self) -> None:
        """Let what was asked last be sent."""
        self._threads.wait(ENDING_SECONDS)

    def _enqueue(self, queue: str, work: Callable[[], Message], failed: Callable[[GitHubRefused], Message]) -> None:
        def answer() -> Message:
            try:
                return work()
            except GitHubRefused as error:
                return failed(error)

        def defect(error: BaseException) -> Message:
            return failed(Unavailable("GitHub was not asked", why=f"internal error: {error}"))

        self._threads.enqueue(queue, answer, defect)

    # -- on the queues' threads -------------------------------------------------------------------------------------

    def _dispatch(self, command: g.Dispatch) -> Message:
        batch = command.batch
        try:
            run = self._github.dispatch(self._workflow, self._ref, batch.inputs)
        except RequestRefused as refused:
            if not (self._begun and self._commit and "No ref found" in refused.why):
                raise
            gone, self._ref = self._ref, self._github.default_branch()  # it was deleted, by a merge
            run = self._github.dispatch(self._workflow, self._ref, batch.inputs)
            text = f"the branch {gone} is gone: the workflow of {self._ref} runs the rest, at the same commit"
            self._threads.post(Noticed("github", text))
        self._begun = True
        return g.Dispatched(batch.id, run)

    def _find(self, command: g.FindRun) -> Message:
        return g.RunFound(command.batch, self._github.find_run(self._workflow, command.batch, command.since))

    def _poll(self, command: g.Poll) -> Message:
        jobs, self._begun = self._github.jobs(command.run), True
        view = self._github.run(command.run) if command.whole else None
        annotations = self._annotations(jobs, command.annotated)
        client = self._github.client
        return g.Polled(
            run=command.run,
            jobs=jobs,
            annotations=annotations,
            view=view,
            sent=client.sent,
            remaining=client.remaining,
        )

    def _annotations(self, jobs: Iterable[JobView], known: frozenset[int]) -> dict[int, tuple[str, ...]]:
        """Annotations of jobs whose end needs explaining; without them the fleet goes by the job's shape."""
        found: dict[int, tuple[str, ...]] = {}
        wanted = [job for job in jobs if needs_annotations(job) and job.id not in known]
        for job in wanted[:ANNOTATIONS_A_POLL]:
            try:
                found[job.id] = self._github.annotations(job.id)
            except (Unavailable, RateLimited):
                break
        return found

    def _see_runners(self, command: g.SeeRunners) -> Message:
        others = [run for run in self._github.in_progress() if run not in command.ours]
        jobs = (job for run in others[:RUNS_SEEN] for job in self._github.jobs(run))
        return g.RunnersSeen(tuple({job.runner for job in jobs if job.taken and not (job.completed or job.hosted)}))

    def _rerun(self, command: g.RerunFailedJobs) -> Message:
        try:
            self._github.rerun_failed(command.run)
        except Unavailable:  # it may have taken effect: the run's attempt tells
            if self._github.run(command.run).attempt <= command.attempt:
                raise
        return g.RerunResult(command.run)

    def _cancel(self, command: g.CancelRun) -> Message:
        self._urgent.cancel(command.run, force=command.force)
        return g.CancelResult(command.run)

    # -- reports ----------------------------------------------------------------------------------------------------

    def _download(self, command: g.Download) -> Message:
        try:
            listed = self._github.artifacts(command.run)
            for shard, attempt, folder in command.wanted:
                artifact = newest(listed, command.batch, shard, attempt)
                if artifact is not None:
                    result = self._result(artifact, command.batch, shard, attempt, self._attempts / folder)
                    self._threads.post(g.ReportDownloaded(command.batch, shard, attempt, result))
            notes = {job: self._github.annotations(job) for job in command.explain}
        except (Unavailable, RateLimited, RequestRefused) as error:
            return g.DownloadDone(command.run, error)
        return g.DownloadDone(command.run, annotations=notes)

    def _result(self, artifact: ArtifactView, batch: str, shard: ShardId, attempt: int, folder: Path) -> AttemptResult:
        """What the artifact says; one that cannot be used says that nothing was run."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            fetch(self._github, artifact, folder, ArtifactLimits())
            report = shard_report.read(folder)
        except shard_report.OtherVersion as error:  # no other machine can help
            return AttemptResult(ended=Ended.EXITED, cause=FailureCause.USAGE, reason=f"{error.why}; {error.hint}")
        except (BadArtifact, UnreadableReport) as error:
            return AttemptResult(ended=Ended.EXITED, reason=error.without_hint)
        if (report.dispatch, report.shard, report.attempt) != (batch, shard, attempt):
            whose = f"shard {report.shard}, attempt {report.attempt} of {report.dispatch}"
            return AttemptResult(ended=Ended.EXITED, reason=f"the artifact {artifact.name} is of {whose}")
        if self._commit and report.result.results and report.commit != self._commit:  # so will the other jobs have
            return AttemptResult(
                ended=Ended.EXITED,
                cause=FailureCause.USAGE,
                reason=shard_report.other_commit(report.commit, self._commit),
            )
        return report.result


def newest(listed: Iterable[ArtifactView], batch: str, shard: ShardId, attempt: int) -> ArtifactView | None:
    """The artifact of this attempt; should two share its name, the later one."""
    mine = [artifact for artifact in listed if shard_report.attempt_of(artifact.name, batch, shard) == attempt]
    return max(mine, key=lambda artifact: artifact.id, default=None)
