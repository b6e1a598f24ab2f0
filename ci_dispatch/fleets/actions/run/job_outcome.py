"""What became of a job: GitHub says "failure" for a failed test, a dead machine and a full disk alike. Pure.

The table of shapes is in docs/github-faults.md; each came from somebody's bug report. Words that GitHub may invent
count as an end whose report must tell.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from enum import StrEnum

from ci_dispatch.core.model import ShardId
from ci_dispatch.fleets.actions.rest.models import JobView

_LOST = re.compile(
    r"lost communication with the server|has received a shutdown signal|runner has been (?:stopped|shut ?down)",
    re.IGNORECASE,
)
_NOT_ACQUIRED = re.compile(r"was not acquired by Runner|no runner.*matching|could not be assigned", re.IGNORECASE)
_WHOLE_RUN = re.compile(r"The run was cancell?ed|Cancell?ing since a higher priority", re.IGNORECASE)
_TIMED_OUT = re.compile(r"has exceeded the maximum execution time|has timed out after", re.IGNORECASE)


class JobOutcome(StrEnum):
    WAITING = "waiting for a runner"
    RUNNING = "running"
    REPORTS = "ended"  # its report says how
    LOST = "its machine is gone"
    NEVER_STARTED = "no runner took it"
    TIMED_OUT = "its time was up"
    CANCELLED = "was cancelled"
    STOPPED = "was cancelled while its run went on"  # its runner was stopped
    REPLACED = "was run again by somebody on GitHub"

    @property
    def open(self) -> bool:
        return self in (JobOutcome.WAITING, JobOutcome.RUNNING)


def job_outcome(job: JobView, annotations: Sequence[str] = ()) -> JobOutcome:
    """What became of `job`; its `annotations` may be missing."""
    if not job.completed:
        return JobOutcome.RUNNING if job.taken else JobOutcome.WAITING
    said = "\n".join(annotations)
    if job.conclusion == "success":
        return JobOutcome.REPORTS
    if _LOST.search(said):
        return JobOutcome.LOST
    if _untouched(job, said):
        return JobOutcome.NEVER_STARTED
    if job.conclusion == "timed_out" or (job.conclusion == "cancelled" and _TIMED_OUT.search(said)):
        return JobOutcome.TIMED_OUT
    return JobOutcome.CANCELLED if job.conclusion == "cancelled" else _failed(job)


def ended_with_its_run(annotations: Sequence[str]) -> bool:
    """Whether GitHub notes at a cancelled job that all of its run was cancelled: by a person, or for a newer run."""
    return any(_WHOLE_RUN.search(text) for text in annotations)


def _untouched(job: JobView, said: str) -> bool:
    """No runner ever worked on it, and nobody called it off."""
    if job.conclusion == "skipped" or _NOT_ACQUIRED.search(said):
        return True
    return job.conclusion == "failure" and not job.taken and not job.steps and "cancel" not in said.lower()


def _failed(job: JobView) -> JobOutcome:
    """A failure without a failed step is a machine that went away (two shapes are known); with one, the tests'."""
    if job.conclusion != "failure" or not job.steps or any(step.conclusion == "failure" for step in job.steps):
        return JobOutcome.REPORTS
    unfinished = any(step.status != "completed" or not step.conclusion for step in job.steps)
    cut = job.steps[-1].conclusion == "cancelled"
    return JobOutcome.LOST if unfinished or cut else JobOutcome.REPORTS


def needs_annotations(job: JobView) -> bool:
    """Whether annotations can tell more than the job itself: not worth a request otherwise."""
    failed_by_itself = any(step.conclusion == "failure" for step in job.steps)
    return job.completed and job.conclusion not in ("success", "skipped") and not failed_by_itself


def shard_of(job: JobView, shards: Collection[ShardId]) -> ShardId | None:
    """Which shard a job runs, by the shard's id in the job's name: names, not ids, are the same in every attempt."""
    words = (ShardId(word.strip(".-")) for word in re.findall(r"[\w.-]+", job.name))
    return next((word for word in words if word in shards), None)
