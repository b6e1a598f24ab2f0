"""A run through GitHub in simulated time: our control, fleet and client, the double over HTTP, scripted machines."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from random import Random
from typing import Any

from ci_dispatch.config.choices import Strategy
from ci_dispatch.core.events import MachineChecked, RunStarted
from ci_dispatch.core.model import (
    ANY_MACHINE,
    AttemptResult,
    Ended,
    FailureCause,
    MachineName,
    MachineSpec,
    RunId,
    ShardId,
    Test,
    TestId,
    TestResult,
    UnitId,
    Verdict,
)
from ci_dispatch.fleets.actions import messages as g
from ci_dispatch.fleets.actions import shard_report
from ci_dispatch.fleets.actions.executor import ActionsExecutor
from ci_dispatch.fleets.actions.fleet import ActionsFleet
from ci_dispatch.fleets.actions.run.batches import unpack
from ci_dispatch.fleets.actions.run.dispatch_planner import ActionsPolicy
from ci_dispatch.fleets.actions.run.dispatch_state import (
    FILE,
    DispatchFile,
    DispatchTarget,
    dumps,
    load,
    restore,
)
from ci_dispatch.fleets.actions.run.workflow_run import WorkflowRun
from ci_dispatch.run import messages as m
from ci_dispatch.run.control import RunControl, RunPolicy
from ci_dispatch.run.event_bus import EventBus
from ci_dispatch.run.state import RunState
from ci_dispatch.run.worker_threads import Failed, Work, WorkerThreads
from report_merge.failures import classify
from tests.github_double import GitHubDouble, Script, ScriptedWorker, zipped
from tests.github_double.entities import Job
from tests.integration.github_client import client_of
from tests.integration.test_github_client import WORKER
from tests.simulation import EventRecorder

FLEET = (("local", 16), ("moruk", 24), ("ilko2", 4), ("pi", 4))
START = 1_700_000_000.0
COMMIT = "c0ffee" + "0" * 34


@dataclass
class Clock:
    moment: float = START

    def now(self) -> float:
        return self.moment


def suite(count: int) -> tuple[Test, ...]:
    return tuple(
        Test(id=TestId(f"t{n:03}"), unit=UnitId(f"t{n:03}"), file=f"f{n % 12}.ts", title=(f"test {n}",))
        for n in range(count)
    )


@dataclass
class Ran:
    """One attempt of one shard, as its machine saw it."""

    run: int
    shard: str
    attempt: int
    machine: str
    tests: tuple[str, ...]


@dataclass
class World:
    """What really happens on the machines: which tests fail when, which machine dies."""

    seconds: float = 20.0  # of each job
    fails: Mapping[str, int] = field(default_factory=dict)  # test -> so many times, then it passes
    script: Callable[[Job], Script | None] = lambda _job: None  # something else than running the shard
    cause: FailureCause = FailureCause.NONE
    checks_out: Callable[[Job], str] = lambda job: job.matrix["commit"]
    archive: Callable[[Job, bytes], bytes] = lambda _job, data: data  # what the upload does to the artifact
    ran: list[Ran] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    done: dict[tuple[int, str], set[str]] = field(default_factory=dict)
    double: GitHubDouble | None = None

    def __call__(self, job: Job) -> Script:
        if (other := self.script(job)) is not None:
            return other
        assert self.double is not None
        inputs = self.double.hub.runs[job.run].inputs
        shard = str(job.matrix["shard"])
        done = self.done.setdefault((job.run, shard), set())  # what a worker knows of its earlier attempts
        tests = [test.id for test in unpack(inputs["plan"]).tests[ShardId(shard)] if test.id not in done]
        machine = job.runner.name if job.runner else "?"
        self.ran.append(Ran(job.run, shard, job.attempt, machine, tuple(tests)))
        results = tuple(self._result(test) for test in tests) if not self.cause else ()
        done.update(line.test for line in results if line.verdict is Verdict.PASSED)
        bad = bool(self.cause) or any(line.verdict is Verdict.FAILED for line in results)
        told = shard_report.ShardReport(
            dispatch=inputs["dispatch_id"],
            shard=ShardId(shard),
            attempt=job.attempt,
            machine=machine,
            result=AttemptResult(ended=Ended.EXITED, exit_code=int(bad), cause=self.cause, results=results),
            plan=inputs["plan"],
            commit=self.checks_out(job),
        )
        name = shard_report.artifact_name(told.dispatch, told.shard, told.attempt)
        data = zipped({shard_report.FILE: shard_report.dumps(told), "junit.xml": junit(results)})
        conclusion = "failure" if bad else "success"
        return Script(seconds=self.seconds, conclusion=conclusion, artifacts={name: self.archive(job, data)})

    def _result(self, test: TestId) -> TestResult:
        self.counts[test] = self.counts.get(test, 0) + 1
        if self.counts[test] <= self.fails.get(test, 0):
            message = "expect(received).toBe(expected)"
            return TestResult(test=test, verdict=Verdict.FAILED, seconds=1.0, message=message, detail=message)
        return TestResult(test=test, verdict=Verdict.PASSED, seconds=1.0)


def junit(results: Sequence[TestResult]) -> str:
    cases = "".join(
        f'<testcase classname="c" name="{line.test}" time="1">'
        + ("<failure/>" if line.verdict is Verdict.FAILED else "")
        + "</testcase>"
        for line in results
    )
    return f'<testsuites><testsuite name="s">{cases}</testsuite></testsuites>'


def policies(**numbers: Any) -> tuple[RunPolicy, ActionsPolicy]:
    """Policies with these fields of `RunPolicy` and `ActionsPolicy`, and the graces of a run inside a GitHub job."""
    ours, theirs = ({f.name for f in fields(kind)} for kind in (RunPolicy, ActionsPolicy))
    assert numbers.keys() <= ours | theirs, numbers
    defaults = {"report_grace": 90.0, "signal_grace": 3.0, "force_grace": 0.0, "give_up_after": 300.0}
    run = RunPolicy(**(defaults | {name: value for name, value in numbers.items() if name in ours}))
    return run, ActionsPolicy(commit=COMMIT, **{name: value for name, value in numbers.items() if name in theirs})


class InOneThread(WorkerThreads):
    """Does queued work at once, where it is asked for: simulated time has no threads."""

    def enqueue(self, queue: str, work: Work, failed: Failed) -> None:
        self._finish("github", work, failed)


class Simulation:
    """Drives one controller; a second passes whenever nobody has anything to say."""

    def __init__(
        self,
        double: GitHubDouble,
        clock: Clock,
        folder: Path,
        *,
        tests: Sequence[Test],
        numbers: Mapping[str, Any],
        token: str = "",
        fleet: Sequence[tuple[str, int]] = FLEET,
    ) -> None:
        """`numbers` are fields of `RunPolicy` and `ActionsPolicy`."""
        self.double, self.clock, self.folder = double, clock, folder
        self.tests, self.token, self.specs = tests, token, fleet
        self.policy, self.actions = policies(**numbers)
        self.journal, self.state = EventRecorder(), RunState()
        self.saved: tuple[g.SavedDispatch, ...] = ()
        self.unreachable: set[str] = set()
        self.checks: list[m.CheckMachine] = []
        self.at: list[tuple[float, Callable[[], None]]] = []  # what happens when, on the clock
        self.github = client_of(double, token=token)
        self.inbox: deque[m.Message] = deque()
        self.ref = "main"
        self.alive = True
        self.dies_when_saving = False  # the journal has its leases, the file of dispatches does not
        self._build(())

    def _build(self, restored: Sequence[WorkflowRun]) -> None:
        bus = EventBus(self.state, self.clock, [self.journal])
        self.publish = bus.publish
        names = [MachineName(name) for name, _ in self.specs]
        self.fleet = ActionsFleet(self.state, [*names, ANY_MACHINE], self.actions, restored=restored)
        self.control = RunControl(
            self.state,
            bus.publish,
            fleets=[self.fleet],
            policy=self.policy,
            classify=lambda line: classify(line.detail, message=line.message),
            random=Random(7),
        )

    def killed_and_watched(self, limit: float = 7200.0) -> int:
        """The controller is gone (`alive` was set to False); another one has its journal and its file, nothing else."""
        events = list(self.journal.events)
        self.inbox.clear()
        self.state = RunState()
        for stamped in events:
            self.state.apply(stamped)
        file = self.folder / FILE
        target = DispatchTarget(repository="o/r", workflow="w", ref="main")
        file.write_bytes(dumps(DispatchFile(target=target, dispatches=self.saved)))
        again = load(self.folder)
        assert again is not None
        self._build(restore(again.dispatches, self.state.ledger, self.clock.now()))
        self.alive = True
        return self.go_on(limit)

    def started(self) -> RunStarted:
        specs = [MachineSpec(name=MachineName(n), cores=c, labels=("self-hosted", n)) for n, c in self.specs]
        if self.actions.strategy is not Strategy.PINNED:
            specs.append(MachineSpec(name=ANY_MACHINE))
        return RunStarted(
            run=RunId("r1"),
            title="suite",
            runner="playwright",
            tests=tuple(self.tests),
            machines=tuple(specs),
            expected_seconds={test.id: 5.0 for test in self.tests},
        )

    def run(self, limit: float = 7200.0) -> int:
        """Run to the end; the exit code."""
        self.publish(self.started())
        return self.go_on(limit)

    def go_on(self, limit: float = 7200.0) -> int:
        executor = ActionsExecutor(
            self.github,
            self.github,
            workflow="e2e-shard.yml",
            ref=self.ref,
            commit=COMMIT,
            attempts=self.folder,
            save=self._save,
            threads=InOneThread(self.inbox.append, self.clock),
        )
        end = self.clock.now() + limit
        self._carry_out(executor, self.control.begin(self.clock.now()))
        while not self.control.done(self.clock.now()):
            if not self.alive:
                return -1
            assert self.clock.now() < end, "the run never ended"
            if not self.inbox:
                self._pause(1.0)
            message = self.inbox.popleft() if self.inbox else m.Tick()
            self._carry_out(executor, self.control.step(message, self.clock.now()))
        return self.state.finished.exit_code if self.state.finished else -1

    def _carry_out(self, executor: ActionsExecutor, commands: Sequence[m.Command]) -> None:
        for command in commands:
            if not self.alive:
                return
            match command:
                case m.CheckMachine(machine=name):
                    self.checks.append(command)
                    up = name not in self.unreachable
                    self.inbox.append(m.Checked(MachineChecked(machine=name, healthy=up, reachable=up, cores=4)))
                case _:
                    executor.carry_out(command)

    def _save(self, dispatches: tuple[g.SavedDispatch, ...]) -> None:
        self.alive = not self.dies_when_saving
        self.saved = dispatches if self.alive else ()

    def _pause(self, seconds: float) -> None:
        until = self.clock.moment + seconds
        for moment, act in sorted(self.at, key=lambda pair: pair[0]):
            if moment <= until:
                self.at.remove((moment, act))
                act()
        self.clock.moment = until


def double_of(world: World, clock: Clock, machines: Sequence[tuple[str, int]] = FLEET) -> GitHubDouble:
    """A double with one runner a machine, whose jobs go as the world says. Enter it as a context."""
    double = GitHubDouble(clock=clock.now, worker=ScriptedWorker(world))
    world.double = double
    double.workflow("e2e-shard.yml", WORKER)
    for name, _ in machines:
        double.hub.add_runner(name, name, "e2e")
    return double
