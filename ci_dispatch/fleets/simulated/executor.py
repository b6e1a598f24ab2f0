"""Carries out commands on paper, with every fault a machine can have; a second of the run costs no second here."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ci_dispatch.core.codec import replace
from ci_dispatch.core.events import MachineChecked
from ci_dispatch.core.model import (
    AttemptResult,
    Ended,
    FailureCause,
    LeaseNumber,
    MachineName,
    MachineSpec,
    TestId,
    TestResult,
    Verdict,
)
from ci_dispatch.fleets.machines.fleet import CancelJob, StartJob
from ci_dispatch.fleets.simulated.world import World, passes
from ci_dispatch.run import messages as m


@dataclass
class VirtualClock:
    at: float = 1_000_000.0

    def now(self) -> float:
        return self.at


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
        self._checked: set[MachineName] = set()
        self._started: set[MachineName] = set()
        self._deaths: Counter[TestId] = Counter()

    def carry_out(self, command: m.Command) -> None:
        match command:
            case m.CheckMachine(machine=name):
                up = not self._gone(name, self.clock.at)
                event = MachineChecked(machine=name, healthy=up, reachable=up, cores=self.machines[name].cores)
                first = None if name in self._checked else self.world.delays_of(name).check
                self._checked.add(name)
                self.later((0.3 if up else 5.0) if first is None else first, m.Checked(event))
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
        return self.world.gone(name, at - self.epoch)

    def _run(self, start: StartJob) -> None:
        number, name, machine = start.lease.number, start.lease.machine, self.machines[start.lease.machine]
        if self._gone(name, self.clock.at):
            if self.world.refuses is not None:
                refused = AttemptResult(ended=Ended.NOT_STARTED, cause=FailureCause.MACHINE, reason="it is gone")
                self.later(self.world.refuses, m.LeaseEnded(number, refused))
            return
        gone_in = self.world.gone_in(name, self.clock.at - self.epoch)
        delays = self.world.delays_of(name)
        begins = delays.later if name in self._started else delays.first
        self._started.add(name)
        workers = [begins + self.world.start_up_of(name)] * start.workers
        results: list[tuple[float, TestResult]] = []
        killer: tuple[float, TestId] | None = None
        for test in start.tests:
            worker = min(range(len(workers)), key=workers.__getitem__)
            execution = self._heard(test.id)
            began = self.clock.at - self.epoch + workers[worker]
            seconds = self.world.lasts(test.id, machine, began, execution)
            workers[worker] += seconds
            if self._kills(test.id) and (killer is None or workers[worker] < killer[0]):
                killer = (workers[worker], test.id)
            verdict = self.world.behaviour.get(test.id, passes)(execution)
            results.append((workers[worker], TestResult(test=test.id, verdict=verdict, seconds=seconds)))
        end = killer[0] if killer else max(workers)
        if killer:
            self._deaths[killer[1]] += 1
        done = [(at, result) for at, result in results if at < end or (not killer and at <= end)]
        self._running[number] = (start, [(self.clock.at + at, result) for at, result in done if at < gone_in])
        for at, result in done:
            if at < gone_in and self.world.live:
                self.later(at, m.Reported(number, result))
        begun = max(0.1, begins)
        if begun < gone_in:
            self.later(begun, m.Started(number))
        for second in range(1, int(min(end + delays.collect, gone_in) - begins) + 1):
            self.later(begins + second, m.Beat(number))
        if end < gone_in:
            self.later(end + delays.collect, m.LeaseEnded(number, self._result(start, done, killer, end - begins)))

    def _kills(self, test: TestId) -> bool:
        return test in self.world.killers or self._deaths[test] < self.world.deaths.get(test, 0)

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
