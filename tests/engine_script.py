"""The engine without a world: tests say what happens and when, and see every event and effect."""

from __future__ import annotations

from random import Random

from ci_dispatch.core.events import Event, MachineChecked, Stamped
from ci_dispatch.core.model import AttemptResult, Ended, LeaseNumber, MachineName, MachineSpec, TestResult, Verdict
from ci_dispatch.run import messages as m
from ci_dispatch.run.control import Engine, Terms
from ci_dispatch.run.event_bus import EventBus
from ci_dispatch.run.state import RunState
from report_merge.failures import UNKNOWN
from tests.simulation import VirtualClock, make_tests, run_started

A, B = MachineName("a"), MachineName("b")


class Script:
    """An engine, its clock, and everything it said."""

    name = "script"
    essential = True

    def __init__(self, tests: int = 4, machines: int = 2, slots: int = 1, terms: Terms | None = None) -> None:
        self.clock = VirtualClock(0.0)
        self.state = RunState()
        self.events: list[Event] = []
        self.effects: list[m.Effect] = []
        bus = EventBus(self.state, self.clock, [self])
        terms = terms or Terms(head_share=1.0, check_first=False)
        self.engine = Engine(self.state, bus.publish, terms=terms, classify=lambda _line: UNKNOWN, random=Random(1))
        suite = make_tests(tests)
        specs = [MachineSpec(name=MachineName(chr(97 + n)), cores=slots, slots=slots) for n in range(machines)]
        bus.publish(run_started(suite, specs, {test.id: 1.0 for test in suite}))
        self.effects += self.engine.begin(0.0)

    def handle(self, stamped: Stamped, state: RunState) -> None:
        self.events.append(stamped.event)

    def tick(self, now: float, state: RunState) -> None: ...
    def close(self) -> None: ...

    def say(self, message: m.Message, at: float | None = None) -> list[m.Effect]:
        self.clock.at = self.clock.at if at is None else at
        new = self.engine.step(message, self.clock.at)
        self.effects += new
        return new

    def lease_of(self, machine: MachineName) -> LeaseNumber:
        [lease] = self.state.ledger.of_machine(machine)
        return lease.number

    def finish(
        self, machine: MachineName, verdict: Verdict = Verdict.PASSED, at: float | None = None
    ) -> list[m.Effect]:
        number = self.lease_of(machine)
        tests = self.state.ledger.attempts[number].lease.shard.tests
        lines = tuple(TestResult(test=test, verdict=verdict) for test in tests)
        return self.say(m.Finished(number, AttemptResult(ended=Ended.EXITED, results=lines)), at)

    def said(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


def starts(effects: list[m.Effect]) -> list[MachineName]:
    return [effect.lease.machine for effect in effects if isinstance(effect, m.Start)]


def checked(name: MachineName, *, healthy: bool) -> m.Checked:
    return m.Checked(MachineChecked(machine=name, healthy=healthy, reachable=healthy, cores=1))
