"""What happened, in the past tense: the closed union of events that a run consists of.

Events are facts, frozen and JSON-able; the journal is a list of them and `RunState` is their fold. Only `RunControl`
makes them, only the event bus stamps them. An event a reader does not know is carried as `Unrecognised` and changes
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from ci_dispatch.core.codec import Value, field
from ci_dispatch.core.groups import TestGroup
from ci_dispatch.core.model import (
    AttemptResult,
    Charge,
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


class RunStarted(Value):
    run: RunId
    title: str  # of the suite, for people
    runner: str
    tests: tuple[Test, ...]
    machines: tuple[MachineSpec, ...]
    expected_seconds: Mapping[str, float] = field(default_factory=dict)  # by test id, on a core of speed 1
    max_retries: int = 2
    fail_if_all_skipped: bool = False  # a run in which nothing ran is no pass; runs of 0.1 did not ask
    flaky_is_failure: bool = False  # a test that failed and then passed makes the run fail
    planned: float = 0.0  # makespan
    lower_bound: float = 0.0
    settings: Mapping[str, Any] = field(default_factory=dict)  # what a resume needs to go on the same way
    target_time: float = 0.0  # seconds; 0: none was asked for
    left_out: Mapping[MachineName, str] = field(default_factory=dict)  # machines that wait until needed, and why
    groups: tuple[TestGroup, ...] = ()  # of tests that are not free to run anywhere at any time
    tree: str = ""  # what identifies the content that is tested; "" where the commit of a dispatch does


class RunResumed(Value):
    """A new controller took over the journal of a dead one."""

    controller: str  # host and process, for people
    epoch: str = ""  # no other controller of the run has it
    last_lease: LeaseNumber = LeaseNumber(0)  # numbers up to it may have been granted, also where the journal lost that
    deadline: float = 0.0  # of the whole run from now on, in seconds under a controller; 0: as before


class MachineChecked(Value):
    """One health check. Unreachable implies unhealthy."""

    machine: MachineName
    healthy: bool
    reachable: bool
    cores: int = 0
    seconds: float = 0.0
    text: str = ""  # one line as the health command prints it
    problems: tuple[str, ...] = ()


class MachineLost(Value):
    """It stopped answering while it held leases; a later healthy check brings it back."""

    machine: MachineName
    reason: str


class MachineQuarantined(Value):
    """It answers, but what it runs comes to nothing: it gets no more work in this run, unless it is released."""

    machine: MachineName
    reason: str


class MachineReleased(Value):
    """What it had under way when it was put into quarantine went well."""

    machine: MachineName


class LeaseGranted(Value):
    lease: Lease


class AttemptStarted(Value):
    lease: LeaseNumber


class AttemptOutput(Value):
    """A piece of a runner's output, for those who watch. Transient: the whole output is a file in the run folder."""

    lease: LeaseNumber
    machine: MachineName
    text: str


class TestFinished(Value):
    """Live news from a running attempt; the attempt's end decides, this only shows."""

    __test__ = False

    lease: LeaseNumber
    result: TestResult


class AttemptFinished(Value):
    """An attempt's end, whatever it was. Stale: its lease had ended before, so it is evidence and changes nothing."""

    lease: LeaseNumber
    machine: MachineName
    result: AttemptResult
    stale: bool = False


class RetryScheduled(Value):
    """Tests that go back into the queue: not before `not_before`, and preferably not on `avoid_machine`."""

    tests: tuple[TestId, ...]
    reason: str
    not_before: float
    avoid_machine: MachineName | None = None
    charged_to: Charge = Charge.MACHINE
    isolate: bool = False  # a suspect: it gets a shard of its own


class VerdictReached(Value):
    test: TestId
    verdict: Verdict
    lease: LeaseNumber | None = None
    reason: str = ""


class Interrupted(Value):
    signal: int


class Warned(Value):
    """Something a person should know that changes no verdict; `source` is a machine, a reporter, the configuration."""

    source: str
    text: str


class RunFinished(Value):
    exit_code: int
    makespan: Makespan
    reason: str = ""


class Unrecognised(Value):
    """An event of a later minor version: kept, shown by nobody."""

    kind: str
    data: Mapping[str, Any]


Event: TypeAlias = (
    RunStarted
    | RunResumed
    | MachineChecked
    | MachineLost
    | MachineQuarantined
    | MachineReleased
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

KINDS: dict[str, type[Value]] = {
    kind.__name__: kind
    for kind in (
        RunStarted, RunResumed, MachineChecked, MachineLost, MachineQuarantined, MachineReleased, LeaseGranted,
        AttemptStarted, AttemptOutput, TestFinished, AttemptFinished, RetryScheduled, VerdictReached, Interrupted,
        Warned, RunFinished,
    )
}  # fmt: skip


class Stamped(Value):
    """An event with its place in the run: `seq` is dense over the journal, `at` is seconds since the epoch."""

    seq: int
    at: float
    event: Event
