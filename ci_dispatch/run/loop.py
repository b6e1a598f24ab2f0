"""Drives a run: one queue, one engine, one crew, one bus; the only loop there is."""

from __future__ import annotations

from queue import Empty, SimpleQueue
from typing import Protocol

from ci_dispatch.run import messages as m
from ci_dispatch.run.control import Engine
from ci_dispatch.run.event_bus import EventBus
from ci_dispatch.run.ports import Clock

TICK_SECONDS = 0.25  # how late a deadline may be noticed
REFRESH_SECONDS = 0.5  # how often the faces move their clocks
ENDING_SECONDS = 30.0  # for jobs that were cancelled to end; their machines end them anyway


class Hands(Protocol):
    """Who carries out effects: the crew, or a simulation."""

    def carry_out(self, effect: m.Effect) -> None: ...
    def wait(self, deadline: float) -> bool: ...


class Inbox:
    """Where worker threads and signal handlers leave messages; putting never blocks and is safe in a signal handler."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[m.Message] = SimpleQueue()

    def post(self, message: m.Message) -> None:
        self._queue.put(message)

    def take(self, seconds: float) -> m.Message:
        try:
            return self._queue.get(timeout=seconds)
        except Empty:
            return m.Tick()


def drive(engine: Engine, hands: Hands, bus: EventBus, inbox: Inbox, clock: Clock) -> None:
    """Run until the engine has finished; then nothing of the run is left behind, whatever happened on the way."""
    try:
        _loop(engine, hands, bus, inbox, clock)
    finally:
        for lease in list(engine.ledger.active.values()):
            hands.carry_out(m.Cancel(lease.number, lease.machine, now=True))
        hands.wait(ENDING_SECONDS)


def _loop(engine: Engine, hands: Hands, bus: EventBus, inbox: Inbox, clock: Clock) -> None:
    refresh = Every(REFRESH_SECONDS, clock.now())
    tick = Every(TICK_SECONDS, clock.now())
    _carry_out(engine.begin(clock.now()), hands)
    while not engine.finished:
        _carry_out(engine.step(inbox.take(TICK_SECONDS), clock.now()), hands)
        if tick.due(clock.now()) and not engine.finished:
            _carry_out(engine.step(m.Tick(), clock.now()), hands)
        if refresh.due(clock.now()):
            bus.tick(clock.now())


def _carry_out(effects: list[m.Effect], hands: Hands) -> None:
    for effect in effects:
        hands.carry_out(effect)


class Every:
    """Says when something is due again, however many messages come in between."""

    def __init__(self, seconds: float, now: float) -> None:
        self._seconds = seconds
        self._next = now

    def due(self, now: float) -> bool:
        if now < self._next:
            return False
        self._next = now + self._seconds
        return True
