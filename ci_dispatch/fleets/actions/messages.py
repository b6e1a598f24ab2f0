"""The two vocabularies around the dispatcher: what it hears of GitHub, and what it asks to be done there.

Besides these it takes the messages of every run (`ci_dispatch.run.messages`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from ci_dispatch.core.codec import Value
from ci_dispatch.core.errors import GitHubRefused
from ci_dispatch.core.model import AttemptResult, LeaseNumber, ShardId
from ci_dispatch.fleets.actions.rest.models import JobView, RunView
from ci_dispatch.fleets.actions.run.batches import Batch
from ci_dispatch.run import messages as m

# -- heard ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sent:
    """The dispatch was accepted; this is its run."""

    batch: str
    run: int


@dataclass(frozen=True, slots=True)
class NotSent:
    """The dispatch was refused, or nobody knows after long asking."""

    batch: str
    error: GitHubRefused


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What GitHub shows of a run now."""

    run: int
    jobs: tuple[JobView, ...]
    notes: Mapping[int, tuple[str, ...]] = field(
        default_factory=dict
    )  # annotations by job id, where they were asked for
    view: RunView | None = None  # when it was asked for
    sent: int = 0  # requests so far
    remaining: int | None = None  # of the token's rate limit


@dataclass(frozen=True, slots=True)
class NotLooked:
    run: int
    error: GitHubRefused


@dataclass(frozen=True, slots=True)
class Brought:
    """The report of one attempt of one shard, or why it is none."""

    batch: str
    shard: ShardId
    attempt: int
    result: AttemptResult


@dataclass(frozen=True, slots=True)
class Fetched:
    """A fetch has ended; what it did not bring is not there (yet)."""

    run: int
    error: GitHubRefused | None = None


@dataclass(frozen=True, slots=True)
class Rerun:
    """The answer to a re-run: accepted, or the refusal."""

    run: int
    error: GitHubRefused | None = None


@dataclass(frozen=True, slots=True)
class CancelTold:
    """A cancellation was sent (or could not be)."""

    run: int
    error: GitHubRefused | None = None


Heard: TypeAlias = m.Message | Sent | NotSent | Looked | NotLooked | Brought | Fetched | Rerun | CancelTold

# -- asked ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Send:
    """Dispatch a batch once; `known`: it may have been sent by an earlier controller, so look for it first."""

    batch: Batch
    known: bool = False


@dataclass(frozen=True, slots=True)
class Look:
    run: int
    whole: bool = False  # the run itself too, not only its jobs
    seen: frozenset[int] = frozenset()  # jobs whose annotations are known


@dataclass(frozen=True, slots=True)
class Fetch:
    """Download the reports of these attempts: (shard, attempt, folder for its files)."""

    run: int
    batch: str
    wanted: tuple[tuple[ShardId, int, str], ...]


@dataclass(frozen=True, slots=True)
class RunAgain:
    run: int
    attempt: int  # the one that is over


@dataclass(frozen=True, slots=True)
class Cancel:
    run: int
    force: bool = False


class Saved(Value):
    """One dispatch as the next controller must find it."""

    batch: Batch
    run: int | None
    attempt: int
    leases: Mapping[ShardId, LeaseNumber]  # of the current attempt


@dataclass(frozen=True, slots=True)
class Save:
    """Write down what was dispatched, before anything else is done."""

    dispatches: tuple[Saved, ...]


Wish: TypeAlias = Send | Look | Fetch | RunAgain | Cancel
Asked: TypeAlias = Save | m.Check | Wish
