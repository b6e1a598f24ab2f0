"""The audit log of a seed: what really ran, told by the tests themselves to a file that no run can touch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """One execution of one test by one process. Times are of the kernel's monotonic clock, in seconds."""

    test: str
    machine: str
    version: str  # of the tree it was run from
    begin: float
    end: float | None  # None: it never ended
    outcome: str  # passed, failed or skipped; "" when it never ended


def read(log: Path) -> list[Execution]:
    """All executions, in the order they began. A line that was cut is not there."""
    lines = [json.loads(line) for line in log.read_bytes().split(b"\n")[:-1]] if log.exists() else []
    return list(_executions(lines))


def _executions(lines: Sequence[dict[str, object]]) -> Iterator[Execution]:
    for number, line in enumerate(lines):
        if line["what"] != "begin":
            continue
        end = next((later for later in lines[number + 1 :] if _same(later, line)), {"what": "begin"})
        ended = end["what"] == "end"  # a second begin of the same process: the first never ended
        yield Execution(
            test=str(line["test"]),
            machine=str(line["machine"]),
            version=str(line["version"]),
            begin=float(str(line["at"])),
            end=float(str(end["at"])) if ended else None,
            outcome=str(end["outcome"]) if ended else "",
        )


def _same(one: dict[str, object], other: dict[str, object]) -> bool:
    return all(one[name] == other[name] for name in ("test", "pid", "machine", "version"))
