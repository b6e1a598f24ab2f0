"""What is true in a simulated run: how long tests take, how they behave, when machines are gone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from ci_dispatch.core.model import MachineName, MachineSpec, TestId, Verdict
from ci_dispatch.planning import planner

Behaviour = Callable[[int], Verdict]  # of the n-th execution of a test, from 0


def passes(_execution: int) -> Verdict:
    return Verdict.PASSED


@dataclass(frozen=True)
class Outage:
    """A machine that is gone from `begin` until `end` (seconds of virtual time)."""

    machine: MachineName
    begin: float
    end: float = inf


@dataclass(frozen=True)
class Slowdown:
    """From `begin` seconds of the run on, a machine has `factor` of its speed."""

    machine: MachineName
    begin: float
    factor: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineDelays:
    """Seconds that a machine needs besides tests."""

    check: float | None = None  # until its first health check is answered; None: as usual
    first: float = 0.0  # from its first lease to the start of the job: the work tree comes, and is made ready
    later: float = 0.0  # the same of every other lease
    start_up: float | None = None  # of a test runner, before its first test; None: the world's
    collect: float = 0.0  # from the end of a job to its reports


@dataclass
class World:
    seconds: Mapping[TestId, float]  # of each test on a core of speed 1
    behaviour: Mapping[TestId, Behaviour] = field(default_factory=dict)
    outages: Sequence[Outage] = ()
    slowdown: Slowdown | None = None
    killers: frozenset[TestId] = frozenset()  # take their runner down
    start_up: float = planner.START_UP
    live: bool = True  # runners report tests as they finish
    speeds: Mapping[MachineName, float] = field(default_factory=dict)  # true ones, where the plan has others
    repeats: Mapping[TestId, Sequence[float]] = field(default_factory=dict)  # as `seconds`, by execution
    deaths: Mapping[TestId, int] = field(default_factory=dict)  # by test: how often it takes its runner down
    delays: Mapping[MachineName, MachineDelays] = field(default_factory=dict)
    refuses: float | None = None  # seconds after which a machine that is gone refuses a job; None: it is silent

    def delays_of(self, machine: MachineName) -> MachineDelays:
        return self.delays.get(machine, MachineDelays())

    def start_up_of(self, machine: MachineName) -> float:
        own = self.delays_of(machine).start_up
        return self.start_up if own is None else own

    def gone(self, machine: MachineName, at: float) -> bool:
        """Whether it is, `at` seconds after the run began."""
        return any(o.machine == machine and o.begin <= at < o.end for o in self.outages)

    def gone_in(self, machine: MachineName, at: float) -> float:
        """Seconds from `at` until it goes; infinite when it stays."""
        return min((o.begin - at for o in self.outages if o.machine == machine and o.begin >= at), default=inf)

    def lasts(self, test: TestId, machine: MachineSpec, at: float, execution: int = 0) -> float:
        """Seconds of a test that begins `at` on this machine, in its n-th execution."""
        by_execution = self.repeats.get(test, ())
        work = by_execution[min(execution, len(by_execution) - 1)] if by_execution else self.seconds[test]
        seconds, slow = work / self.speeds.get(machine.name, machine.speed), self.slowdown
        if slow is None or slow.machine != machine.name:
            return seconds
        before = min(seconds, max(0.0, slow.begin - at))
        return before + (seconds - before) / slow.factor
