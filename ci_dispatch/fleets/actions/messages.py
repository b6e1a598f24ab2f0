"""What an `ActionsFleet` hears of GitHub, and what it asks to be done there, beside the messages of every run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ci_dispatch.core.codec import Value
from ci_dispatch.core.errors import GitHubRefused
from ci_dispatch.core.model import AttemptResult, LeaseNumber, ShardId
from ci_dispatch.fleets.actions.rest.models import JobView, RunView
from ci_dispatch.fleets.actions.run.batches import Batch
from ci_dispatch.run.messages import Command, Message

# -- messages ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Dispatched(Message):
    """The dispatch was accepted. `run` is None on a server that does not tell which run it started."""

    batch: str
    run: int | None


@dataclass(frozen=True, slots=True)
class DispatchFailed(Message):
    """The dispatch was refused, or no answer came and it may have started a run."""

    batch: str
    error: GitHubRefused


@dataclass(frozen=True, slots=True)
class RunFound(Message):
    """The answer to `FindRun`: the run with the batch's id, None when there is none yet, or why nobody knows."""

    batch: str
    run: int | None
    error: GitHubRefused | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Polled(Message):
    """What GitHub shows of a run now."""

    run: int
    jobs: tuple[JobView, ...]
    annotations: Mapping[int, tuple[str, ...]] = field(default_factory=dict)  # by job id, where they were asked for
    view: RunView | None = None  # of the run itself, when it was asked for
    sent: int = 0  # requests so far
    remaining: int | None = None  # of the token's rate limit


@dataclass(frozen=True, slots=True)
class PollFailed(Message):
    run: int
    error: GitHubRefused


@dataclass(frozen=True, slots=True)
class ReportDownloaded(Message):
    """The report of one attempt of one shard, or why it is none."""

    batch: str
    shard: ShardId
    attempt: int
    result: AttemptResult


@dataclass(frozen=True, slots=True)
class DownloadDone(Message):
    """A download has ended; what it did not bring is not there (yet)."""

    run: int
    error: GitHubRefused | None = None
    annotations: Mapping[int, tuple[str, ...]] = field(default_factory=dict)  # by job id, where they were asked for


@dataclass(frozen=True, slots=True)
class RunnersSeen(Message):
    """The answer to `SeeRunners`: the names of those that work for other runs; empty when nobody knows."""

    busy: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RerunResult(Message):
    """The answer to `RerunFailedJobs`: accepted, or the refusal."""

    run: int
    error: GitHubRefused | None = None


@dataclass(frozen=True, slots=True)
class CancelResult(Message):
    """The answer to `CancelRun`: accepted, or why not."""

    run: int
    error: GitHubRefused | None = None


# -- commands ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Dispatch(Command):
    """Start the worker workflow for a batch, once."""

    batch: Batch


@dataclass(frozen=True, slots=True)
class FindRun(Command):
    """Look for the run of a batch that may have been started, among those since a time (seconds since the epoch)."""

    batch: str
    since: float


@dataclass(frozen=True, slots=True)
class Poll(Command):
    run: int
    whole: bool = False  # the run itself too, not only its jobs
    annotated: frozenset[int] = frozenset()  # jobs whose annotations are known


@dataclass(frozen=True, slots=True)
class Download(Command):
    """Fetch the reports of these attempts: (shard, attempt, folder for its files)."""

    run: int
    batch: str
    wanted: tuple[tuple[ShardId, int, str], ...]
    explain: tuple[int, ...] = ()  # jobs whose annotations are asked for too


@dataclass(frozen=True, slots=True)
class SeeRunners(Command):
    """Which runners work for other workflow runs of the repository? `ours` are this run's."""

    ours: frozenset[int]


@dataclass(frozen=True, slots=True)
class RerunFailedJobs(Command):
    run: int
    attempt: int  # the one that is over


@dataclass(frozen=True, slots=True)
class CancelRun(Command):
    run: int
    force: bool = False


class SavedDispatch(Value):
    """One dispatch as the next controller must find it."""

    batch: Batch
    run: int | None
    attempt: int
    leases: Mapping[ShardId, LeaseNumber]  # of the current attempt


@dataclass(frozen=True, slots=True)
class SaveDispatches(Command):
    """Write down what was dispatched, before anything else is done."""

    dispatches: tuple[SavedDispatch, ...]
