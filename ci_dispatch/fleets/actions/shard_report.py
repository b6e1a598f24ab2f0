"""What a worker job uploads beside its JUnit files: `attempt.json`, one result for each test of its shard.

The artifact's name carries dispatch, shard and attempt, because GitHub's artifacts do not say which attempt made them,
and their ids do not grow with attempts (https://github.com/Systemorph/MeshWeaver/pull/4332).
"""

from __future__ import annotations

import re
from pathlib import Path

from ci_dispatch.core import codec
from ci_dispatch.core.codec import Value
from ci_dispatch.core.errors import UnreadableReport
from ci_dispatch.core.model import AttemptResult, ShardId

FILE = "attempt.json"
PREFIX = "ci-dispatch"
MAX_BYTES = 64 << 20
LONGEST = 5 * 86_400.0  # seconds of a job: https://docs.github.com/actions/reference/limits
_REFUSED = re.compile(r'["\x3a<>|*?\r\n]')  # https://github.com/actions/toolkit, path-and-artifact-name-validation.ts
VERSION = 2  # 1 (ci-dispatch 0.1) called a result's `cause` "trouble"


class ShardReport(Value):
    """One attempt of one shard, as its machine reports it."""

    dispatch: str
    shard: ShardId
    attempt: int
    machine: str  # as the plan calls it, or its runner
    result: AttemptResult
    started: float = 0.0  # seconds since the epoch, by the clock of its machine
    ended: float = 0.0
    plan: str = ""  # of the whole dispatch, so that `watch` can attach from anywhere
    commit: str = ""  # that it had checked out
    v: int = 0  # of this format; `write` sets it


class OtherVersion(UnreadableReport):
    """The worker runs another version of ci-dispatch: so do its other jobs, and no machine is to blame."""


def artifact_name(dispatch: str, shard: ShardId, attempt: int) -> str:
    """Unique in a run over all attempts: of two artifacts with one name, the wrong one may be downloaded."""
    return f"{PREFIX}-{dispatch}-{shard}-a{attempt}"


def attempt_of(name: str, dispatch: str, shard: ShardId) -> int | None:
    """The attempt an artifact is from, when it is of this dispatch and shard."""
    found = re.fullmatch(re.escape(f"{PREFIX}-{dispatch}-{shard}-a") + r"([1-9][0-9]{0,3})", name)
    return int(found[1]) if found else None


def other_commit(found: str, wanted: str) -> str:
    """Why an attempt that had `found` checked out counts for nothing in a run of `wanted`."""
    had = f"commit {found[:12]} was checked out" if found else "no git could tell which commit was checked out"
    return (
        f"{had}, and this run is of {wanted[:12]}: the worker workflow must give actions/checkout "
        "`ref: ${{ matrix.commit }}`"
    )


def dumps(report: ShardReport) -> bytes:
    return codec.encode(codec.replace(report, v=VERSION))


def make_uploadable(folder: Path) -> None:
    """Rename what actions/upload-artifact refuses: one such name below `folder` and nothing at all is uploaded."""
    for path in sorted(folder.rglob("*"), reverse=True):  # what is in a folder before the folder itself
        name = _REFUSED.sub("_", path.name)
        target, number = path.with_name(name), 1
        while target != path and target.exists():
            number += 1
            target = path.with_name(f"{number}-{name}")
        path.rename(target)


def write(folder: Path, report: ShardReport) -> None:
    (folder / FILE).write_bytes(dumps(report))


def read(folder: Path) -> ShardReport:
    """The report in an unpacked artifact.

    Raises:
        UnreadableReport: when there is none, or it is damaged; `OtherVersion` for one of another version.
    """
    file = folder / FILE
    try:
        if file.stat().st_size > MAX_BYTES:
            raise ValueError(f"it is larger than {MAX_BYTES >> 20} MB")  # noqa: TRY301
        return parse(file.read_bytes())
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise UnreadableReport(f"{FILE} of a shard could not be read", why=why or "") from error


def parse(data: bytes) -> ShardReport:
    """The report in a file's content. Raises OtherVersion, and ValueError for anything else."""
    report = codec.decode(ShardReport, data)
    if report.v != VERSION:
        raise OtherVersion(
            f"{FILE} of a shard could not be read",
            why=f"it is not the report of this version of ci-dispatch: format {report.v}, not {VERSION}",
            hint="use the same version of the action in the worker workflow and where you dispatch",
        )
    told = (*report.result.results, *(other.result for other in report.result.unlisted))
    if any(line.seconds is not None and not 0 <= line.seconds <= LONGEST for line in told):
        raise ValueError("a test in it took less than no time, or longer than a job may")
    return report
