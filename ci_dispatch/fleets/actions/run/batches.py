"""Jobs as dispatches that GitHub accepts, and back: what a worker reads from its inputs. Pure.

A matrix entry names its shard, machine and labels; the tests travel beside it in one compressed `plan`, so that the
65,535 characters and 256 jobs of one dispatch (https://docs.github.com/actions/reference/limits) hold thousands of
tests. A plan that is larger becomes several dispatches.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Collection, Mapping, Sequence

from ci_dispatch.core import codec
from ci_dispatch.core.codec import Value, replace
from ci_dispatch.core.errors import NothingToRun, UsageError
from ci_dispatch.core.groups import TestGroup
from ci_dispatch.core.model import MachineName, ShardId, Test, TestId
from ci_dispatch.fleets.actions.run.matrix import MatrixJob

MAX_JOBS = 256
MAX_INPUTS = 65_535  # characters of all inputs of one dispatch as compact JSON
MAX_PLAN = 64 << 20  # bytes of a plan, unpacked: more is not ours
_VERSION = 2


class Batch(Value):
    """What one dispatch sends."""

    id: str
    jobs: tuple[MatrixJob, ...]
    inputs: Mapping[str, str]


class WorkerJob(Value):
    """A matrix entry as its worker reads it."""

    shard: ShardId
    machine: MachineName
    workers: int = 0
    timeout_minutes: int = 60
    commit: str = ""  # what it must have checked out; empty: nobody could tell


class DispatchPlan(Value):
    """What the jobs of one dispatch run, by shard, and how."""

    tests: Mapping[ShardId, tuple[Test, ...]]
    extra: tuple[str, ...] = ()  # arguments for the test runner
    total: int = 0  # tests of the whole run: other dispatches have the others
    groups: tuple[TestGroup, ...] = ()  # what holds for these tests, for whoever watches the run without its folder
    v: int = 0  # of this format; `pack` sets it


def batches(
    jobs: Sequence[MatrixJob],
    tests: Mapping[TestId, Test],
    *,
    name: str,
    timeout_minutes: int,
    commit: str = "",
    total: int = 0,
    extra: Sequence[str] = (),
    groups: Sequence[TestGroup] = (),
    max_inputs: int = MAX_INPUTS,
) -> list[Batch]:
    """`jobs` as dispatches that GitHub accepts, in order; their ids are `name` and a number.

    `total` is how many tests the whole run has; 0: these.

    Raises:
        NothingToRun: for no jobs.
        UsageError: when one unit alone is too large to be sent.
    """
    if not jobs:
        raise NothingToRun("Nothing was dispatched", why="the matrix would be empty")
    whole = DispatchPlan(tests={}, extra=tuple(extra), total=total or sum(len(job.shard.tests) for job in jobs))
    made: list[Batch] = []
    waiting = list(jobs)
    while waiting:
        batch_id = f"{name}.{len(made) + 1}"
        count = min(len(waiting), MAX_JOBS)
        locked = next((number for number, job in enumerate(waiting[:count]) if job.lock), count)
        count = max(1, locked)  # alone, so that it can be cancelled at once: only whole dispatches can
        while count:
            entries = entries_of(waiting[:count], timeout_minutes, commit)
            sent = {job.shard.id: _tests(job, tests) for job in waiting[:count]}
            plan = replace(whole, tests=sent, groups=_narrowed(groups, {t.id for each in sent.values() for t in each}))
            inputs = {"matrix": _compact({"include": entries}), "plan": pack(plan), "dispatch_id": batch_id}
            if len(_compact(inputs)) <= max_inputs:
                break
            count //= 2
        if count:
            made.append(Batch(id=batch_id, jobs=tuple(waiting[:count]), inputs=inputs))
            waiting = waiting[count:]
        else:
            halves = _halves(waiting[0], tests)
            waiting[:1] = halves[:1] if waiting[0].lock else halves  # two jobs cannot hold it: the rest waits
    return made


def entries_of(jobs: Sequence[MatrixJob], timeout_minutes: int, commit: str) -> list[dict[str, object]]:
    """The matrix entries of these jobs: what `job_of` reads, and the labels for `runs-on`."""
    return [
        {
            "shard": job.shard.id,
            "machine": job.machine,
            "labels": list(job.labels),
            "workers": job.workers,
            "timeout_minutes": timeout_minutes,
            "commit": commit,
        }
        for job in jobs
    ]


def _tests(job: MatrixJob, tests: Mapping[TestId, Test]) -> tuple[Test, ...]:
    return tuple(tests[test] for test in job.shard.tests)


def _narrowed(groups: Sequence[TestGroup], tests: Collection[TestId]) -> tuple[TestGroup, ...]:
    narrowed = (replace(group, tests=tuple(test for test in group.tests if test in tests)) for group in groups)
    return tuple(group for group in narrowed if group.tests)


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _halves(job: MatrixJob, tests: Mapping[TestId, Test]) -> list[MatrixJob]:
    """One job as two on the same machine, whole units only."""
    units = list(dict.fromkeys(tests[test].unit for test in job.shard.tests))
    if len(units) < 2:
        raise UsageError(
            f"Shard {job.shard.id} cannot be dispatched",
            why=f"its {len(job.shard.tests)} tests must stay together and exceed GitHub's {MAX_INPUTS} characters",
            hint="split the suite into smaller files",
        )
    first = set(units[: len(units) // 2])
    ids = job.shard.tests
    parts = ([t for t in ids if tests[t].unit in first], [t for t in ids if tests[t].unit not in first])
    return [
        replace(
            job,
            shard=replace(
                job.shard,
                id=ShardId(f"{job.shard.id}{letter}"),
                tests=tuple(part),
                seconds=job.shard.seconds * len(part) / len(ids),
            ),
        )
        for letter, part in zip("ab", parts, strict=True)
    ]


def run_and_dispatch(batch_id: str) -> tuple[str, int]:
    """Of which run a batch is, and of which of its dispatches, from 1: later ones repeat tests of earlier ones."""
    run, _, numbers = batch_id.partition(".")
    number = numbers.partition(".")[0]
    return run, int(number) if number.isdecimal() else 1


def pack(sent: DispatchPlan) -> str:
    """The plan as one line of text; the same plan always gives the same line."""
    data = codec.encode(replace(sent, v=_VERSION))
    return base64.b64encode(zlib.compress(data, 9)).decode("ascii")


def unpack(text: str) -> DispatchPlan:
    """The plan of a dispatch.

    Raises:
        UsageError: for anything `pack` did not write.
    """
    try:
        inflate = zlib.decompressobj()
        plan = codec.decode(DispatchPlan, inflate.decompress(base64.b64decode(text, validate=True), MAX_PLAN))
        if plan.v != _VERSION:
            raise ValueError(f"plan version {plan.v}, this ci-dispatch reads {_VERSION}")  # noqa: TRY301
    except (binascii.Error, zlib.error, ValueError) as error:
        raise UsageError(
            "The plan of this dispatch cannot be read",
            why=str(error),
            hint="start the worker workflow with `ci-dispatch dispatch` of the same version, not by hand",
        ) from error
    return plan


def job_of(text: str) -> WorkerJob:
    """The worker's own matrix entry, from `toJSON(matrix)`.

    Raises:
        UsageError: when it is none.
    """
    try:
        return codec.decode(WorkerJob, text.encode())
    except ValueError as error:
        raise UsageError(
            "This job does not know which shard it is",
            why=f"its matrix entry cannot be read: {error}",
            hint="pass `entry: ${{ toJSON(matrix) }}` to the action (docs/github-actions.md)",
        ) from error
