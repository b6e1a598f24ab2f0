"""What was dispatched, as a file and back: the next controller goes on where the last one was killed.

The file is written before a dispatch is sent, so a run may be unknown in it but never missing from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ci_dispatch.core import codec
from ci_dispatch.core.codec import Value, replace
from ci_dispatch.core.errors import UsageError
from ci_dispatch.core.model import AttemptResult, LeaseNumber, ShardId, TestId, Verdict
from ci_dispatch.fleets.actions.messages import SavedDispatch
from ci_dispatch.fleets.actions.run.workflow_run import ShardJob, WorkflowRun
from ci_dispatch.run.ledger import Ledger

FILE = "github.json"
_VERSION = 2
_FINE = (Verdict.PASSED, Verdict.SKIPPED, Verdict.FLAKY)
ANY_TIME = 7 * 86_400.0  # seconds; how far back an earlier controller's dispatch is looked for


class DispatchTarget(Value):
    """Where a run is dispatched to."""

    repository: str
    workflow: str
    ref: str
    commit: str = ""  # that every job checks out and tells back


class EarlierAttempt(Value):
    """What an earlier attempt of a shard of an adopted run said; not in the journal yet."""

    shard: ShardId
    tests: tuple[TestId, ...]
    result: AttemptResult


class DispatchFile(Value):
    target: DispatchTarget
    dispatches: tuple[SavedDispatch, ...] = ()
    earlier: tuple[EarlierAttempt, ...] = ()
    v: int = 0  # of this format; `dumps` sets it


def dumps(file: DispatchFile) -> bytes:
    return codec.encode(replace(file, v=_VERSION))


def load(folder: Path) -> DispatchFile | None:
    """What a run folder knows of its dispatches; None when it has none.

    Raises:
        UsageError: for a file that cannot be read.
    """
    file = folder / FILE
    try:
        loaded = codec.decode(DispatchFile, file.read_bytes())
        if loaded.v != _VERSION:
            raise ValueError(f"version {loaded.v!r}")  # noqa: TRY301
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{file} cannot be read", why=str(error), hint="watch the run with the version of ci-dispatch that began it"
        ) from error
    return loaded


def saved(run: WorkflowRun) -> SavedDispatch:
    leases = {shard: job.lease for shard, job in run.jobs.items() if job.lease is not None}
    return SavedDispatch(batch=run.batch, run=run.id, attempt=run.attempt, leases=leases)


def restore(dispatches: Sequence[SavedDispatch], ledger: Ledger, now: float) -> list[WorkflowRun]:
    """The runs to follow again, with what the journal knows about their shards."""
    return [_restored(dispatch, ledger, now) for dispatch in dispatches]


def unsent(runs: Sequence[WorkflowRun], active: Sequence[LeaseNumber]) -> list[LeaseNumber]:
    """Leases whose dispatch was never written down, so it was never sent either."""
    known = {job.lease for run in runs for job in run.jobs.values()}
    return [number for number in active if number not in known]


def _restored(dispatch: SavedDispatch, ledger: Ledger, now: float) -> WorkflowRun:
    run = WorkflowRun.of(dispatch.batch, now)
    run.id, run.attempt, run.poll_due = dispatch.run, dispatch.attempt, now
    if run.id is None:
        run.dispatch.search(now, ANY_TIME)
    for shard, job in run.jobs.items():
        number = dispatch.leases.get(shard)
        attempt = ledger.attempts.get(number) if number is not None else None
        if attempt is None:  # in a shared queue: nobody has it
            if ledger.records:  # not of an adopted run, whose journal begins later
                _narrow(job, ledger)
            continue
        run.jobs[shard] = ShardJob(
            job=replace(job.job, shard=attempt.lease.shard),
            since=now,
            lease=number,
            started=None if attempt.started is None else now,
            settled=number not in ledger.active,
            passed=attempt.result is not None and all(r.verdict in _FINE for r in attempt.result.results),
        )
    run.over = run.settled
    return run


def narrow(run: WorkflowRun, ledger: Ledger) -> None:
    """After the earlier attempts were told: each shard for the tests that are still without a verdict."""
    for job in run.jobs.values():
        _narrow(job, ledger)


def _narrow(job: ShardJob, ledger: Ledger) -> None:
    """For the tests that nobody has decided or holds."""
    records = [ledger.records[test] for test in job.job.shard.tests]
    left = tuple(record.test.id for record in records if record.verdict is None and record.lease is None)
    job.job = replace(job.job, shard=replace(job.job.shard, tests=left))
    job.settled = job.passed = not left
