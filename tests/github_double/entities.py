"""Runs, jobs, runners and artifacts: the things GitHub keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.github_double.workflows import Workflow

LOST = (
    "The self-hosted runner lost communication with the server. Verify the machine is running and has a healthy "
    "network connection. Anything in your workflow that terminates the runner process, starves it for CPU/Memory, or "
    "blocks its network access can cause this error."
)

NOT_ACQUIRED = "The job was not acquired by Runner of type self-hosted even after multiple attempts"
CANCELED = "The operation was canceled."


def canceled_by(user: str) -> str:
    """The annotation on each job that the cancellation of its run ended."""
    return f"The run was canceled by @{user}."


def exceeded(seconds: float) -> str:
    """The annotation on a job that its `timeout-minutes` ended (https://github.com/erigontech/erigon/pull/23203)."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    limit = f"{hours}h{minutes}m{rest}s" if hours else f"{minutes}m{rest}s"
    return f"The job has exceeded the maximum execution time of {limit}"


class Conflict(Exception):
    """A request that the state of things forbids: GitHub answers with this status and message."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


@dataclass(slots=True, kw_only=True)
class Runner:
    """One runner service: one job at a time."""

    id: int
    name: str
    labels: tuple[str, ...]
    online: bool = True
    busy: int | None = None  # the id of its job
    version: str | None = "2.336.0"


@dataclass(slots=True, kw_only=True)
class Step:
    name: str
    status: str = "completed"
    conclusion: str | None = "success"


@dataclass(slots=True, kw_only=True)
class Job:
    id: int
    run: int
    attempt: int
    job_id: str
    name: str
    labels: tuple[str, ...]
    matrix: Mapping[str, Any]
    created: float
    status: str = "queued"
    conclusion: str | None = None
    runner: Runner | None = None
    started: float | None = None
    completed: float | None = None
    steps: list[Step] = field(default_factory=list)
    annotations: list[tuple[str, str]] = field(default_factory=list)  # (level, message)
    log: bytes = b""
    runner_died: float | None = None
    always: bool = False  # its `if: always()` holds when the run is cancelled: only force-cancel ends it


@dataclass(slots=True, kw_only=True)
class Artifact:
    id: int
    run: int
    attempt: int
    name: str
    data: bytes
    created: float
    digest: str
    branch: str
    expired: bool = False
    from_fork: bool = False


@dataclass(slots=True, kw_only=True)
class Run:
    id: int
    workflow: Workflow
    ref: str
    inputs: Mapping[str, str]
    title: str
    created: float
    started: float
    attempt: int = 1
    status: str = "queued"
    conclusion: str | None = None
    jobs: list[Job] = field(default_factory=list)
    rerun_at: float | None = None
    cancelled_at: float | None = None
    group: str = ""  # its concurrency group
    queue_max: bool = False

    @property
    def current(self) -> list[Job]:
        return [job for job in self.jobs if job.attempt == self.attempt]


@dataclass(slots=True)
class Lag:
    """GitHub is eventually consistent: how many seconds each view stays behind."""

    listing: float = 0.0  # a new run in the list of runs
    jobs: float = 0.0  # the jobs of a new run or attempt
    rerun: float = 0.0  # the run object after a re-run was accepted


@dataclass(slots=True)
class Comment:
    """What somebody said on a pull request; `association` is who that is to the repository."""

    id: int
    pull: int
    body: str
    bot: bool = True
    association: str = "NONE"
