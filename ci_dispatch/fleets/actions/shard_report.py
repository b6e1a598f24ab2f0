"""What a worker job sends home beside its JUnit files: `attempt.json`, one result for each test of its shard.

The artifact's name carries dispatch, shard and attempt, because GitHub's artifacts do not say which attempt made them,
and their ids do not grow with attempts (https://github.com/Systemorph/MeshWeaver/pull/4332).
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ci_dispatch.core import codec
from ci_dispatch.core.errors import UnreadableReport
from ci_dispatch.core.model import AttemptResult, ShardId, TestResult

FILE = "attempt.json"
PREFIX = "ci-dispatch"
MAX_BYTES = 64 << 20
_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardReport:
    """One attempt of one shard, as its machine tells it."""

    dispatch: str
    shard: ShardId
    attempt: int
    machine: str  # the plan's name for it, or the runner's
    result: AttemptResult
    plan: str = ""  # of the whole dispatch, so that `watch` can attach from anywhere


def artifact_name(dispatch: str, shard: ShardId, attempt: int) -> str:
    """Unique in a run over all attempts: two artifacts of one name can live side by side, and the wrong one wins."""
    return f"{PREFIX}-{dispatch}-{shard}-a{attempt}"


def attempt_of(name: str, dispatch: str, shard: ShardId) -> int | None:
    """The attempt an artifact is from, when it is of this dispatch and shard."""
    found = re.fullmatch(re.escape(f"{PREFIX}-{dispatch}-{shard}-a") + r"([1-9][0-9]{0,3})", name)
    return int(found[1]) if found else None


def write(folder: Path, report: ShardReport) -> None:
    data = {"v": _VERSION, **codec.encode(report)}
    (folder / FILE).write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")


def read(folder: Path) -> ShardReport:
    """The report in an unpacked artifact.

    Raises:
        UnreadableReport: when there is none, or none of ours.
    """
    file = folder / FILE
    try:
        if file.stat().st_size > MAX_BYTES:
            raise ValueError(f"it is larger than {MAX_BYTES >> 20} MB")  # noqa: TRY301
        return parse(json.loads(file.read_bytes()))
    except (OSError, ValueError, RecursionError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise UnreadableReport(f"{FILE} of a shard could not be read", why=why or "") from error


def parse(data: Any) -> ShardReport:
    """The report in decoded JSON; raises ValueError for anything else."""
    if not isinstance(data, dict) or data.get("v") != _VERSION:
        raise ValueError("it is not the report of this version of ci-dispatch")
    report: ShardReport = codec.decode(ShardReport, data)
    texts = (
        report.dispatch,
        report.shard,
        report.machine,
        report.plan,
        report.result.reason,
        *report.result.unexpected,
    )
    if not all(isinstance(text, str) for text in texts) or not all(map(_sound, report.result.results)):
        raise ValueError("a value in it has the wrong type")
    return report


def _sound(result: TestResult) -> bool:
    """The codec checks the shape; a report from elsewhere may still put a number where a text belongs."""
    texts = (result.test, result.message, result.detail, result.kind, result.reason)
    seconds = result.seconds
    return (
        all(isinstance(text, str) for text in texts)
        and (seconds is None or (math.isfinite(seconds) and seconds >= 0))
        and isinstance(result.retries, int)
    )
