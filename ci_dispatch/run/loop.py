"""Drives a run: one inbox, one `RunControl`, its executors, one event bus; the only loop there is."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from queue import Empty, SimpleQueue

from ci_dispatch.run import messages as m
from ci_dispatch.run.control import RunControl
from ci_dispatch.run.event_bus import EventBus
from ci_dispatch.run.ports import Clock, Executor

TICK_SECONDS = 0.25  # how late a deadline may be noticed
REFRESH_SECONDS = 0.5  # how often the reporters move their clocks


class SystemClock:
    """Wall time that never runs backwards: moved forward by the monotonic clock from where it stood at the start."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.monotonic() + self._offset


class Inbox:
    """Where worker threads and signal handlers leave messages; putting never blocks and is safe in a signal handler."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[m.Message] = SimpleQueue()

    def post(self, message: m.Message) -> None:
        self._queue.put(message)

    def take(self, seconds: float) -> m.Message:
        """The next message, or a `Tick` when none comes within `seconds`."""
        try:
            return self._queue.get(timeout=seconds)
        except Empty:
            return m.Tick()


def drive(control: RunControl, executors: Sequence[Executor], bus: EventBus, inbox: Inbox, clock: Clock) -> None:
    """Run until the control is done; then nothing of the run is left behind, whatever happened on the way.

    Raises ControllerError when this computer cannot go on: the run has no verdict then and may be resumed.
    """
    try:
        _loop(control, executors, bus, inbox, clock)
    finally:
        try:
            if not control.finished:
                _carry_out(control.abandon(clock.now()), executors)
        finally:
            for executor in executors:
                executor.close()


def _loop(control: RunControl, executors: Sequence[Executor], bus: EventBus, inbox: Inbox, clock: Clock) -> None:
    refresh = Every(REFRESH_SECONDS, clock.now())
    tick = Every(TICK_SECONDS, clock.now())
    with bus.step():
        commands = control.begin(clock.now())
    while True:
        _carry_out(commands, executors)
        if control.done(clock.now()):
            return
        message = inbox.take(TICK_SECONDS)
        if isinstance(message, m.ControllerFailed):
            raise message.error
        with bus.step():
            now = clock.now()
            commands = control.step(message, now)
            if tick.due(now) and not control.finished:
                commands += control.step(m.Tick(), now)
        if refresh.due(now):
            bus.tick(now)


def _carry_out(commands: Iterable[m.Command], executors: Sequence[Executor]) -> None:
    for command in commands:
        next(executor for executor in executors if isinstance(command, executor.takes)).carry_out(command)


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
