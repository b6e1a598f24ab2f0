"""The only loop: it feeds the control until it is done, and leaves nothing running however it ends."""

from __future__ import annotations

import time
from typing import Any

import pytest

from ci_dispatch.core.errors import ControllerError
from ci_dispatch.core.events import Stamped
from ci_dispatch.core.model import AttemptResult, Ended, LeaseNumber, MachineName, MachineSpec, TestResult, Verdict
from ci_dispatch.fleets.machines.fleet import CancelJob, StartJob
from ci_dispatch.run import messages as m
from ci_dispatch.run.control import RunControl
from ci_dispatch.run.event_bus import EventBus
from ci_dispatch.run.loop import Every, Inbox, SystemClock, drive
from ci_dispatch.run.state import RunState
from tests.simulation import control_of, make_tests, run_started


class ScriptedExecutor:
    """Passes every test at once, or breaks, or never says a word."""

    takes: tuple[type[m.Command], ...] = (m.CheckMachine, StartJob, CancelJob)

    def __init__(self, inbox: Inbox, *, silent: bool = False, error: Exception | None = None) -> None:
        self.inbox = inbox
        self.silent = silent
        self.error = error
        self.commands: list[m.Command] = []
        self.closed = 0

    def carry_out(self, command: m.Command) -> None:
        self.commands.append(command)
        if isinstance(command, StartJob) and not self.silent:
            if self.error:
                raise self.error
            results = tuple(TestResult(test=test.id, verdict=Verdict.PASSED) for test in command.tests)
            self.inbox.post(m.LeaseEnded(command.lease.number, AttemptResult(ended=Ended.EXITED, results=results)))

    def close(self) -> None:
        self.closed += 1


class Clock:
    """A quarter of a second goes by whenever somebody looks."""

    at = 0.0
    stood = 0.0

    def now(self) -> float:
        self.at += 0.25
        return self.at

    def standstill(self) -> float:
        stood, self.stood = self.stood, 0.0
        return stood


class Face:
    name = "face"

    def __init__(self) -> None:
        self.ticks = 0

    def handle(self, stamped: Stamped, state: RunState) -> None: ...

    def tick(self, now: float, state: RunState) -> None:
        self.ticks += 1

    def close(self) -> None: ...


class Still(Inbox):
    """Nobody says anything, and no time is spent on waiting for it."""

    @property
    def waiting(self) -> bool:
        return not self._queue.empty()

    def take(self, seconds: float) -> m.Message:
        return super().take(0.0)


def control_for(bus: EventBus, tests: int = 4, **numbers: Any) -> RunControl:
    suite = make_tests(tests)
    bus.publish(run_started(suite, [MachineSpec(name=MachineName("a"), cores=1)], {test.id: 1.0 for test in suite}))
    return control_of(bus.state, bus.publish, check_first=False, **numbers)


def test_a_run_is_driven_to_its_end() -> None:
    clock, inbox = Clock(), Still()
    bus = EventBus(RunState(), clock, [])
    control, executor = control_for(bus), ScriptedExecutor(inbox)
    drive(control, [executor], bus, inbox, clock)
    assert control.finished
    assert bus.state.verdicts[Verdict.PASSED] == 4
    assert executor.closed == 1
    assert not [command for command in executor.commands if isinstance(command, CancelJob)], "nothing was left to end"


def test_deadlines_are_seen_and_faces_move_while_nobody_says_anything() -> None:
    clock, inbox, face = Clock(), Still(), Face()
    bus = EventBus(RunState(), clock, [face])
    control = control_for(bus, start_grace=5.0, give_up_after=1.0, steal_after=99.0)
    drive(control, [ScriptedExecutor(inbox, silent=True)], bus, inbox, clock)
    assert control.finished
    assert bus.state.verdicts[Verdict.NOT_RUN] == 4
    assert face.ticks > 4


def test_deadlines_are_seen_while_somebody_talks_without_end() -> None:
    """News moves no plan: a chatty machine must not keep a silent one from being noticed."""

    class Chatty(Inbox):
        def take(self, seconds: float) -> m.Message:
            return m.Output(LeaseNumber(99), "and another thing")

    clock, inbox = Clock(), Chatty()
    bus = EventBus(RunState(), clock, [])
    control = control_for(bus, start_grace=5.0, give_up_after=1.0)
    drive(control, [ScriptedExecutor(inbox, silent=True)], bus, inbox, clock)
    assert bus.state.verdicts[Verdict.NOT_RUN] == 4


def test_whatever_goes_wrong_nothing_is_left_running() -> None:
    clock, inbox = Clock(), Still()
    bus = EventBus(RunState(), clock, [])
    control, executor = control_for(bus), ScriptedExecutor(inbox, error=RuntimeError("no threads left"))
    with pytest.raises(RuntimeError, match="no threads left"):
        drive(control, [executor], bus, inbox, clock)
    [lease] = control.ledger.active
    assert executor.commands[-1] == CancelJob(lease, MachineName("a"), now=True)
    assert executor.closed == 1


def test_what_comes_after_the_verdict_does_not_take_it_back() -> None:
    """While the last job of no use is told to end, this computer runs out of files: the run is over all the same."""
    clock, inbox = Clock(), Still()
    bus = EventBus(RunState(), clock, [])
    control = control_for(bus)

    class Ends(ScriptedExecutor):
        def carry_out(self, command: m.Command) -> None:
            super().carry_out(command)
            if isinstance(command, StartJob):
                inbox.post(m.ControllerFailed(ControllerError("no files")))

    control.done = lambda now: control.finished and not inbox.waiting  # type: ignore[method-assign]
    drive(control, [Ends(inbox)], bus, inbox, clock)
    assert bus.state.finished is not None


def test_a_standstill_is_said_to_the_control() -> None:
    clock, inbox = Clock(), Still()
    bus = EventBus(RunState(), clock, [])

    class Stands(ScriptedExecutor):
        def carry_out(self, command: m.Command) -> None:
            super().carry_out(command)
            clock.stood = 25.0 if isinstance(command, StartJob) else 0.0

    drive(control_for(bus), [Stands(inbox)], bus, inbox, clock)
    assert [warning.text for warning in bus.state.warnings] == ["this computer, or the process, stood still for 25 s"]


@pytest.mark.parametrize(("running", "asleep"), [(25.0, 25.0), (0.25, 25.0)], ids=["it was stopped", "it slept"])
def test_the_clock_leaves_out_what_nobody_looked_at(
    monkeypatch: pytest.MonkeyPatch, running: float, asleep: float
) -> None:
    """A stopped process (SIGSTOP) sees its monotonic clock go on, a computer that sleeps does not."""
    times = {"monotonic": 100.0, "boot": 500.0}
    monkeypatch.setattr("ci_dispatch.run.loop.time.monotonic", lambda: times["monotonic"])
    monkeypatch.setattr("ci_dispatch.run.loop._since_boot", lambda: times["boot"])
    clock = SystemClock()
    begun = clock.now()
    for _ in range(40):
        times = {"monotonic": times["monotonic"] + 0.25, "boot": times["boot"] + 0.25}
        assert clock.standstill() == 0.0
    assert clock.now() == pytest.approx(begun + 10.0)
    times = {"monotonic": times["monotonic"] + running, "boot": times["boot"] + asleep}
    assert clock.standstill() == asleep
    assert clock.now() == pytest.approx(begun + 10.0)
    assert clock.standstill() == 0.0


def test_a_runs_time_never_goes_back() -> None:
    ahead = time.time() + 3600.0
    assert SystemClock(ahead).now() >= ahead
    assert SystemClock().now() < ahead


def test_setting_a_run_up_is_no_standstill() -> None:
    clock, inbox = Clock(), Still()
    bus = EventBus(RunState(), clock, [])
    clock.stood = 25.0  # machines were opened, reporters connected
    drive(control_for(bus), [ScriptedExecutor(inbox)], bus, inbox, clock)
    assert not bus.state.warnings


def test_messages_come_in_order_and_silence_is_a_tick() -> None:
    inbox = Inbox()
    inbox.post(m.Signalled(2))
    inbox.post(m.Noticed("a", "b"))
    assert [inbox.take(0.0) for _ in range(3)] == [m.Signalled(2), m.Noticed("a", "b"), m.Tick()]


def test_every_is_due_once_a_period_however_often_it_is_asked() -> None:
    every = Every(0.5, now=10.0)
    assert [every.due(at) for at in (10.0, 10.1, 10.49, 10.5, 10.6, 12.0, 12.1)] == [
        True, False, False, True, False, True, False,
    ]  # fmt: skip


def test_trouble_of_this_computer_ends_the_loop_and_leaves_the_run_without_a_verdict() -> None:
    clock, inbox = Clock(), Still()
    bus = EventBus(RunState(), clock, [])
    control, executor = control_for(bus), ScriptedExecutor(inbox, silent=True)
    inbox.post(m.ControllerFailed(ControllerError("no disk")))
    with pytest.raises(ControllerError, match="no disk"):
        drive(control, [executor], bus, inbox, clock)
    assert bus.state.finished is None, "so it may be resumed"
    assert {type(command) for command in executor.commands} == {StartJob, CancelJob}
    assert executor.closed == 1
