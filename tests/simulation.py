"""A fleet in virtual time: carries out commands on paper, with every fault a machine can have.

Used by property tests and by benchmarks of the controller; a second of the run costs no second here.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from random import Random
from typing import Any

from ci_dispatch.core.codec import replace
from ci_dispatch.core.events import Event, MachineChecked, RunStarted, Stamped
from ci_dispatch.core.groups import TestGroup
from ci_dispatch.core.model import (
    AttemptResult,
    Ended,
    FailureCause,
    LeaseNumber,
    MachineName,
    MachineSpec,
    RunId,
    Test,
    TestId,
    TestResult,
    UnitId,
    Verdict,
)
from ci_dispatch.fleets.machines.fleet import CancelJob, LeasePolicy, MachineFleet, StartJob
from ci_dispatch.planning import planner
from ci_dispatch.run import messages as m
from ci_dispatch.run.control import RunControl, RunPolicy
from ci_dispatch.run.event_bus import EventBus
from ci_dispatch.run.journal import Journal
from ci_dispatch.run.ports import Reporter
from ci_dispatch.run.state import RunState
from report_merge.failures import UNKNOWN

Behaviour = Callable[[int], Verdict]  # of the n-th execution of a test, from 0


def passes(_execution: int) -> Verdict:
    return Verdict.PASSED


@dataclass(frozen=True)
class Outage:
    """A machine that is gone from `begin` until `end` (seconds of virtual time)."""

    machine: MachineName
    begin: float
    end: float = float("inf")


@dataclass
class VirtualClock:
    at: float = 1_000_000.0

    def now(self) -> float:
        return self.at


@dataclass(frozen=True)
class Slowdown:
    """From `begin` seconds of the run on, a machine has `factor` of its speed."""

    machine: MachineName
    begin: float
    factor: float


@dataclass
class World:
    """What is true: how long tests take, how they behave, when machines are gone."""

    seconds: Mapping[TestId, float]
    behaviour: Mapping[TestId, Behaviour] = field(default_factory=dict)
    outages: Sequence[Outage] = ()
    slowdown: Slowdown | None = None
    killers: frozenset[TestId] = frozenset()  # take their runner down
    start_up: float = planner.START_UP
    live: bool = True  # runners report tests as they finish


class SimulatedFleet:
    """An executor that works in virtual time."""

    def __init__(
        self, machines: Iterable[MachineSpec], world: World, clock: VirtualClock, heard: Callable[[TestId], int]
    ) -> None:
        """`heard(test)`: how many results of it the run knows; what nobody heard of may as well not have happened."""
        self.machines = {machine.name: machine for machine in machines}
        self.world = world
        self.clock = clock
        self.epoch = clock.at
        self._heard = heard
        self._queue: list[tuple[float, int, m.Message]] = []
        self._order = itertools.count()
        self._cancelled: set[LeaseNumber] = set()
        self._running: dict[LeaseNumber, tuple[StartJob, list[tuple[float, TestResult]]]] = {}  # and when each ends

    def carry_out(self, command: m.Command) -> None:
        match command:
            case m.CheckMachine(machine=name):
                up = not self._gone(name, self.clock.at)
                event = MachineChecked(machine=name, healthy=up, reachable=up, cores=self.machines[name].cores)
                self.later(0.3 if up else 5.0, m.Checked(event))
            case StartJob():
                self._run(command)
            case CancelJob(lease=number, machine=name, now=now):
                self._cancelled.add(number)
                if not now and number in self._running and not self._gone(name, self.clock.at):
                    self._interrupt(number)

    def _interrupt(self, number: LeaseNumber) -> None:
        start, ends = self._running[number]
        told = [(at, result) for at, result in ends if at <= self.clock.at]
        self._queue = [entry for entry in self._queue if getattr(entry[2], "lease", None) != number]
        heapq.heapify(self._queue)
        result = replace(self._result(start, told, None, 0.0), ended=Ended.CANCELLED)
        self.later(1.0, m.LeaseEnded(number, result))

    def next_message(self, tick: float) -> m.Message:
        """The next thing that happens, or a tick when nothing does for `tick` seconds; moves the clock."""
        while self._queue and self._queue[0][0] <= self.clock.at + tick:
            at, _, message = heapq.heappop(self._queue)
            number = getattr(message, "lease", None)
            if number in self._cancelled and not isinstance(message, m.LeaseEnded):
                continue
            self.clock.at = max(self.clock.at, at)
            return message
        self.clock.at += tick
        return m.Tick()

    def later(self, seconds: float, message: m.Message) -> None:
        heapq.heappush(self._queue, (self.clock.at + seconds, next(self._order), message))

    def _gone(self, name: MachineName, at: float) -> bool:
        return any(o.machine == name and o.begin <= at - self.epoch < o.end for o in self.world.outages)

    def _until_gone(self, name: MachineName, at: float) -> float:
        begins = [o.begin - (at - self.epoch) for o in self.world.outages if o.machine == name]
        return min((begin for begin in begins if begin >= 0), default=float("inf"))

    def _seconds(self, test: TestId, machine: MachineSpec, at: float) -> float:
        """What a test takes that begins `at` on this machine."""
        seconds, slow = self.world.seconds[test] / machine.speed, self.world.slowdown
        if slow is None or slow.machine != machine.name:
            return seconds
        before = min(seconds, max(0.0, slow.begin - (at - self.epoch)))
        return before + (seconds - before) / slow.factor

    def _run(self, start: StartJob) -> None:
        number, name, machine = start.lease.number, start.lease.machine, self.machines[start.lease.machine]
        if self._gone(name, self.clock.at):
            return
        gone_in = self._until_gone(name, self.clock.at)
        workers = [self.world.start_up] * start.workers
        results: list[tuple[float, TestResult]] = []
        killer: tuple[float, TestId] | None = None
        for test in start.tests:
            worker = min(range(len(workers)), key=workers.__getitem__)
            seconds = self._seconds(test.id, machine, self.clock.at + workers[worker])
            workers[worker] += seconds
            if test.id in self.world.killers and (killer is None or workers[worker] < killer[0]):
                killer = (workers[worker], test.id)
            execution = self._heard(test.id)
            verdict = self.world.behaviour.get(test.id, passes)(execution)
            results.append((workers[worker], TestResult(test=test.id, verdict=verdict, seconds=seconds)))
        end = killer[0] if killer else max(workers)
        done = [(at, result) for at, result in results if at < end or (not killer and at <= end)]
        self._running[number] = (start, [(self.clock.at + at, result) for at, result in done if at < gone_in])
        for at, result in done:
            if at < gone_in and self.world.live:
                self.later(at, m.Reported(number, result))
        self.later(0.1, m.Started(number))
        for second in range(1, int(min(end, gone_in)) + 1):
            self.later(float(second), m.Beat(number))
        if end < gone_in:
            self.later(end, m.LeaseEnded(number, self._result(start, done, killer, end)))

    @staticmethod
    def _result(
        start: StartJob, done: list[tuple[float, TestResult]], killer: tuple[float, TestId] | None, end: float
    ) -> AttemptResult:
        results = {result.test: result for _, result in done}
        every = tuple(
            results.get(t.id) or TestResult(test=t.id, verdict=Verdict.NOT_RUN, reason="the runner died")
            for t in start.tests
        )
        trouble = FailureCause.CRASH if killer else FailureCause.NONE
        suspects = (killer[1],) if killer else ()
        return AttemptResult(
            ended=Ended.EXITED,
            cause=trouble,
            exit_code=1 if killer else 0,
            seconds=end,
            results=every,
            suspects=suspects,
        )


def make_tests(count: int, *, unit_size: int = 1) -> tuple[Test, ...]:
    return tuple(
        Test(id=TestId(f"t{n:05}"), unit=UnitId(f"u{n // unit_size:05}"), file=f"f{n // unit_size}", title=(f"t{n}",))
        for n in range(count)
    )


def run_started(
    tests: Sequence[Test],
    machines: Sequence[MachineSpec],
    expected: Mapping[TestId, float],
    groups: Sequence[TestGroup] = (),
) -> RunStarted:
    units = planner.units_of(tests, expected)
    return RunStarted(
        run=RunId("simulated"),
        title="simulated",
        runner="simulated",
        tests=tuple(tests),
        machines=tuple(machines),
        expected_seconds={str(test): seconds for test, seconds in expected.items()},
        planned=planner.planned_makespan(units, machines),
        lower_bound=planner.lower_bound(units, machines),
        groups=tuple(groups),
    )


def heard_by(state: RunState) -> Callable[[TestId], int]:
    return lambda test: len(state.ledger.records[test].history)


def control_of(state: RunState, publish: Callable[[Event], None], *, seed: int = 1, **numbers: Any) -> RunControl:
    """A run over machines, whose start was published; `numbers` are fields of `RunPolicy` and `LeasePolicy`."""
    ours = {f.name for f in fields(RunPolicy)}
    theirs = {f.name for f in fields(LeasePolicy)}
    assert numbers.keys() <= ours | theirs, numbers
    policy = RunPolicy(**{name: value for name, value in numbers.items() if name in ours})
    leases = LeasePolicy(**{name: value for name, value in numbers.items() if name in theirs})
    fleet = MachineFleet(state, state.machines, leases)
    return RunControl(
        state, publish, fleets=[fleet], policy=policy, classify=lambda _result: UNKNOWN, random=Random(seed)
    )


class EventRecorder:
    """A reporter that keeps what a simulated run tells."""

    name = "recorder"

    def __init__(self) -> None:
        self.events: list[Stamped] = []

    def handle(self, stamped: Stamped, state: RunState) -> None:
        self.events.append(stamped)

    def tick(self, now: float, state: RunState) -> None: ...
    def close(self) -> None: ...

    def of(self, kind: type[Event]) -> list[Event]:
        return [stamped.event for stamped in self.events if isinstance(stamped.event, kind)]


def simulate(
    tests: Sequence[Test],
    machines: Sequence[MachineSpec],
    world: World,
    *,
    expected: Mapping[TestId, float] | None = None,
    terms: Mapping[str, Any] | None = None,
    groups: Sequence[TestGroup] = (),
    seed: int = 0,
    reporters: Sequence[Reporter] = (),
    journal: Journal | None = None,
    tick: float = 1.0,
    limit: float = 100_000.0,
) -> RunState:
    """A whole run on paper. Raises AssertionError when it does not end within `limit` virtual seconds."""
    clock = VirtualClock()
    state = RunState()
    bus = EventBus(state, clock, reporters, journal)
    bus.publish(run_started(tests, machines, expected if expected is not None else world.seconds, groups))
    control = control_of(state, bus.publish, seed=seed, **(terms or {}))
    fleet = SimulatedFleet(machines, world, clock, heard_by(state))
    with bus.step():
        commands = control.begin(clock.now())
    ticked = clock.at
    while not control.finished:
        for command in commands:
            fleet.carry_out(command)
        message = fleet.next_message(tick)
        with bus.step():
            commands = control.step(message, clock.now())
            if clock.at >= ticked + tick and not control.finished:
                ticked = clock.at
                commands += control.step(m.Tick(), clock.now())
        assert clock.at - fleet.epoch < limit, f"the run does not end (seed {seed})"
    return state
