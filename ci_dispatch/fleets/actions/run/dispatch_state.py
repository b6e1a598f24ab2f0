"""What was dispatched, as a file and back: the next controller goes on where the last one was killed.

The file is written before a dispatch is sent, so a run may be unknown in it but never missing from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ci_dispatch.core import codec
from ci_dispatch.core.codec import Value, replace
from ci_dispatch.core.errors import UsageError
from ci_dispatch.core.model import AttemptResult, LeaseNumber, ShardId, Verdict
from ci_dispatch.fleets.actions.messages import Saved
from ci_dispatch.fleets.actions.run.workflow_run import Track, Tracked
from ci_dispatch.run.ledger import Ledger

FILE = "github.json"
_VERSION = 1
_FINE = (Verdict.PASSED, Verdict.SKIPPED, Verdict.FLAKY)


class Target(Value):
    """Where a run was dispatched to."""

    repository: str
    workflow: str
    ref: str


class Past(Value):
    """What an earlier attempt of an adopted run said; not in the journal yet."""

    shard: ShardId
    attempt: int
    result: AttemptResult


class Dispatched(Value):
    target: Target
    dispatches: tuple[Saved, ...] = ()
    past: tuple[Past, ...] = ()
    v: int = 0  # of this format; `dumps` sets it


def dumps(dispatched: Dispatched) -> bytes:
    return codec.encode(codec.replace(dispatched, v=_VERSION))


def load(folder: Path) -> Dispatched | None:
    """What a run folder knows of its dispatches; None when it is of a direct run.

    Raises:
        UsageError: for a file that cannot be read.
    """
    file = folder / FILE
    try:
        dispatched = codec.decode(Dispatched, file.read_bytes())
        if dispatched.v != _VERSION:
            raise ValueError(f"version {dispatched.v!r}")  # noqa: TRY301
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{file} cannot be read", why=str(error), hint="watch the run with the version of ci-dispatch that began it"
        ) from error
    return dispatched


def restore(saved: Sequence[Saved], ledger: Ledger, now: float) -> list[Tracked]:
    """The runs to follow again, with what the journal knows about their shards."""
    return [_tracked(dispatch, ledger, now) for dispatch in saved]


def unsent(runs: Sequence[Tracked], ledger: Ledger) -> list[LeaseNumber]:
    """Leases whose dispatch was never written down, so it was never sent either."""
    known = {track.lease for tracked in runs for track in tracked.tracks.values()}
    return [number for number in ledger.active if number not in known]


def _tracked(saved: Saved, ledger: Ledger, now: float) -> Tracked:
    tracked = Tracked.of(saved.batch, now)
    tracked.run, tracked.attempt = saved.run, saved.attempt
    for shard, track in tracked.tracks.items():
        number = saved.leases.get(shard)
        attempt = ledger.attempts.get(number) if number is not None else None
        if attempt is None:
            continue
        tracked.tracks[shard] = Track(
            entry=replace(track.entry, shard=attempt.lease.shard),
            since=now,
            lease=number,
            started=None if attempt.started is None else now,
            settled=number not in ledger.active,
            passed=attempt.result is not None and all(r.verdict in _FINE for r in attempt.result.results),
        )
    tracked.over = tracked.settled
    return tracked


def narrowed(tracked: Tracked, ledger: Ledger) -> None:
    """After the past was told: each shard for the tests that are still without a verdict."""
    for track in tracked.tracks.values():
        left = tuple(test for test in track.entry.shard.tests if ledger.records[test].verdict is None)
        track.entry = replace(track.entry, shard=replace(track.entry.shard, tests=left))
        track.settled = track.passed = not left
