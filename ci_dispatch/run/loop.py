"""Drives a run: one inbox, one `RunControl`, its executors, one event bus; the only loop there is."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from queue import Empty, SimpleQueue
from typing import Protocol

from ci_dispatch.run import messages as m
from ci_dispatch.run.control import RunControl
from ci_dispatch.run.event_bus import EventBus
from ci_dispatch.run.ports import Clock, Executor

TICK_SECONDS = 0.25  # how late a deadline may be noticed
STANDSTILL_SECONDS = 5.0  # between two looks at the inbox: this process was stopped, or its computer slept
REFRESH_SECONDS = 0.5  # how often the reporters move their clocks


class LoopClock(Clock, Protocol):
    """A clock that knows when nobody looked."""

    def standstill(self) -> float:
        """Seconds that this process stood still since the last call; `now` leaves them out."""


class SystemClock:
    """Wall time that never runs backwards: moved forward by the monotonic clock from where it stood at the start.

    A run that is gone on with starts no earlier than its journal ends: somebody may have set the clock back. Time in
    which nobody looked (the process was stopped, the computer slept) is left out: no deadline passes in it.
    """

    def __init__(self, begin: float = 0.0) -> None:
        """`begin` is the earliest time to start with, in seconds since the epoch."""
        self._offset = max(begin, time.time()) - time.monotonic()
        self._looked = time.monotonic(), _since_boot()

    def now(self) -> float:
        """Seconds since the epoch, less those that stood still."""
        return time.monotonic() + self._offset

    def standstill(self) -> float:
        """Seconds since the last call when they were so many that this process cannot have been running; else 0."""
        before, self._looked = self._looked, (time.monotonic(), _since_boot())
        running, slept = self._looked[0] - before[0], self._looked[1] - before[1]
        stood = max(running, slept)
        if stood < STANDSTILL_SECONDS:
            return 0.0
        self._offset -= running
        return stood


def _since_boot() -> float:
    """A clock that goes on while the computer sleeps."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)  # not on macOS
    return time.time() if boot is None else time.clock_gettime(boot)


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


def drive(control: RunControl, executors: Sequence[Executor], bus: EventBus, inbox: Inbox, clock: LoopClock) -> None:
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


def _loop(control: RunControl, executors: Sequence[Executor], bus: EventBus, inbox: Inbox, clock: LoopClock) -> None:
    refresh = Every(REFRESH_SECONDS, clock.now())
    tick = Every(TICK_SECONDS, clock.now())
    clock.standstill()  # from here on somebody looks
    with bus.step():
        commands = control.begin(clock.now())
    while True:
        _carry_out(commands, executors)
        if control.done(clock.now()):
            return
        message = inbox.take(TICK_SECONDS)
        if isinstance(message, m.ControllerFailed) and not control.finished:
            raise message.error
        stood = clock.standstill()
        with bus.step():
            now = clock.now()
            commands = control.step(m.StoodStill(stood), now) if stood else []
            commands += control.step(message, now)
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
