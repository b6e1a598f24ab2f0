"""The only loop: it feeds the engine until it has finished, and leaves nothing running however it ends."""

from __future__ import annotations

from random import Random

import pytest

from ci_dispatch.core.events import Stamped
from ci_dispatch.core.model import AttemptResult, Ended, LeaseNumber, MachineName, MachineSpec, TestResult, Verdict
from ci_dispatch.run import loop
from ci_dispatch.run import messages as m
from ci_dispatch.run.control import Engine, Terms
from ci_dispatch.run.event_bus import EventBus
from ci_dispatch.run.loop import Every, Inbox, drive
from ci_dispatch.run.state import RunState
from report_merge.failures import UNKNOWN
from tests.simulation import make_tests, run_started


class Hands:
    """Passes every test at once, or breaks, or never says a word."""

    def __init__(self, inbox: Inbox, *, silent: bool = False, error: Exception | None = None) -> None:
        self.inbox = inbox
        self.silent = silent
        self.error = error
        self.effects: list[m.Effect] = []
        self.waited: list[float] = []

    def carry_out(self, effect: m.Effect) -> None:
        self.effects.append(effect)
        if isinstance(effect, m.Start) and not self.silent:
            if self.error:
                raise self.error
            results = tuple(TestResult(test=test.id, verdict=Verdict.PASSED) for test in effect.tests)
            self.inbox.post(m.Finished(effect.lease.number, AttemptResult(ended=Ended.EXITED, results=results)))

    def wait(self, deadline: float) -> bool:
        self.waited.append(deadline)
        return True


class Clock:
    """A quarter of a second goes by whenever somebody looks."""

    at = 0.0

    def now(self) -> float:
        self.at += 0.25
        return self.at


class Face:
    name = "face"
    essential = False

    def __init__(self) -> None:
        self.ticks = 0

    def handle(self, stamped: Stamped, state: RunState) -> None: ...

    def tick(self, now: float, state: RunState) -> None:
        self.ticks += 1

    def close(self) -> None: ...


class Still(Inbox):
    """Nobody says anything, and no time is spent on waiting for it."""

    def take(self, seconds: float) -> m.Message:
        return super().take(0.0)


def engine_of(bus: EventBus, tests: int = 4, terms: Terms | None = None) -> Engine:
    suite = make_tests(tests)
    bus.publish(run_started(suite, [MachineSpec(name=MachineName("a"), cores=1)], {test.id: 1.0 for test in suite}))
    terms = terms or Terms(check_first=False)
    return Engine(bus.state, bus.publish, terms=terms, classify=lambda _line: UNKNOWN, random=Random(1))


def test_a_run_is_driven_to_its_end() -> None:
    clock, inbox = Clock(), Still()
    bus = EventBus(RunState(), clock, [])
    engine, hands = engine_of(bus), Hands(inbox)
    drive(engine, hands, bus, inbox, clock)
    assert engine.finished
    assert bus.state.verdicts[Verdict.PASSED] == 4
    assert hands.waited == [loop.ENDING_SECONDS]
    assert not [effect for effect in hands.effects if isinstance(effect, m.Cancel)], "nothing was left to end"


def test_deadlines_are_seen_and_faces_move_while_nobody_says_anything() -> None:
    clock, inbox, face = Clock(), Still(), Face()
    bus = EventBus(RunState(), clock, [face])
    engine = engine_of(bus, terms=Terms(check_first=False, start_grace=5.0, give_up_after=1.0, steal_after=99.0))
    drive(engine, Hands(inbox, silent=True), bus, inbox, clock)
    assert engine.finished
    assert bus.state.verdicts[Verdict.NOT_RUN] == 4
    assert face.ticks > 4


def test_deadlines_are_seen_while_somebody_talks_without_end() -> None:
    """News moves no plan: a chatty machine must not keep a silent one from being noticed."""

    class Chatty(Inbox):
        def take(self, seconds: float) -> m.Message:
            return m.Output(LeaseNumber(99), "and another thing")

    clock, inbox = Clock(), Chatty()
    bus = EventBus(RunState(), clock, [])
    engine = engine_of(bus, terms=Terms(check_first=False, start_grace=5.0, give_up_after=1.0))
    drive(engine, Hands(inbox, silent=True), bus, inbox, clock)
    assert bus.state.verdicts[Verdict.NOT_RUN] == 4


def test_whatever_goes_wrong_nothing_is_left_running() -> None:
    clock, inbox = Clock(), Still()
    bus = EventBus(RunState(), clock, [])
    engine, hands = engine_of(bus), Hands(inbox, error=RuntimeError("no threads left"))
    with pytest.raises(RuntimeError, match="no threads left"):
        drive(engine, hands, bus, inbox, clock)
    [lease] = engine.ledger.active
    assert hands.effects[-1] == m.Cancel(lease, MachineName("a"), now=True)
    assert hands.waited == [loop.ENDING_SECONDS]


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
