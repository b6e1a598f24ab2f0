"""How runs, jobs, runners and artifacts move on as time passes. No HTTP here."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tests.github_double.entities import (
    CANCELED,
    LOST,
    NOT_ACQUIRED,
    Artifact,
    Conflict,
    Job,
    Lag,
    Run,
    Runner,
    Step,
    canceled_by,
)
from tests.github_double.workflows import Refused, Workflow

if TYPE_CHECKING:
    from tests.github_double.worker import Worker


ARTIFACT_IDS = 10_000_000


class Hub:
    """The state of one repository. Callers hold no lock: the server serialises requests."""

    queue_seconds = 86_400.0  # a job may wait for a runner
    lost_step: tuple[str, str | None] = (
        "in_progress",
        None,
    )  # of a dead runner's job; newer: ("completed", "cancelled"), NVIDIA/NemoClaw#7399
    lock_seconds = 585.0  # how long a dead runner's job still looks alive (measured: 9 m 36 s to 9 m 45 s)

    def __init__(self, clock: Callable[[], float], worker: Worker) -> None:
        self.clock = clock
        self.worker = worker
        self.workflows: dict[str, Workflow] = {}
        self.runs: dict[int, Run] = {}
        self.runners: list[Runner] = []
        self.artifacts: list[Artifact] = []
        self.lag = Lag()
        self._ids = itertools.count(1000)

    def next_id(self) -> int:
        return next(self._ids)

    # What clients ask for

    def dispatch(self, workflow: Workflow, ref: str, given: Mapping[str, Any]) -> Run:
        inputs = workflow.accepted(ref, given)
        now = self.clock()
        title = workflow.title(inputs)
        run = Run(id=self.next_id(), workflow=workflow, ref=ref, inputs=inputs, title=title, created=now, started=now)
        run.group, run.queue_max = workflow.concurrency(inputs)
        self._displace(run)
        try:
            run.jobs = [
                self._queue(run, plan.job_id, plan.name, plan.labels, plan.matrix) for plan in workflow.jobs(inputs)
            ]
        except Refused:  # the dispatch is accepted, the run fails at once, and the caller cannot know
            run.status, run.conclusion = "completed", "startup_failure"
        self.runs[run.id] = run
        return run

    def _displace(self, new: Run) -> None:
        """A concurrency group has one run that runs and one that waits: a newer one takes the place of that.

        https://docs.github.com/actions/reference/workflows-and-actions/workflow-syntax#concurrency
        """
        waiting = [run for run in self._grouped(new) if run.status == "pending"]
        if new.group and not new.queue_max:
            for run in waiting:
                for job in run.current:
                    text = f"Canceling since a higher priority waiting request for {new.group} exists"
                    self.finish(job, "cancelled", text)
                self._settle(run)
        if any(run.status != "completed" for run in self._grouped(new)):
            new.status = "pending"

    def _grouped(self, of: Run) -> list[Run]:
        return [run for run in self.runs.values() if of.group and run is not of and run.group == of.group]

    def rerun(self, run: Run, jobs: Callable[[Job], bool]) -> None:
        """A new attempt with those jobs of the current one that are asked for; the others keep their result."""
        if run.status != "completed":
            raise Conflict(403, "This workflow is already running")
        if run.attempt > 50:
            raise Conflict(403, "This workflow run cannot be retried")
        if self.clock() - run.created > 30 * 86_400:
            raise Conflict(403, "Unable to retry this workflow run because it was created over a month ago")
        newest = {job.name: job for job in run.jobs}
        chosen = [job for job in newest.values() if jobs(job)]
        run.attempt += 1
        run.status, run.conclusion, run.cancelled_at = "queued", None, None
        run.rerun_at = run.started = self.clock()
        run.jobs += [self._queue(run, job.job_id, job.name, job.labels, job.matrix) for job in chosen]

    def cancel(self, run: Run, *, force: bool = False, by: str = "github-actions[bot]") -> None:
        """Somebody cancels the run. Its jobs end at once, but for those of dead runners and those with `always`.

        https://docs.github.com/actions/reference/workflows-and-actions/workflow-cancellation
        """
        if run.status == "completed":
            raise Conflict(409, "Cannot cancel a workflow run that is completed.")
        now = self.clock()
        run.cancelled_at = now
        for job in run.current:
            if job.status == "completed" or ((job.always or job.runner_died is not None) and not force):
                continue  # a dead runner gets no message: the server ends its job five minutes later
            annotations = [canceled_by(by)]
            if job.status != "queued":
                self.worker.stop(job)
                annotations.append(CANCELED)
            self.finish(job, "cancelled", *annotations, at=now)
        self._settle(run)

    def upload(self, run: Run, name: str, data: bytes, *, digest: str | None = None) -> Artifact:
        if any((a.run, a.attempt, a.name) == (run.id, run.attempt, name) for a in self.artifacts):
            raise Conflict(409, "Conflict: an artifact with this name already exists on the workflow run")
        if re.search(r'["\x3a<>|*?\r\n\\/]', name):
            raise Conflict(400, f"The artifact name is not valid: {name}")
        if sum((a.run, a.attempt) == (run.id, run.attempt) for a in self.artifacts) >= 500 * len(run.current):
            raise Conflict(400, "Failed to CreateArtifact: there are 500 artifacts already")
        digest = digest or "sha256:" + hashlib.sha256(data).hexdigest()
        artifact = Artifact(
            id=ARTIFACT_IDS - run.attempt * 100_000 + self.next_id(),  # they do not grow with attempts
            run=run.id,
            attempt=run.attempt,
            name=name,
            data=data,
            created=self.clock(),
            digest=digest,
            branch=run.ref,
        )
        self.artifacts.append(artifact)
        return artifact

    # What happens by itself

    def add_runner(self, name: str, *labels: str, online: bool = True) -> Runner:
        runner = Runner(id=self.next_id(), name=name, labels=("self-hosted", *labels), online=online)
        self.runners.append(runner)
        return runner

    def tick(self) -> None:
        """Bring everything up to now, event by event in the order of their times."""
        now = self.clock()
        self._assign(now)
        while due := min((e for e in self._events() if e[0] <= now), default=None, key=lambda e: e[0]):
            moment, act = due
            act()
            self._settle_all()  # a run that has ended makes room for those that wait for it
            self._assign(moment)
        self._settle_all()

    def _settle_all(self) -> None:
        for run in self.runs.values():
            self._settle(run)

    def _events(self) -> list[tuple[float, Callable[[], None]]]:
        events = list(self.worker.events(self))
        for run in self.runs.values():
            for job in run.current:
                if job.status == "queued":
                    lapses = job.created + self.queue_seconds
                    events.append((lapses, lambda job=job, at=lapses: self.finish(job, "cancelled", at=at)))  # type: ignore[misc]
                if job.status != "completed" and job.runner_died is not None:
                    lapses = job.runner_died + self.lock_seconds
                    if run.cancelled_at is not None:
                        lapses = min(lapses, max(run.cancelled_at, job.runner_died) + 300)
                    events.append((lapses, lambda job=job, at=lapses: self._lost(job, at)))  # type: ignore[misc]
        return events

    def die(self, job: Job, at: float) -> None:
        """The machine under this job is gone, and GitHub does not know yet."""
        job.runner_died = at
        if job.runner:
            job.runner.online = False

    def refuse(self, job: Job) -> None:
        """No runner acquires the job, though there are some."""
        self.finish(job, "cancelled", NOT_ACQUIRED)

    def _lost(self, job: Job, at: float) -> None:
        if job.steps:
            job.steps[-1].status, job.steps[-1].conclusion = self.lost_step
        self.finish(job, "failure", LOST, at=at)

    def finish(self, job: Job, conclusion: str, *annotations: str, at: float | None = None) -> None:
        job.status, job.conclusion = "completed", conclusion
        job.completed = self.clock() if at is None else at
        job.annotations += [("failure", text) for text in annotations if text]
        if job.runner:
            job.runner.busy = None

    def _queue(self, run: Run, job_id: str, name: str, labels: tuple[str, ...], matrix: Mapping[str, Any]) -> Job:
        return Job(
            id=self.next_id(),
            run=run.id,
            attempt=run.attempt,
            job_id=job_id,
            name=name,
            labels=labels,
            matrix=matrix,
            created=self.clock(),
        )

    def _assign(self, now: float) -> None:
        for run in list(self.runs.values()):
            before = (other for other in self._grouped(run) if other.id < run.id)
            if run.status == "pending" and all(other.status == "completed" for other in before):
                run.status = "queued"
            for job in run.current if run.status != "pending" else []:
                if job.status != "queued":
                    continue
                free = (r for r in self.runners if r.online and r.busy is None and set(job.labels) <= set(r.labels))
                if runner := next(free, None):
                    runner.busy = job.id
                    job.runner, job.status, job.started = runner, "in_progress", max(now, job.created)
                    job.steps = [Step(name="Set up job")]
                    self.worker.start(self, job)

    def _settle(self, run: Run) -> None:
        jobs = run.current
        if not jobs:
            return
        if all(job.status == "completed" for job in jobs):
            conclusions = {job.conclusion for job in jobs}
            run.status = "completed"
            # One job that was cancelled is enough, beside a failed one too: https://github.com/vm0-ai/vm0/issues/35329
            order = ("cancelled", "failure", "timed_out")
            run.conclusion = next((word for word in order if word in conclusions), "success")
        elif any(job.status != "queued" for job in jobs) and run.status != "pending":
            run.status = "in_progress"
