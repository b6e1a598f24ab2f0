"""Drives a run through GitHub: one queue, one dispatcher, a few lanes; threads only enqueue what they hear.

Each lane is a thread with a client of its own. Cancelling has its own lane, so that the child run is told at once even
while another call waits for GitHub: a runner gives a cancelled orchestrator seven seconds.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue

from ci_dispatch.core.events import MachineChecked
from ci_dispatch.core.model import MachineName
from ci_dispatch.fleets.actions import messages as g
from ci_dispatch.fleets.actions.executor import Hands
from ci_dispatch.fleets.actions.fleet import Dispatcher
from ci_dispatch.run import messages as m
from ci_dispatch.run.event_bus import EventBus
from ci_dispatch.run.loop import REFRESH_SECONDS, TICK_SECONDS, Every
from ci_dispatch.run.ports import Clock

ENDING_SECONDS = 5.0  # for a cancellation that is on its way


class Inbox:
    """Where lanes and signal handlers leave messages; putting never blocks and is safe in a signal handler."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[g.Heard] = SimpleQueue()

    def post(self, message: g.Heard) -> None:
        self._queue.put(message)

    def take(self, seconds: float) -> g.Heard:
        try:
            return self._queue.get(timeout=seconds)
        except Empty:
            return m.Tick()


class Lane:
    """A thread that carries out wishes one after the other."""

    def __init__(self, name: str, carry_out: Callable[[g.Wish], None]) -> None:
        self._carry_out = carry_out
        self._queue: SimpleQueue[g.Wish | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def put(self, wish: g.Wish) -> None:
        self._queue.put(wish)

    def _work(self) -> None:
        while (wish := self._queue.get()) is not None:
            self._carry_out(wish)

    def close(self, seconds: float) -> None:
        """Finish what was put, for at most `seconds`."""
        self._queue.put(None)
        self._thread.join(seconds)


class Lanes:
    """Carries out what the dispatcher asks for, each kind on its lane; returns at once."""

    def __init__(
        self,
        hands: Hands,
        urgent: Hands,
        *,
        save: Callable[[tuple[g.Saved, ...]], None],
        check: Callable[[MachineName], MachineChecked] | None,
        post: Callable[[g.Heard], None],
        stop: threading.Event,
    ) -> None:
        """`stop` ends every pause of the hands; `check` is None when nobody may ask the machines."""
        self._lane, self._urgent = Lane("github", hands.carry_out), Lane("github-cancel", urgent.carry_out)
        self._save, self._check, self._post, self._stop = save, check, post, stop

    def carry_out(self, asked: g.Asked) -> None:
        match asked:
            case g.Save(dispatches=dispatches):
                self._save(dispatches)  # before anything else is done
            case m.Check(machine=name):
                threading.Thread(target=self._checking, args=(name,), name=f"check-{name}", daemon=True).start()
            case g.Cancel():
                self._urgent.put(asked)
            case _:
                self._lane.put(asked)

    def _checking(self, name: MachineName) -> None:
        if self._check is not None:
            self._post(m.Checked(self._check(name)))

    def close(self) -> None:
        self._stop.set()
        self._urgent.close(ENDING_SECONDS)
        self._lane.close(ENDING_SECONDS)


def drive(dispatcher: Dispatcher, lanes: Lanes, bus: EventBus, inbox: Inbox, clock: Clock) -> None:
    """Run until the dispatcher has finished; should we fail ourselves, what was started is cancelled."""
    try:
        refresh = Every(REFRESH_SECONDS, clock.now())
        _carry_out(dispatcher.begin(clock.now()), lanes)
        while not dispatcher.finished:
            _carry_out(dispatcher.step(inbox.take(TICK_SECONDS), clock.now()), lanes)
            if refresh.due(clock.now()):
                bus.tick(clock.now())
    finally:
        if not dispatcher.finished:
            _carry_out((g.Cancel(run.run) for run in dispatcher.runs if run.run is not None), lanes)
        lanes.close()


def _carry_out(asked: Iterable[g.Asked], lanes: Lanes) -> None:
    for wish in asked:
        lanes.carry_out(wish)
