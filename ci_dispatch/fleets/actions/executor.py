"""The hands of a run through GitHub: carry out what the dispatcher wishes and tell it what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from ci_dispatch.core.errors import GitHubRefused, UnreadableReport
from ci_dispatch.core.model import AttemptResult, Ended, ShardId
from ci_dispatch.fleets.actions import messages as g
from ci_dispatch.fleets.actions import shard_report
from ci_dispatch.fleets.actions.rest.api import GitHubApi
from ci_dispatch.fleets.actions.rest.artifacts import ArtifactLimits, BadArtifact, fetch
from ci_dispatch.fleets.actions.rest.errors import RateLimited, RequestRefused, Unavailable
from ci_dispatch.fleets.actions.rest.models import ArtifactView, JobView
from ci_dispatch.fleets.actions.run.batches import Batch
from ci_dispatch.fleets.actions.run.job_outcome import needs_notes
from ci_dispatch.run.ports import Clock

SEND_TRIES = 3
LOOK_FOR = 60.0  # seconds a run may take to appear in the list of runs
LOOK_FOR_EVERY = 5.0
NOTES_A_LOOK = 10  # annotations asked for in one look; the others keep
ANY_TIME = 7 * 86_400.0  # how far back an earlier controller's dispatch is looked for


class Hands:
    """One thread's hands: the `GitHubApi` given must not be used by another thread."""

    def __init__(
        self,
        github: GitHubApi,
        *,
        workflow: str,
        ref: str,
        attempts: Path,
        post: Callable[[g.Heard], None],
        pause: Callable[[float], bool],
        clock: Clock,
    ) -> None:
        """`attempts` gets one folder for each lease; `pause(seconds)` waits and says whether it is time to stop."""
        self._github = github
        self._workflow, self._ref = workflow, ref
        self._attempts = attempts
        self._post, self._pause, self._clock = post, pause, clock

    def carry_out(self, asked: g.Wish) -> None:
        """Do it and post what came of it; blocks, and never raises for what GitHub does."""
        match asked:
            case g.Send():
                self._send(asked)
            case g.Look():
                self._look(asked)
            case g.Fetch():
                self._fetch(asked)
            case g.RunAgain(run=run, attempt=attempt):
                self._post(g.Rerun(run, self._run_again(run, attempt)))
            case g.Cancel(run=run, force=force):
                self._post(g.CancelTold(run, self._cancel(run, force=force)))

    # -- dispatch ---------------------------------------------------------------------------------------------------

    def _send(self, send: g.Send) -> None:
        """Exactly one run: while it is not known whether a dispatch arrived, its id is looked for before the next."""
        batch = send.batch
        try:
            run = self._find(batch, ANY_TIME) if send.known else None
            self._post(g.Sent(batch.id, run if run is not None else self._dispatch(batch)))
        except GitHubRefused as error:
            self._post(g.NotSent(batch.id, error))

    def _dispatch(self, batch: Batch) -> int:
        trouble = GitHubRefused(f"The batch {batch.id} was not dispatched", why="we were told to stop")
        for _ in range(SEND_TRIES):
            try:
                run = self._github.dispatch(self._workflow, self._ref, batch.inputs)
            except RateLimited as limited:  # refused before it did anything
                trouble = limited
                if self._pause(limited.seconds):
                    break
                continue
            except Unavailable as unavailable:
                trouble, run = unavailable, None
            run = run if run is not None else self._find(batch, LOOK_FOR + 60.0)
            if run is not None:
                return run
        raise trouble

    def _find(self, batch: Batch, back: float) -> int | None:
        """The run that carries the batch's id; GitHub may need a while to list it."""
        started = self._clock.now()
        while True:
            try:
                if found := self._github.find_run(self._workflow, batch.id, started - back):
                    return found
                pause = LOOK_FOR_EVERY
            except Unavailable:
                pause = LOOK_FOR_EVERY
            except RateLimited as limited:
                pause = limited.seconds
            if self._clock.now() - started >= LOOK_FOR or self._pause(pause):
                return None

    # -- watch ------------------------------------------------------------------------------------------------------

    def _look(self, look: g.Look) -> None:
        try:
            jobs = self._github.jobs(look.run)
            view = self._github.run(look.run) if look.whole else None
            notes = self._notes(jobs, look.seen)
        except GitHubRefused as error:
            self._post(g.NotLooked(look.run, error))
            return
        client = self._github.client
        self._post(
            g.Looked(run=look.run, jobs=jobs, notes=notes, view=view, sent=client.sent, remaining=client.remaining)
        )

    def _notes(self, jobs: Iterable[JobView], seen: frozenset[int]) -> dict[int, tuple[str, ...]]:
        """Annotations of jobs whose end needs explaining; without them the dispatcher goes by the job's shape."""
        notes: dict[int, tuple[str, ...]] = {}
        for job in [job for job in jobs if needs_notes(job) and job.id not in seen][:NOTES_A_LOOK]:
            try:
                notes[job.id] = self._github.annotations(job.id)
            except (Unavailable, RateLimited):
                break
        return notes

    def _run_again(self, run: int, attempt: int) -> GitHubRefused | None:
        try:
            self._github.rerun_failed(run)
        except Unavailable as unavailable:  # it may have taken effect: the run's attempt tells
            try:
                return None if self._github.run(run).attempt > attempt else unavailable
            except GitHubRefused:
                return unavailable
        except GitHubRefused as error:
            return error
        return None

    def _cancel(self, run: int, *, force: bool) -> GitHubRefused | None:
        try:
            self._github.cancel(run, force=force)
        except GitHubRefused as error:
            return error
        return None

    # -- reports ----------------------------------------------------------------------------------------------------

    def _fetch(self, asked: g.Fetch) -> None:
        try:
            listed = self._github.artifacts(asked.run)
            for shard, attempt, folder in asked.wanted:
                artifact = newest(listed, asked.batch, shard, attempt)
                if artifact is not None:
                    result = self._result(artifact, asked.batch, shard, attempt, self._attempts / folder)
                    self._post(g.Brought(asked.batch, shard, attempt, result))
        except (Unavailable, RateLimited, RequestRefused) as error:
            self._post(g.Fetched(asked.run, error))
        else:
            self._post(g.Fetched(asked.run))

    def _result(self, artifact: ArtifactView, batch: str, shard: ShardId, attempt: int, folder: Path) -> AttemptResult:
        """What the artifact says; one that cannot be used says that nothing was run."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            fetch(self._github, artifact, folder, ArtifactLimits())
            told = shard_report.read(folder)
        except (BadArtifact, UnreadableReport) as error:
            why = f"{error.what}: {error.why}" if error.why else error.what
            return AttemptResult(ended=Ended.EXITED, reason=why)
        if (told.dispatch, told.shard, told.attempt) != (batch, shard, attempt):
            why = f"the artifact {artifact.name} tells of shard {told.shard}, attempt {told.attempt} of {told.dispatch}"
            return AttemptResult(ended=Ended.EXITED, reason=why)
        return told.result


def newest(listed: Iterable[ArtifactView], batch: str, shard: ShardId, attempt: int) -> ArtifactView | None:
    """The artifact of this attempt; should two share its name, the later one."""
    mine = [artifact for artifact in listed if shard_report.attempt_of(artifact.name, batch, shard) == attempt]
    return max(mine, key=lambda artifact: artifact.id, default=None)
