"""GitHub Actions in virtual time: runners that take jobs, with what can go wrong there; no HTTP, no waiting."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from ci_dispatch.core.codec import replace
from ci_dispatch.core.errors import GitHubRefused
from ci_dispatch.core.groups import TestGroup
from ci_dispatch.core.model import (
    ANY_MACHINE,
    AttemptResult,
    Ended,
    FailureCause,
    MachineName,
    MachineSpec,
    ShardId,
    Test,
    TestId,
    TestResult,
    Verdict,
)
from ci_dispatch.fleets.actions import messages as g
from ci_dispatch.fleets.actions.executor import ActionsExecutor
from ci_dispatch.fleets.actions.fleet import ActionsFleet
from ci_dispatch.fleets.actions.rest.errors import RateLimited, RequestRefused, Unavailable
from ci_dispatch.fleets.actions.rest.models import JobView, RunView, StepView
from ci_dispatch.fleets.actions.run.batches import Batch, unpack
from ci_dispatch.fleets.actions.run.dispatch_planner import ActionsPolicy
from ci_dispatch.fleets.actions.run.matrix import MatrixJob
from ci_dispatch.fleets.machines.fleet import LeasePolicy, MachineFleet
from ci_dispatch.run.control import RunControl, RunPolicy
from ci_dispatch.run.event_bus import EventBus
from ci_dispatch.run.journal import Journal
from ci_dispatch.run.messages import Command, Message, Tick
from ci_dispatch.run.ports import Fleet, Reporter
from ci_dispatch.run.state import RunState
from report_merge.failures import UNKNOWN
from tests.simulation import SimulatedFleet, VirtualClock, World, heard_by, passes, run_started

LOCK_SECONDS = 590.0  # GitHub shows a dead runner's job in progress for so long
LATENCY = 0.5
FINE = (Verdict.PASSED, Verdict.SKIPPED, Verdict.FLAKY)
LOST = "The self-hosted runner: pi lost communication with the server."


@dataclass(frozen=True)
class Faults:
    """Shares of requests, 0 to 1."""

    unavailable: float = 0.0  # no answer; what was asked may have happened
    limited: float = 0.0  # a rate limit of `limit_seconds`
    limit_seconds: float = 60.0
    lost_reports: float = 0.0  # artifacts that never appear
    annotations: bool = True  # False: the token may not see them


@dataclass
class Work:
    """What a runner really did, whoever still waited for it."""

    tests: tuple[TestId, ...]
    machine: MachineName
    begin: float
    end: float


@dataclass
class SimulatedJob:
    id: int
    job: MatrixJob
    tests: tuple[Test, ...]
    attempt: int
    runner: MachineName | None = None
    ends: float = float("inf")
    conclusion: str = ""
    lost: bool = False
    report: AttemptResult | None = None
    work: Work | None = None


@dataclass
class SimulatedRun:
    id: int
    batch: Batch
    began: float
    attempt: int = 1
    cancelled: bool = False
    jobs: dict[ShardId, SimulatedJob] = field(default_factory=dict)
    done: dict[TestId, bool] = field(default_factory=dict)  # what earlier attempts of its jobs came to


class SimulatedActions:
    """Carries out an `ActionsFleet`'s commands on paper; `later(seconds, message)` delivers the answers."""

    def __init__(
        self,
        machines: Sequence[MachineSpec],
        world: World,
        clock: VirtualClock,
        later: Callable[[float, Message], None],
        heard: Callable[[TestId], int],
        *,
        seed: int = 0,
        faults: Faults | None = None,
    ) -> None:
        self.machines = {machine.name: machine for machine in machines}
        self.world, self.clock, self._later, self._heard = world, clock, later, heard
        self.faults, self._random = faults or Faults(), Random(seed)
        self.epoch = clock.at
        self.runs: dict[int, SimulatedRun] = {}
        self.commands: list[Command] = []
        self._ids = itertools.count(100)
        self._queue: list[SimulatedJob] = []
        self._sends: dict[str, int] = {}
        self._busy: dict[MachineName, SimulatedJob] = {}
        self.worked: list[Work] = []
        self._events: list[tuple[float, int]] = []

    # -- requests ---------------------------------------------------------------------------------------------------

    def carry_out(self, command: Command) -> None:
        self.commands.append(command)
        self._advance(self.clock.at)
        error = self._fault()
        match command:
            case g.Dispatch(batch=batch):
                again = self._sends.setdefault(batch.id, 0)
                self._sends[batch.id] += 1
                error = None if again else error  # three lost dispatches of one batch are GitHub's end, not a fault
                arrives = not isinstance(error, RateLimited) and (error is None or self._random.random() < 0.5)
                run = self._dispatch(batch) if arrives else None
                self._say(
                    g.DispatchFailed(batch.id, error) if error else g.Dispatched(batch.id, run.id if run else None)
                )
            case g.FindRun(batch=name):
                found = next((run.id for run in self.runs.values() if run.batch.id == name), None)
                self._say(g.RunFound(name, None if error else found, error))
            case g.Poll(run=number):
                self._say(g.PollFailed(number, error) if error else self._polled(self.runs[number], command))
            case g.Download(run=number, batch=batch_id, wanted=wanted):
                for shard, attempt, _ in wanted if error is None else ():
                    job = self.runs[number].jobs[shard]
                    if job.report is not None and job.attempt == attempt and job.conclusion:
                        self._say(g.ReportDownloaded(batch_id, shard, attempt, job.report))
                self._say(g.DownloadDone(number, error))
            case g.RerunFailedJobs(run=number):
                self._say(g.RerunResult(number, error or self._rerun(self.runs[number])))
            case g.CancelRun(run=number):
                if error is None:
                    self.cancel(number)
                self._say(g.CancelResult(number, error))
            case g.SeeRunners():
                self._say(g.RunnersSeen())
            case g.SaveDispatches():
                pass
            case _:
                raise AssertionError(command)

    def _say(self, message: Message) -> None:
        self._later(LATENCY, message)

    def _fault(self) -> GitHubRefused | None:
        luck = self._random.random()
        if luck < self.faults.unavailable:
            return Unavailable("no", why="bad gateway")
        if luck < self.faults.unavailable + self.faults.limited:
            return RateLimited("no", seconds=self.faults.limit_seconds, why="secondary rate limit")
        return None

    def _polled(self, run: SimulatedRun, poll: g.Poll) -> g.Polled:
        views = tuple(self._view(job) for job in run.jobs.values())
        seen = {job.id: (LOST,) for job in run.jobs.values() if job.lost and job.conclusion}
        notes: Mapping[int, tuple[str, ...]] = {
            job.id: (seen.get(job.id, ()) if self.faults.annotations else ())
            for job in run.jobs.values()
            if job.conclusion in ("failure", "cancelled") and job.id not in poll.annotated
        }
        over = all(job.conclusion for job in run.jobs.values())
        conclusion = ("cancelled" if run.cancelled else "failure") if over else ""
        view = RunView(
            id=run.id, status="completed" if over else "in_progress", conclusion=conclusion, attempt=run.attempt
        )
        return g.Polled(run=run.id, jobs=views, annotations=notes, view=view if poll.whole else None, sent=1)

    @staticmethod
    def _view(job: SimulatedJob) -> JobView:
        failed = job.conclusion == "failure" and not job.lost
        steps = [StepView(name="Run", status="completed", conclusion="failure" if failed else "success")]
        if job.lost:
            steps = [StepView(name="Run", status="in_progress")]
        return JobView(
            id=job.id,
            name=f"shard {job.job.shard.id}",
            status="completed" if job.conclusion else ("in_progress" if job.runner else "queued"),
            conclusion=job.conclusion,
            attempt=job.attempt,
            runner=str(job.runner or ""),
            steps=tuple(steps) if job.runner else (),
        )

    # -- what happens there -----------------------------------------------------------------------------------------

    def _dispatch(self, batch: Batch) -> SimulatedRun:
        assert all(run.batch.id != batch.id for run in self.runs.values()), "a batch was dispatched twice"
        run = SimulatedRun(next(self._ids), batch, self.clock.at)
        self.runs[run.id] = run
        plan = unpack(batch.inputs["plan"]).tests
        for job in batch.jobs:
            self._enqueue(run, SimulatedJob(next(self._ids), job, plan[job.shard.id], 1))
        return run

    def _enqueue(self, run: SimulatedRun, job: SimulatedJob) -> None:
        run.jobs[job.job.shard.id] = job
        self._queue.append(job)
        self._assign(self.clock.at)

    def _rerun(self, run: SimulatedRun) -> GitHubRefused | None:
        if not all(job.conclusion for job in run.jobs.values()):
            return RequestRefused("no", status=403, why="This workflow run is already running")
        run.attempt += 1
        for job in [job for job in run.jobs.values() if job.conclusion != "success"]:
            self._enqueue(run, SimulatedJob(next(self._ids), job.job, job.tests, run.attempt))
        return None

    def cancel(self, number: int) -> None:
        """Everything of a run ends now; jobs that run upload nothing."""
        run = self.runs[number]
        run.cancelled = True
        for job in run.jobs.values():
            if not job.conclusion and not job.lost:
                job.conclusion, job.report = "cancelled", None
                if job.work is not None:
                    job.work.end = self.clock.at
                self._busy = {name: busy for name, busy in self._busy.items() if busy is not job}
        self._queue = [job for job in self._queue if not job.conclusion]

    def _gone(self, name: MachineName, at: float) -> float | None:
        """When an outage that covers this moment ends."""
        mine = [(o.begin + self.epoch, o.end + self.epoch) for o in self.world.outages if o.machine == name]
        return next((end for begin, end in mine if begin <= at < end), None)

    def _advance(self, now: float) -> None:
        """Let everything happen that happens until `now`."""
        while self._events and self._events[0][0] <= now:
            at, _ = heapq.heappop(self._events)
            for name, job in list(self._busy.items()):
                if job.ends <= at and not job.conclusion:
                    job.conclusion = self._conclusion(job)
                if job.conclusion and self._gone(name, at) is None:
                    del self._busy[name]
            self._assign(at)

    def _conclusion(self, job: SimulatedJob) -> str:
        if job.lost or job.report is None:
            return "failure"
        fine = job.report.cause is FailureCause.NONE and all(line.verdict in FINE for line in job.report.results)
        return "success" if fine else "failure"

    def _assign(self, at: float) -> None:
        over = [name for name, job in self._busy.items() if job.conclusion and self._gone(name, at) is None]
        for name in over:  # nothing may have happened since it came back
            del self._busy[name]
        for job in list(self._queue):
            wanted = self.machines if job.job.machine == ANY_MACHINE else [job.job.machine]
            for name in wanted:
                if (back := self._gone(name, at)) is not None and back != float("inf"):
                    heapq.heappush(self._events, (back, next(self._ids)))
                if name not in self._busy and back is None:
                    self._queue.remove(job)
                    self._begin(job, name, at)
                    break

    def _begin(self, job: SimulatedJob, name: MachineName, at: float) -> None:
        job.runner = name
        self._busy[name] = job
        run = next(run for run in self.runs.values() if run.jobs.get(job.job.shard.id) is job)
        todo = [test for test in job.tests if not run.done.get(test.id)]
        seconds = 5.0 + sum(self.world.seconds[test.id] for test in todo) / self.machines[name].power
        ends = at + seconds
        deaths = [o.begin + self.epoch for o in self.world.outages if o.machine == name]
        death = min((moment for moment in deaths if at < moment < ends), default=None)
        job.work = Work(tuple(test.id for test in todo), name, at, min(ends, death or ends))
        self.worked.append(job.work)
        if death is not None:
            job.lost, job.ends = True, death + LOCK_SECONDS
        else:
            job.ends = ends
            killer = next((test for test in todo if test.id in self.world.killers), None)
            if self._random.random() >= self.faults.lost_reports:
                job.report = self._results(todo, killer)
                run.done |= {line.test: line.verdict in FINE for line in job.report.results}
        heapq.heappush(self._events, (job.ends, next(self._ids)))

    def _results(self, todo: Sequence[Test], killer: Test | None) -> AttemptResult:
        results: list[TestResult] = []
        for test in todo:
            if test is killer:
                break
            verdict = self.world.behaviour.get(test.id, passes)(self._heard(test.id))
            results.append(TestResult(test=test.id, verdict=verdict, seconds=self.world.seconds[test.id]))
        cause = FailureCause.CRASH if killer else FailureCause.NONE
        suspects = (killer.id,) if killer else ()
        return AttemptResult(ended=Ended.EXITED, cause=cause, results=tuple(results), suspects=suspects)


def simulate_fleets(
    tests: Sequence[Test],
    world: World,
    *,
    over_ssh: Sequence[MachineSpec] = (),
    through_github: Sequence[MachineSpec] = (),
    faults: Faults | None = None,
    run: RunPolicy | None = None,
    actions: ActionsPolicy | None = None,
    groups: Sequence[TestGroup] = (),
    left_out: Mapping[MachineName, str] | None = None,
    target_time: float = 0.0,
    expected: Mapping[TestId, float] | None = None,
    leases: LeasePolicy | None = None,
    seed: int = 0,
    reporters: Sequence[Reporter] = (),
    journal: Journal | None = None,
    limit: float = 200_000.0,
) -> tuple[RunState, SimulatedActions]:
    """A whole run on paper over either fleet, or both at once.

    Raises AssertionError when it does not end within `limit` virtual seconds.
    """
    clock, state = VirtualClock(), RunState()
    bus = EventBus(state, clock, reporters, journal)
    pool = (MachineSpec(name=ANY_MACHINE),) if through_github else ()
    started = run_started(tests, [*over_ssh, *through_github, *pool], expected or world.seconds, groups)
    bus.publish(replace(started, left_out=left_out or {}, target_time=target_time))
    machines = SimulatedFleet([*over_ssh, *through_github], world, clock, heard_by(state))
    github = SimulatedActions(through_github, world, clock, machines.later, heard_by(state), seed=seed, faults=faults)
    fleets: list[Fleet] = []
    if over_ssh:
        fleets.append(MachineFleet(state, [machine.name for machine in over_ssh], leases or LeasePolicy()))
    if through_github:
        names = [*(machine.name for machine in through_github), ANY_MACHINE]
        fleets.append(ActionsFleet(state, names, actions or ActionsPolicy()))
    policy = run or RunPolicy(report_grace=90.0, signal_grace=3.0, force_grace=0.0, give_up_after=300.0)
    control = RunControl(
        state, bus.publish, fleets=fleets, policy=policy, classify=lambda _line: UNKNOWN, random=Random(seed)
    )
    with bus.step():
        commands = control.begin(clock.now())
    ticked = clock.at
    while not control.done(clock.now()):
        for command in commands:
            executor = github if isinstance(command, ActionsExecutor.takes) else machines
            executor.carry_out(command)
        message = machines.next_message(1.0)
        with bus.step():
            commands = control.step(message, clock.now())
            if clock.at >= ticked + 1.0 and not control.finished:
                ticked = clock.at
                commands += control.step(Tick(), clock.now())
        assert clock.at - github.epoch < limit, f"the run does not end (seed {seed})"
    return state, github
