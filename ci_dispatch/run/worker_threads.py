"""Threads that do what blocks. Each piece of work ends in exactly one message, whatever happens to it."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from queue import SimpleQueue

from ci_dispatch.core.errors import ControllerError, of_this_computer
from ci_dispatch.run.messages import ControllerFailed, Message, Noticed
from ci_dispatch.run.ports import Clock

Work = Callable[[], Message]
Failed = Callable[[BaseException], Message]


class WorkerThreads:
    """Runs work beside the loop; `post` takes its messages and must be safe to call from any thread.

    When this computer is in the way (ControllerError) the one message says that, in place of what was to be told.
    """

    def __init__(self, post: Callable[[Message], None], clock: Clock) -> None:
        self.post = post
        self._clock = clock
        self._threads: list[threading.Thread] = []
        self._queues: dict[str, SimpleQueue[Callable[[], None] | None]] = {}

    def start(self, name: str, work: Work, failed: Failed) -> None:
        """Begin `work` in a thread of its own and post the message it returns; an exception becomes `failed(error)`."""
        self._begin(name, lambda: self._finish(name, work, failed), lambda error: self.post(_told(error, failed)))

    def enqueue(self, queue: str, work: Work, failed: Failed) -> None:
        """The same, one after the other for each `queue`: for clients that must not be used by two threads."""
        if queue not in self._queues:
            waiting: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
            if not self._begin(queue, lambda: _drain(waiting), lambda error: self.post(_told(error, failed))):
                return
            self._queues[queue] = waiting
        self._queues[queue].put(lambda: self._finish(queue, work, failed))

    def wait(self, seconds: float) -> bool:
        """Let what was begun end, for at most `seconds`; whether everything has ended."""
        for waiting in self._queues.values():
            waiting.put(None)
        self._queues.clear()
        end = self._clock.now() + seconds
        for thread in self._threads:
            thread.join(max(0.0, end - self._clock.now()))
        return not any(thread.is_alive() for thread in self._threads)

    def _begin(self, name: str, target: Callable[[], None], cannot: Callable[[BaseException], None]) -> bool:
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(target=target, name=name, daemon=True)
        try:
            thread.start()
        except (RuntimeError, OSError) as error:  # the system has no more threads
            cannot(error)
            return False
        self._threads.append(thread)
        return True

    def _finish(self, name: str, work: Work, failed: Failed) -> None:
        try:
            message = work()
        except BaseException as error:  # noqa: BLE001  a defect must not leave the loop without an answer
            message = _told(error, failed)
            if not isinstance(message, ControllerFailed):
                trace = traceback.format_exc(limit=-3)
                self.post(Noticed("ci-dispatch", f"internal error in {name}: {trace}"))
        self.post(message)


def _told(error: BaseException, failed: Failed) -> Message:
    ours = error if isinstance(error, ControllerError) else of_this_computer(error)
    return ControllerFailed(ours) if ours else failed(error)


def _drain(waiting: SimpleQueue[Callable[[], None] | None]) -> None:
    while (work := waiting.get()) is not None:
        work()
