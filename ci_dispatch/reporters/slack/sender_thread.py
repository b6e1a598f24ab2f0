"""What is sent to one channel, in which order and when, and the thread that sends it: a run never waits for Slack.

One message is edited in place, the latest state wins; at the end come the last edit, then replies. Slack's rates are
kept by waiting, not by being refused, and no message is sent twice because an answer was lost.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Condition, Thread
from typing import TypeAlias

from ci_dispatch.core.codec import replace
from ci_dispatch.reporters.slack.blocks import SlackMessage
from ci_dispatch.reporters.slack.client import (
    BlocksRefused,
    CallOutcome,
    Delivered,
    Find,
    MessageGone,
    NotFound,
    Post,
    RetryLater,
    SlackCall,
    SlackClient,
    SlackRefused,
    Unanswered,
    Update,
)

BETWEEN = 1.1  # seconds between calls: Slack takes one message a second and channel
PATIENCE = 20  # times that Slack may put off one message


@dataclass(frozen=True, slots=True)
class FinalMessage:
    """The final form of the run's message: an edit, or a new message where there is none to edit."""

    message: SlackMessage


@dataclass(frozen=True, slots=True)
class ThreadReply:
    """In the thread of the run's message."""

    message: SlackMessage


@dataclass(frozen=True, slots=True)
class FollowUp:
    """About the message of an earlier run: an edit of it, or a reply in its thread."""

    channel: str
    ts: str
    message: SlackMessage
    edit: bool = False


OutboxItem: TypeAlias = FinalMessage | ThreadReply | FollowUp


class ChannelMessages:
    """Everything one run sends to one channel: a state machine without clock or network.

    `next` gives the call to make now, `done` takes its outcome.
    """

    def __init__(self, channel: str, run: str, *, interval: float, head: Delivered | None = None) -> None:
        """`head`: where the message of this run is already, when a dead controller had sent it."""
        self.channel = channel
        self.head = head
        self.problems: list[str] = []  # for people; whoever shows them takes them out
        self.off = False
        self._run = run
        self._interval = interval
        self._wanted: SlackMessage | None = None
        self._shown: SlackMessage | None = None
        self._outbox: deque[OutboxItem] = deque()
        self._searching: Post | None = None
        self._in_flight = False
        self._item: OutboxItem | None = None  # which one the call in flight is about; None: the live message
        self._live: SlackMessage | None = None  # the live message in flight, as it was wanted
        self._sent = 0
        self._not_before = 0.0
        self._last_call = float("-inf")
        self._waits = 0
        self._why = ""
        self._plain = False
        self._reported: set[str] = set()

    def show(self, message: SlackMessage) -> None:
        """The newest state of the run; an older one that was not sent yet is forgotten."""
        self._wanted = message

    def finish(self, outbox: Sequence[OutboxItem]) -> None:
        """What is sent at the end, in this order; nothing live is sent any more."""
        self._wanted = None
        self._outbox.extend(outbox)

    @property
    def undelivered(self) -> str:
        """What could not be sent in time, and why; empty when nothing is left."""
        if not self._outbox or self.off:
            return ""
        why = self._why or "Slack took too long"
        left = len(self._outbox)
        return f"{self._name}: {left} of the last messages were not delivered, or not confirmed: {why}"

    def next(self, now: float) -> SlackCall | float | None:
        """The call to make now; or the seconds until there is one; or None while nothing is to be sent."""
        call = self._call()
        if call is None or self._in_flight or self.off:
            return None
        gap = self._interval if isinstance(call, Update) and not self._outbox else BETWEEN
        due = max(self._not_before, self._last_call + gap)
        if now < due:
            return due - now
        self._in_flight, self._last_call = True, now
        if not isinstance(call, Find):
            self._item = self._outbox[0] if self._outbox else None
            self._live = None if self._item else self._wanted
        return call

    def _call(self) -> SlackCall | None:
        if self._searching is not None:
            return Find(self._searching)
        if self._outbox:
            return self._outbox_call(self._outbox[0])
        if self._wanted is None or self._wanted == self._shown:
            return None
        return self._edit(self._wanted) if self.head else self._post(self.channel, self._wanted)

    def _outbox_call(self, item: OutboxItem) -> SlackCall:
        match item:
            case FinalMessage(message):
                return self._edit(message) if self.head else self._post(self.channel, message)
            case ThreadReply(message):
                assert self.head is not None, "a reply to nothing is dropped when its message is"
                return self._post(self.head.channel, message, self.head.ts)
            case FollowUp(channel, ts, message, edit):
                return Update(channel, ts, self._form(message)) if edit else self._post(channel, message, ts)

    def _edit(self, message: SlackMessage) -> Update:
        assert self.head is not None
        return Update(self.head.channel, self.head.ts, self._form(message))

    def _post(self, channel: str, message: SlackMessage, thread_ts: str = "") -> Post:
        return Post(channel, self._form(message), f"{self._run}:{self.channel}:{self._sent}", thread_ts)

    def _form(self, message: SlackMessage) -> SlackMessage:
        return message.plainer() if self._plain else message

    # -- outcomes ---------------------------------------------------------------------------------------------------

    def done(self, call: SlackCall, outcome: CallOutcome, now: float) -> None:
        """Take the outcome of the call that `next` gave."""
        self._in_flight = False
        match outcome:
            case Delivered():
                self._delivered(call, outcome)
            case NotFound():
                self._searching = None  # it never arrived: send it again
                self._wait(0.0, self._why, now)
            case RetryLater(seconds, why):
                self._wait(seconds, why, now)
            case Unanswered(why) if isinstance(call, Post):
                self._searching, self._why = call, why
            case Unanswered(why) if isinstance(call, Find):
                self._searching = None
                self._give_up(f"no answer ({self._why}); it was not sent again, or it might be there twice")
            case Unanswered(why):
                self._wait(2.0, why, now)
            case BlocksRefused(why) if not self._plain:
                self._plain = True
                self._report(f"{self._name}: Slack refused our layout, plain text is sent instead: {why}")
            case MessageGone() if self.head is not None and not isinstance(self._item, FollowUp):
                self.head = None  # somebody deleted it: a new one takes its place
            case SlackRefused(why):
                self.off = True
                self._report(f"{self._name}: Slack refused the message: {why}")
            case BlocksRefused(why) | MessageGone(why):
                self._give_up(why)

    @property
    def _name(self) -> str:
        return self.channel or "webhook"

    def _delivered(self, call: SlackCall, where: Delivered) -> None:
        post = call.post if isinstance(call, Find) else call
        self._searching, self._waits, self._why = None, 0, ""
        if isinstance(post, Post):
            self._sent += 1
            if not post.thread_ts:
                self.head = replace(where, channel=where.channel or post.channel)
        if self._item is None:
            self._shown = self._live
        else:
            self._outbox.popleft()

    def _wait(self, seconds: float, why: str, now: float) -> None:
        self._waits, self._why = self._waits + 1, why
        self._not_before = now + seconds
        if self._waits > PATIENCE:
            self._waits = 0
            self._give_up(why)

    def _give_up(self, why: str) -> None:
        """Leave out the message in question, and the replies to it."""
        lost = 1
        if self._item is None:
            self._shown = self._live
        else:
            self._outbox.popleft()
        if isinstance(self._item, FinalMessage) and self.head is None:
            rest = [other for other in self._outbox if not isinstance(other, ThreadReply)]
            lost += len(self._outbox) - len(rest)
            self._outbox = deque(rest)
        self._report(f"{self._name}: {lost} message{'s' if lost > 1 else ''} not delivered: {why}")

    def _report(self, text: str) -> None:
        if text not in self._reported:  # an outage is one warning, however long it lasts
            self._reported.add(text)
            self.problems.append(text)


class SenderThread:
    """Sends what `messages` has to send; a slow channel holds up no other one."""

    def __init__(self, messages: ChannelMessages, client: SlackClient) -> None:
        self.messages = messages
        self._client = client
        self._changed = Condition()
        self._over = False
        self._thread = Thread(target=self._work, name=f"slack {messages.channel}", daemon=True)
        self._thread.start()

    def show(self, message: SlackMessage) -> None:
        with self._changed:
            self.messages.show(message)
            self._changed.notify()

    def finish(self, outbox: Sequence[OutboxItem]) -> None:
        """What is sent at the end. The thread ends when it is sent, or can no longer be."""
        with self._changed:
            self.messages.finish(outbox)
            self._over = True
            self._changed.notify()

    def problems(self) -> list[str]:
        """What went wrong since the last call."""
        with self._changed:
            found, self.messages.problems = self.messages.problems, []
            return found

    def join(self, until: float) -> str:
        """Wait for the end, at most to `until` on the monotonic clock; returns what was not sent by then.

        Nothing is sent after that.
        """
        with self._changed:
            self._over = True
            self._changed.notify()
        self._thread.join(max(0.0, until - time.monotonic()))
        with self._changed:
            left, self.messages.off = self.messages.undelivered, True
            self._changed.notify()
            return left

    def _work(self) -> None:
        while (call := self._next()) is not None:
            outcome = self._client.do(call)
            with self._changed:
                self.messages.done(call, outcome, time.monotonic())

    def _next(self) -> SlackCall | None:
        """The next call when it is time for it; None when everything is sent."""
        with self._changed:
            while True:
                due = self.messages.next(time.monotonic())
                if due is None and self._over:
                    return None
                if due is not None and not isinstance(due, float):
                    return due
                self._changed.wait(due)
