"""A run over machines without a world: tests say what happens and when, and see every event and command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ci_dispatch.core.events import Event, MachineChecked, Stamped
from ci_dispatch.core.groups import TestGroup
from ci_dispatch.core.model import (
    AttemptResult,
    Connection,
    Ended,
    LeaseNumber,
    MachineName,
    MachineSpec,
    TestResult,
    Verdict,
)
from ci_dispatch.fleets.machines.fleet import StartJob
from ci_dispatch.run import messages as m
from ci_dispatch.run.event_bus import EventBus
from ci_dispatch.run.journal import Journal
from ci_dispatch.run.state import RunState
from tests.simulation import VirtualClock, control_of, make_tests, run_started

A, B = MachineName("a"), MachineName("b")


class Script:
    """A control, its clock, and everything it said."""

    name = "script"

    def __init__(
        self,
        tests: int = 4,
        machines: int = 2,
        slots: int = 1,
        journal: Journal | None = None,
        connection: Connection = Connection.SSH,
        groups: Sequence[TestGroup] = (),
        labels: Mapping[MachineName, tuple[str, ...]] | None = None,
        cores: Mapping[MachineName, int] | None = None,
        speeds: Mapping[MachineName, float] | None = None,
        **numbers: Any,
    ) -> None:
        """`numbers` are fields of `RunPolicy` and `LeasePolicy`."""
        self.clock = VirtualClock(0.0)
        self.state = RunState()
        self.events: list[Event] = []
        self.commands: list[m.Command] = []
        self.bus = bus = EventBus(self.state, self.clock, [self], journal)
        suite = make_tests(tests)
        names = [MachineName(chr(97 + n)) for n in range(machines)]
        specs = [
            MachineSpec(
                name=name,
                connection=connection,
                cores=(cores or {}).get(name, slots),
                slots=slots,
                speed=(speeds or {}).get(name, 1.0),
                labels=(labels or {}).get(name, ()),
            )
            for name in names
        ]
        bus.publish(run_started(suite, specs, {test.id: 1.0 for test in suite}, groups))
        self.control = control_of(self.state, bus.publish, **(numbers or {"head_share": 1.0, "check_first": False}))
        with bus.step():
            self.commands += self.control.begin(0.0)

    def handle(self, stamped: Stamped, state: RunState) -> None:
        self.events.append(stamped.event)

    def tick(self, now: float, state: RunState) -> None: ...
    def close(self) -> None: ...

    def say(self, message: m.Message, at: float | None = None) -> list[m.Command]:
        self.clock.at = self.clock.at if at is None else at
        with self.bus.step():
            new = self.control.step(message, self.clock.at)
        self.commands += new
        return new

    def lease_of(self, machine: MachineName) -> LeaseNumber:
        [lease] = self.state.ledger.of_machine(machine)
        return lease.number

    def finish(
        self, machine: MachineName, verdict: Verdict = Verdict.PASSED, at: float | None = None
    ) -> list[m.Command]:
        number = self.lease_of(machine)
        tests = self.state.ledger.attempts[number].lease.shard.tests
        lines = tuple(TestResult(test=test, verdict=verdict) for test in tests)
        return self.say(m.LeaseEnded(number, AttemptResult(ended=Ended.EXITED, results=lines)), at)

    def said(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


def starts(commands: list[m.Command]) -> list[MachineName]:
    return [command.lease.machine for command in commands if isinstance(command, StartJob)]


def checked(name: MachineName, *, healthy: bool) -> m.Checked:
    return m.Checked(MachineChecked(machine=name, healthy=healthy, reachable=healthy, cores=1))
