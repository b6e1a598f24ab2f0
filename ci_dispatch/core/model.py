"""The values everything else speaks in: tests, machines, shards, leases, results. Frozen and JSON-able."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NewType

from ci_dispatch.core.codec import Value, field
from report_merge.model import CaseKey, Verdict  # the same words in both packages

__all__ = [
    "ANY_MACHINE", "AttemptResult",
    "Connection",
    "Ended",
    "FailureCause",
    "Lease",
    "LeaseNumber",
    "MachineName",
    "MachineSpec",
    "Makespan",
    "PlannedTime",
    "RunId",
    "Shard",
    "ShardId",
    "ShardKind",
    "Test",
    "TestId",
    "TestResult",
    "UnitId",
    "UnlistedResult",
    "Verdict",
]  # fmt: skip

TestId = NewType("TestId", str)  # the same on every machine
UnitId = NewType("UnitId", str)
MachineName = NewType("MachineName", str)
ShardId = NewType("ShardId", str)
LeaseNumber = NewType("LeaseNumber", int)  # a fencing token: grows with every hand-out, never repeats in a run
RunId = NewType("RunId", str)

SPEEDS = 0.01, 100  # the least and the most of a core, configured or learnt
LONGEST_START_UP = 3600.0  # seconds, configured or learnt
USUAL_START_UP = 2.0  # seconds a test runner needs before its first test, while nobody knows better
ANY_MACHINE = MachineName("pool")  # a shard that any machine of a shared queue may take


class Test(Value):
    """One expected result: (project, file, title path)."""

    __test__ = False  # for pytest: this is not a test class

    id: TestId
    unit: UnitId  # tests of one unit are never sent apart
    atomic: bool = False  # the runner itself repeats the whole unit when one of it fails (Playwright's `serial`)
    project: str = ""
    file: str = ""
    title: tuple[str, ...] = ()
    line: int | None = None
    runner_id: str = ""  # what the runner itself calls it
    classname: str = ""  # in the runner's own JUnit reports, where that is not the file

    @property
    def name(self) -> str:
        return " › ".join(self.title) or self.id

    @property
    def key(self) -> CaseKey:
        """What every report identifies and calls it by."""
        return CaseKey(project=self.project, file=self.file, classname=self.file, name=self.name)


class TestResult(Value):
    """What one attempt says about one test. NOT_RUN carries its reason: an expected test is never just absent."""

    __test__ = False

    test: TestId
    verdict: Verdict  # FLAKY: the runner's own retry passed
    seconds: float | None = None
    message: str = ""  # first lines of what went wrong
    detail: str = ""  # stack trace or diff
    kind: str = ""  # exception or assertion type
    reason: str = ""  # why it was not run or skipped
    retries: int = 0  # by the runner itself, inside this attempt
    classname: str = ""  # with `name`: what the runner's JUnit report calls it, where nothing else says so
    name: str = ""


class UnlistedResult(Value):
    """What a runner says of a test that nobody asked it for."""

    test: Test
    result: TestResult
    names: tuple[str, ...] = ()  # what a listing may call it, where that is not only the test's id


class ShardKind(StrEnum):
    HEAD = "head"  # the weighted start of a machine
    TAIL = "tail"  # pulled later, ever smaller
    RETRY = "retry"  # failed tests again
    REASSIGNED = "reassigned"  # what another machine lost
    COPY = "copy"  # what still runs elsewhere too: the first result counts


class Charge(StrEnum):
    """Whose account a repetition is charged to; each account has its own limit."""

    TEST = "test"  # it failed: one of its own retries is used up
    MACHINE = "machine"  # a machine could not finish it: one of its reassignments
    NOBODY = "nobody"  # it was taken over before it began


class Shard(Value):
    """The tests one invocation of the test runner gets; whole units only."""

    id: ShardId
    kind: ShardKind
    tests: tuple[TestId, ...]
    seconds: float = 0.0  # expected duration on a core of speed 1


class Lease(Value):
    """The right to run a shard on a machine; whoever granted it says when it has expired."""

    number: LeaseNumber
    shard: Shard
    machine: MachineName
    granted: float
    epoch: str = ""  # of the controller that granted it; "" is the one that began the run


class Ended(StrEnum):
    """How an attempt ended, before anybody looks at its tests."""

    EXITED = "exited"  # the runner ended by itself, whatever its exit code
    TIMED_OUT = "timed out"  # the shard's own deadline
    CANCELLED = "cancelled"  # by us
    LEASE_ENDED = "lease ended"  # the machine ended it: nobody renewed the lease
    LOST = "lost"  # the machine cannot be reached, or forgot the job
    NOT_STARTED = "not started"  # the machine could not begin: no disk, no tree, no runner


class FailureCause(StrEnum):
    """What stood in the way of an attempt as a whole; decides what a retry can help."""

    NONE = ""
    LOAD = "load error"  # the suite itself cannot be loaded: never retried
    USAGE = "usage error"  # the runner refused its arguments: never retried
    SETUP = "setup"  # a tool, browser or package is missing on this machine: another machine may have it
    CRASH = "crash"  # the runner died of its own
    MACHINE = "machine"  # disk, memory, lost connection: another machine
    TREE = "work tree changed"  # it ran on something else than the run's content: another machine, and this one no more


class AttemptResult(Value):
    """Everything an attempt brought home: one result per expected test, whatever happened."""

    ended: Ended
    cause: FailureCause = FailureCause.NONE
    reason: str = ""
    exit_code: int | None = None
    seconds: float = 0.0
    results: tuple[TestResult, ...] = ()
    suspects: tuple[TestId, ...] = ()  # had begun and not ended when a runner or a machine died
    unexpected: tuple[str, ...] = ()  # names of tests that ran although nobody asked for them
    unlisted: tuple[UnlistedResult, ...] = ()  # those of them that failed or were flaky


class Connection(StrEnum):
    LOCAL = "local"
    SSH = "ssh"


class MachineSpec(Value):
    """A host as its owner describes it. `cores` 0 means: ask the machine."""

    name: MachineName
    connection: Connection = Connection.SSH
    host: str = ""  # for ssh; default: the name, resolved by the user's SSH configuration
    user: str = ""
    port: int | None = None
    key: str = ""  # path of a private key
    cores: int = 0
    slots: int = 1  # shards at a time
    workers: int = 0  # tests at a time inside one shard; 0: cores / slots
    tune_workers: bool = False  # the number is looked for from run to run
    speed: float = 1.0  # of one core, relative
    labels: tuple[str, ...] = ()  # of the GitHub runner, and what groups of tests may need
    workdir: str = ""  # where work trees live on it
    env: Mapping[str, str] = field(default_factory=dict)
    start_up: float | None = None  # seconds a test runner needs there before its first test; None: nobody knows
    cost: float = 0.0  # seconds by which a run must get shorter for this machine to join

    @property
    def starts_after(self) -> float:
        """Seconds from the start of a test runner to its first test."""
        return USUAL_START_UP if self.start_up is None else self.start_up

    @property
    def power(self) -> float:
        """What it is worth in a plan: cores x speed."""
        return max(1, self.cores) * self.speed

    @property
    def offers(self) -> frozenset[str]:
        """What a group of tests may need of it: its labels, and its name. Case does not count, as on GitHub."""
        return frozenset(word.casefold() for word in (*self.labels, self.name))

    @property
    def workers_per_shard(self) -> int:
        return self.workers or max(1, self.cores // max(1, self.slots))


class PlannedTime(Value):
    """How long a run over these machines is planned to take, in seconds."""

    machines: tuple[MachineName, ...]
    seconds: float


class Makespan(Value):
    """Wall time of a run in seconds: what the plan said, what it took, what no schedule can beat."""

    planned: float
    realised: float
    lower_bound: float

    @property
    def efficiency(self) -> float:
        """Realised over the lower bound; 1.0 is perfect, 0.0 unknown."""
        return self.realised / self.lower_bound if self.lower_bound > 0 else 0.0
