"""What a run asks of a fleet, an executor, a machine, a suite, a reporter and a clock. Everything else implements it.

Machine and suite calls block and run on worker threads; whatever they tell while they run goes through a `JobListener`,
which only enqueues. Every call has a deadline in seconds and ends by it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from ci_dispatch.core.errors import CiDispatchError, ExitCode
from ci_dispatch.core.events import MachineChecked, Stamped
from ci_dispatch.core.groups import TestMarks
from ci_dispatch.core.model import (
    Ended,
    FailureCause,
    MachineName,
    MachineSpec,
    Test,
    TestId,
    TestResult,
    UnlistedResult,
)
from ci_dispatch.run.ledger import TestRecord
from ci_dispatch.run.messages import Command, Message
from ci_dispatch.run.state import MachineState, RunState


class MachineError(CiDispatchError):
    """A machine could not do what was asked; `stage` is where it stopped (name look-up, TCP, host key, sync, ...)."""

    exit_code = ExitCode.INCOMPLETE

    def __init__(self, what: str, *, stage: str, why: str = "", hint: str = "") -> None:
        super().__init__(what, why=why, hint=hint)
        self.stage = stage


class WorkTreeChanged(MachineError):
    """The tree a job is to run in, or has run in, is not what the run began with: its results are of something else."""

    def __init__(self, files: str, *, ran: bool) -> None:
        super().__init__(
            f"the work tree changed during the run: {files}",
            stage="tree",
            hint="run it again; files that the tests themselves write belong into .gitignore, "
            "or into `exclude` in the section [suite]",
        )
        self.ran = ran


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkTree:
    """The work tree the tests live in, on the controller.

    With `sha` and `remote_url` a machine may check it out itself.
    """

    root: Path
    sha: str = ""
    remote_url: str = ""  # without credentials
    authorization: str = field(default="", repr=False)  # the HTTP header for it: shown nowhere, stored nowhere
    exclude: tuple[str, ...] = ()  # patterns, relative to root, besides what git ignores
    frozen: Path | None = None  # the folder that has its content from when the run began; None: as it lies there now
    run: str = ""  # that needs it


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptPaths:
    """Absolute paths on one machine for one attempt."""

    tree: str  # root of the work tree
    attempt: str  # this attempt's own folder: reports, output, temporary files


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """One exact call of a test runner on a machine."""

    argv: tuple[str, ...]
    cwd: str  # absolute, on the machine
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)  # to put into the attempt's folder first, by relative path
    late: tuple[str, ...] = ()  # of `files`: what only a lease decides. With some the runner can be started ahead of it
    live: str = "live.jsonl"  # the append-only file the runner's reporter writes, relative to the attempt's folder
    interrupt_grace: float = 20.0  # seconds after INT, in which the runner writes its reports
    terminate_grace: float = 3.0  # seconds after TERM, before KILL


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """An invocation with its lease; `id` is unique over all runs: a job that exists is attached to, not begun again."""

    id: str
    invocation: Invocation
    lease_seconds: float  # the machine ends the job when nobody has renewed the lease for this long
    timeout: float  # seconds the invocation may take in all
    output_offset: int = 0  # bytes of output and live file that an earlier controller already has
    live_offset: int = 0
    waits: bool = False  # a runner started ahead: it runs nothing before another job takes it over, and then ends as
    standby: str = ""  # CANCELLED for whoever followed it. The id of such a job, to be taken over if it still waits


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEnd:
    ended: Ended
    exit_code: int | None = None
    signal: int | None = None
    seconds: float = 0.0
    reason: str = ""
    live_lines: int | None = None  # of the live file, when its machine began to end it; None: nobody counted

    @property
    def undisturbed_lines(self) -> int | None:
        """Lines of the live file from before the job was interrupted for no fault of its tests; None: all of them.

        What fails while its runner and its children are being ended says nothing about the product.
        """
        return self.live_lines if self.ended in (Ended.CANCELLED, Ended.LEASE_ENDED, Ended.LOST) else None


class JobListener(Protocol):
    """Hears a running job. Called on a worker thread: implementations only enqueue."""

    def started(self) -> None: ...
    def beat(self) -> None:
        """The job is alive and the lease renewed, about once a second."""

    def output(self, data: bytes) -> None:
        """The next piece of the runner's output; each byte once, in order."""

    def live(self, data: bytes) -> None:
        """The next piece of the live file; each byte once, in order."""


class Machine(Protocol):
    """A host that can be asked how it is and made to run jobs. Methods raise MachineError and nothing else."""

    @property
    def spec(self) -> MachineSpec: ...

    def check(self, deadline: float, *, busy: bool = False) -> MachineChecked:
        """Its health; never raises: what went wrong is in the answer.

        `busy`: the run's own work may be what loads it, so its load is shown and is no reason to refuse it.
        """

    def sync(self, tree: WorkTree, deadline: float) -> str:
        """Bring the work tree there; an unchanged tree costs one round trip. It is the run's for some time.

        Returns another text each time that its content was made anew.
        """

    def release(self, deadline: float) -> None:
        """The run needs the work tree there no longer."""

    def place(self, job_id: str) -> AttemptPaths:
        """Where a job's files are; valid after `sync`."""

    def run(self, job: Job, listener: JobListener) -> JobEnd:
        """Run the job, or attach to it when it exists; returns when it has ended with all its processes, or is lost."""

    def cancel(self, job_id: str) -> None:
        """End a job gently (INT, TERM, KILL); `run` then returns. From any thread, at once, whatever the state."""

    def kill(self, job_id: str) -> None:
        """End a job now, without waiting for its reports."""

    def collect(self, job_id: str, into: Path, deadline: float) -> None:
        """Fetch the attempt's folder (reports, not temporary files) into a folder of the controller."""

    def sweep(self, deadline: float) -> int:
        """End what earlier runs left behind, return how many processes that were."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The tests a suite expects, before anything is sent."""

    tests: tuple[Test, ...]
    notes: tuple[str, ...] = ()  # what a person should know: skipped projects, a version too old for exact selection
    workers: int = 0  # how many tests the runner can run at once on one machine; 0: as many as it is told
    flaky_is_failure: bool = False  # the runner itself was told so
    marks: Mapping[TestId, TestMarks] = field(default_factory=dict)  # what the suite itself says about its tests


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptReading:
    """What an attempt's files say: one result per expected test, NOT_RUN with a reason where there is none."""

    results: tuple[TestResult, ...]
    cause: FailureCause = FailureCause.NONE
    reason: str = ""
    suspects: tuple[TestId, ...] = ()  # begun and never ended
    unexpected: tuple[str, ...] = ()  # names of tests that ran although nobody asked for them
    unlisted: tuple[UnlistedResult, ...] = ()  # those of them that failed or were flaky


class Suite(Protocol):
    """A test runner: lists its tests, builds exact commands, reads back what happened."""

    name: str  # of the runner: "playwright", "pytest", "command" ...
    title: str  # of this suite, for people

    def tools(self) -> tuple[str, ...]:
        """Programs a machine needs to run it."""

    def list_tests(self, deadline: float) -> Listing:
        """All tests, on this machine, with machine-independent ids.

        Raises NothingToRun for an empty suite and UsageError for one that cannot be loaded or has no runner.
        """

    def invocation(
        self, tests: Sequence[Test], place: AttemptPaths, *, workers: int, shard: int, extra: Sequence[str]
    ) -> Invocation:
        """The call that runs exactly `tests`, whatever their names are made of.

        `shard` is a number that no other attempt of the run has. How many shards there will be nobody knows when one
        starts: machines pull them until no test is left.
        """

    def live_result(self, line: bytes) -> TestResult | None:
        """One line of the live file as a result, or None when it is not the end of a test."""

    def read(self, tests: Sequence[Test], folder: Path, end: JobEnd) -> AttemptReading:
        """What happened, from the attempt's folder on the controller (which may hold only the live file)."""


class Fleet(Protocol):
    """A way out of a run: hands out ready tests as leases, tells what becomes of them, cancels. Pure.

    Its methods are generators. `RunControl` acts on each item before it asks for the next, so a fleet sees its own news
    in the ledger at once: news (`LeaseNews`, `Noticed`) become events, commands are carried out after the step.
    """

    machines: frozenset[MachineName]  # that it can reach
    lingers: float  # seconds for which a job of it that was lost may go on unseen

    def begin(self, now: float) -> Iterator[Message | Command]:
        """Take up what a run before this controller left: leases that are active in the ledger."""

    def hear(self, message: Message, now: float) -> Iterator[Message | Command]:
        """What a message means; those of other fleets mean nothing."""

    def advance(self, now: float) -> Iterator[Message | Command]:
        """What time alone brings about: leases that expire, polls and re-runs that are due. Called at every step."""

    def hand_out(
        self, ready: Callable[[], Sequence[TestRecord]], usable: Sequence[MachineState], now: float
    ) -> Iterator[Message | Command]:
        """Give ready tests to those of the `usable` machines (of all fleets, strongest first) that are its own.

        `ready()` is what may be handed out at this moment.
        """

    def held(self) -> Collection[TestId]:
        """Tests that are spoken for without a lease: waiting in a shared queue, or for a re-run."""

    def cancel(self, now: float, *, force: bool) -> Iterator[Command]:
        """End everything that runs: gently, so that it still reports, or by force: nobody waits for it any more."""

    def ending(self) -> bool:
        """Whether something of it still has to be told to end."""


class Executor(Protocol):
    """Carries out commands on threads that only put messages on the inbox; each ends in exactly one."""

    takes: tuple[type[Command], ...]

    def carry_out(self, command: Command) -> None:
        """Begin it; returns at once."""

    def close(self) -> None:
        """End what this process still has running; the run is over, however it ended."""


@runtime_checkable
class Reporter(Protocol):
    """Shows or stores a run: gets each event with the state after it, keeps no counters, cannot change the verdict."""

    name: str

    def handle(self, stamped: Stamped, state: RunState) -> None: ...

    def tick(self, now: float, state: RunState) -> None:
        """Called about every half second, for clocks and bars."""

    def close(self) -> None: ...


class BaseReporter:
    """A `Reporter` that shows nothing yet: a subclass gives its name and overrides what it needs.

    `state` is the run as it was last seen, for what is shown at the end; None before the first event.
    """

    name = ""
    state: RunState | None = None

    def handle(self, stamped: Stamped, state: RunState) -> None:  # noqa: ARG002
        self.state = state

    def tick(self, now: float, state: RunState) -> None:
        pass

    def close(self) -> None:
        pass


class Clock(Protocol):
    def now(self) -> float:
        """Seconds since the epoch that never run backwards."""
