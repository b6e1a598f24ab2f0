"""A thread that carries one conversation: the run only leaves word and never waits for Slack."""

from __future__ import annotations

import time
from collections.abc import Sequence
from threading import Condition, Thread

from ci_dispatch.reporters.slack.blocks import Message
from ci_dispatch.reporters.slack.calls import Call
from ci_dispatch.reporters.slack.client import Carries
from ci_dispatch.reporters.slack.conversation import Conversation, Letter


class Courier:
    """Carries what `conversation` wants said; a slow channel holds up no other one."""

    def __init__(self, conversation: Conversation, client: Carries) -> None:
        self.conversation = conversation
        self._client = client
        self._changed = Condition()
        self._over = False
        self._thread = Thread(target=self._work, name=f"slack {conversation.channel}", daemon=True)
        self._thread.start()

    def show(self, message: Message) -> None:
        with self._changed:
            self.conversation.show(message)
            self._changed.notify()

    def finish(self, letters: Sequence[Letter]) -> None:
        """What is said at the end. The thread ends when it is said, or can no longer be."""
        with self._changed:
            self.conversation.finish(letters)
            self._over = True
            self._changed.notify()

    def problems(self) -> list[str]:
        """What went wrong since the last time this was asked."""
        with self._changed:
            found, self.conversation.problems = self.conversation.problems, []
            return found

    def join(self, until: float) -> str:
        """Wait for the end, at most to `until` on the monotonic clock; returns what was not said by then.

        Nothing is said after that.
        """
        with self._changed:
            self._over = True
            self._changed.notify()
        self._thread.join(max(0.0, until - time.monotonic()))
        with self._changed:
            left, self.conversation.off = self.conversation.undelivered, True
            self._changed.notify()
            return left

    def _work(self) -> None:
        while (call := self._next()) is not None:
            outcome = self._client.do(call)
            with self._changed:
                self.conversation.done(call, outcome, time.monotonic())

    def _next(self) -> Call | None:
        """The next call when it is time for it; None when everything is said."""
        with self._changed:
            while True:
                due = self.conversation.next(time.monotonic())
                if due is None and self._over:
                    return None
                if due is not None and not isinstance(due, float):
                    return due
                self._changed.wait(due)
