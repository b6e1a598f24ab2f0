"""An executor with machines that do what a test says, and a suite that reads what it is told to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ci_dispatch.core.events import MachineChecked
from ci_dispatch.core.model import (
    Connection,
    Ended,
    Lease,
    LeaseNumber,
    MachineName,
    MachineSpec,
    RunId,
    Shard,
    ShardId,
    ShardKind,
    Test,
    TestId,
    TestResult,
    Verdict,
)
from ci_dispatch.fleets.machines.executor import MachineExecutor
from ci_dispatch.fleets.machines.fleet import StartJob
from ci_dispatch.run import messages as m
from ci_dispatch.run.ports import (
    AttemptPaths,
    AttemptReading,
    Invocation,
    Job,
    JobEnd,
    JobListener,
    Listing,
    MachineError,
    WorkTree,
)
from ci_dispatch.run.worker_threads import WorkerThreads
from tests.simulation import VirtualClock, make_tests

FAR, NEAR = MachineName("far"), MachineName("near")
TESTS = make_tests(2)
EXITED = JobEnd(ended=Ended.EXITED, exit_code=0, seconds=1.5)
BROKEN = MachineError("it did not work", stage="sync", why="no route")


class FakeMachine:
    """Does what the test says, and remembers what it was asked for."""

    def __init__(self, name: MachineName = FAR, connection: Connection = Connection.SSH) -> None:
        self.spec = MachineSpec(name=name, connection=connection)
        self.asked: list[str] = []
        self.jobs: list[Job] = []
        self.runs: Callable[[Job, JobListener], JobEnd] = lambda _job, _listener: EXITED
        self.syncs: Callable[[], None] = lambda: None
        self.generation = "1"
        self.left_behind = 0
        self.breaks_at = ""

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.breaks_at == what.partition(" ")[0]:
            raise BROKEN

    def check(self, deadline: float, *, busy: bool = False) -> MachineChecked:
        self._ask(f"check busy={busy}")
        return MachineChecked(machine=self.spec.name, healthy=True, reachable=True, seconds=deadline)

    def sync(self, tree: WorkTree, deadline: float) -> str:
        self._ask("sync")
        self.syncs()
        return self.generation

    def release(self, deadline: float) -> None:
        self._ask("release")

    def place(self, job_id: str) -> AttemptPaths:
        return AttemptPaths(tree="/far/tree", attempt=f"/far/{job_id}")

    def run(self, job: Job, listener: JobListener) -> JobEnd:
        self._ask(f"run {job.id}")
        self.jobs.append(job)
        return self.runs(job, listener)

    def cancel(self, job_id: str) -> None:
        self._ask(f"cancel {job_id}")

    def kill(self, job_id: str) -> None:
        self._ask(f"kill {job_id}")

    def collect(self, job_id: str, into: Path, deadline: float) -> None:
        self._ask(f"collect {job_id}")

    def sweep(self, deadline: float) -> int:
        self._ask("sweep")
        return self.left_behind

    def close(self) -> None: ...


class FakeSuite:
    name = "fake"
    title = "fake"

    def __init__(self) -> None:
        self.reading = AttemptReading(results=tuple(TestResult(test=t.id, verdict=Verdict.PASSED) for t in TESTS))
        self.defect: Exception | None = None
        self.late: tuple[str, ...] = ()

    def tools(self) -> tuple[str, ...]:
        return ()

    def list_tests(self, deadline: float) -> Listing:
        return Listing(tests=TESTS)

    def invocation(
        self, tests: Sequence[Test], place: AttemptPaths, *, workers: int, shard: int, extra: Sequence[str]
    ) -> Invocation:
        words = (str(workers), str(shard), *(test.id for test in tests), *extra)
        return Invocation(argv=words, cwd=place.tree, late=self.late)

    def live_result(self, line: bytes) -> TestResult | None:
        return TestResult(test=TestId(line.decode()), verdict=Verdict.PASSED) if line.startswith(b"t") else None

    def read(self, tests: Sequence[Test], folder: Path, end: JobEnd) -> AttemptReading:
        if self.defect:
            raise self.defect
        return self.reading


class Room:
    """An executor with fake machines, and everything it posted."""

    def __init__(self, folder: Path, *machines: FakeMachine, prepare: str = "") -> None:
        self.folder = folder
        self.suite = FakeSuite()
        self.posted: list[m.Message] = []
        self.threads = WorkerThreads(self.posted.append, VirtualClock())
        self.executor = MachineExecutor(
            run=RunId("r"),
            machines={machine.spec.name: machine for machine in machines},
            suite=self.suite,
            tree=WorkTree(root=folder),
            folder=folder / "attempts",
            threads=self.threads,
            lease_seconds=12.0,
            shard_timeout=60.0,
            sync_timeout=30.0,
            prepare=prepare,
            extra=("--extra",),
        )

    def start(self, number: int = 1, machine: MachineName = FAR, epoch: str = "", *, more: bool = False) -> None:
        shard = Shard(id=ShardId("s"), kind=ShardKind.HEAD, tests=tuple(test.id for test in TESTS))
        lease = Lease(
            number=LeaseNumber(number),
            shard=shard,
            machine=machine,
            granted=0.0,
            epoch=epoch,
        )
        self.executor.carry_out(StartJob(lease, TESTS, workers=3, more=more))

    def work(self, number: int = 1, machine: MachineName = FAR) -> m.LeaseEnded:
        self.start(number, machine)
        return self.ends(number)

    def ends(self, number: int = 1) -> m.LeaseEnded:
        assert self.threads.wait(10.0)
        [end] = [each for each in self.posted if isinstance(each, m.LeaseEnded) and each.lease == number]
        return end

    def noticed(self) -> list[str]:
        return [message.text for message in self.posted if isinstance(message, m.Noticed)]
