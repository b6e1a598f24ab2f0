"""What happened, in the past tense: the closed union of events that a run consists of.

Events are facts, frozen and JSON-able; the journal is a list of them and `RunState` is their fold. Only the engine
makes them, only the bus stamps them. An event a reader does not know is carried as `Unrecognised` and changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ci_dispatch.core import codec
from ci_dispatch.core.model import (
    AttemptResult,
    Lease,
    LeaseNumber,
    MachineName,
    MachineSpec,
    Makespan,
    RunId,
    Test,
    TestId,
    TestResult,
    Verdict,
)

JOURNAL_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    run: RunId
    title: str  # of the suite, for people
    runner: str
    tests: tuple[Test, ...]
    machines: tuple[MachineSpec, ...]
    expected_seconds: Mapping[str, float] = field(default_factory=dict)  # by test id, on a core of speed 1
    max_retries: int = 2
    planned: float = 0.0  # makespan
    lower_bound: float = 0.0
    settings: Mapping[str, Any] = field(default_factory=dict)  # what a resume needs to go on the same way


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResumed:
    """A new controller took over the journal of a dead one."""

    controller: str  # host and process, for people


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineChecked:
    """One health check. Unreachable implies unhealthy."""

    machine: MachineName
    healthy: bool
    reachable: bool
    cores: int = 0
    seconds: float = 0.0
    text: str = ""  # one line as the health command prints it
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineLost:
    """It stopped answering while it held leases; a later healthy check brings it back."""

    machine: MachineName
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineQuarantined:
    """The circuit breaker opened: it answers, but what it runs fails; it gets no more work in this run."""

    machine: MachineName
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseGranted:
    lease: Lease


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStarted:
    lease: LeaseNumber


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptOutput:
    """A piece of a runner's output, for those who watch. Transient: the whole output is a file in the run folder."""

    lease: LeaseNumber
    machine: MachineName
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TestFinished:
    """Live news from a running attempt; the attempt's end decides, this only shows."""

    __test__ = False

    lease: LeaseNumber
    result: TestResult


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFinished:
    """An attempt's end, whatever it was. Stale: its lease had ended before, so it is evidence and changes nothing."""

    lease: LeaseNumber
    machine: MachineName
    result: AttemptResult
    stale: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryScheduled:
    """Tests that go back into the queue: not before `not_before`, and preferably not on `avoid_machine`."""

    tests: tuple[TestId, ...]
    reason: str
    not_before: float
    avoid_machine: MachineName | None = None
    counts: bool = False  # uses up one of the tests' own retries
    isolate: bool = False  # a suspect: it gets a shard of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictReached:
    test: TestId
    verdict: Verdict
    lease: LeaseNumber | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupted:
    signal: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    """Something a person should know that changes no verdict; `source` is a machine, a reporter, the configuration."""

    source: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished:
    exit_code: int
    makespan: Makespan
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unrecognised:
    """An event of a later minor version: kept, shown by nobody."""

    kind: str
    data: Mapping[str, Any]


Event: TypeAlias = (
    RunStarted
    | RunResumed
    | MachineChecked
    | MachineLost
    | MachineQuarantined
    | LeaseGranted
    | AttemptStarted
    | AttemptOutput
    | TestFinished
    | AttemptFinished
    | RetryScheduled
    | VerdictReached
    | Interrupted
    | Warned
    | RunFinished
    | Unrecognised
)

TRANSIENT = (AttemptOutput,)  # shown and forgotten: never in the journal

_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        RunStarted, RunResumed, MachineChecked, MachineLost, MachineQuarantined, LeaseGranted, AttemptStarted,
        AttemptOutput, TestFinished, AttemptFinished, RetryScheduled, VerdictReached, Interrupted, Warned, RunFinished,
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamped:
    """An event with its place in the run: `seq` is dense over the journal, `at` is seconds since the epoch."""

    seq: int
    at: float
    event: Event


def dumps(stamped: Stamped) -> str:
    """One journal line of pure ASCII, without the newline: names with lone surrogates survive it too."""
    event = stamped.event
    if isinstance(event, Unrecognised):
        kind, data = event.kind, dict(event.data)
    else:
        kind, data = type(event).__name__, codec.encode(event)
    line = {"v": JOURNAL_VERSION, "seq": stamped.seq, "at": round(stamped.at, 3), "kind": kind, "data": data}
    return json.dumps(line, separators=(",", ":"))


def loads(line: str) -> Stamped:
    """The event of one journal line.

    Raises ValueError for a line that is cut or not a journal line, or of another journal version.
    """
    raw = json.loads(line)
    if not isinstance(raw, dict) or not {"v", "seq", "at", "kind", "data"} <= raw.keys():
        raise ValueError("not a line of a ci-dispatch journal")
    if raw["v"] != JOURNAL_VERSION:
        raise ValueError(f"journal version {raw['v']!r}; this ci-dispatch reads version {JOURNAL_VERSION}")
    known = _KINDS.get(raw["kind"])
    event = codec.decode(known, raw["data"]) if known else Unrecognised(kind=str(raw["kind"]), data=raw["data"])
    return Stamped(seq=int(raw["seq"]), at=float(raw["at"]), event=event)
