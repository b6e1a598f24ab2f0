"""What to say to one channel, in which order and when: a state machine without clock or network.

One message is edited in place, latest wins; at the end come the last edit, then replies. Slack's rates are kept by
waiting, not by being refused, and no message is sent twice because an answer was lost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from ci_dispatch.core.codec import replace
from ci_dispatch.reporters.slack.blocks import Message
from ci_dispatch.reporters.slack.calls import (
    Absent,
    Call,
    Delivered,
    Find,
    Gone,
    Outcome,
    Post,
    Refused,
    Unanswered,
    Unshowable,
    Update,
    Wait,
)

BETWEEN = 1.1  # seconds between calls: Slack takes one message a second and channel
PATIENCE = 20  # times that one message may be told to wait


@dataclass(frozen=True, slots=True)
class Last:
    """The final form of the run's message: an edit, or a new message where there is none to edit."""

    message: Message


@dataclass(frozen=True, slots=True)
class Reply:
    """In the thread of the run's message."""

    message: Message


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """About an earlier message: an edit of it, or a reply in its thread."""

    channel: str
    ts: str
    message: Message
    edit: bool = False


Letter = Last | Reply | Elsewhere


class Conversation:
    """Everything one run says to one channel. `next` gives the call to make now, `done` takes what came of it."""

    def __init__(self, channel: str, run: str, *, interval: float, head: Delivered | None = None) -> None:
        """`head`: where the message of this run is already, when a dead controller had sent it."""
        self.channel = channel
        self.head = head
        self.problems: list[str] = []  # for people; whoever shows them takes them out
        self.off = False
        self._run = run
        self._interval = interval
        self._wanted: Message | None = None
        self._shown: Message | None = None
        self._letters: deque[Letter] = deque()
        self._searching: Post | None = None
        self._in_flight = False
        self._letter: Letter | None = None  # which one the call in flight is about; None: the live message
        self._live: Message | None = None  # the live message in flight, as it was wanted
        self._sent = 0
        self._not_before = 0.0
        self._last_call = float("-inf")
        self._waits = 0
        self._why = ""
        self._plain = False
        self._complaints: set[str] = set()

    def show(self, message: Message) -> None:
        """The newest state of the run; an older one that was not sent yet is forgotten."""
        self._wanted = message

    def finish(self, letters: Sequence[Letter]) -> None:
        """What is said at the end, in this order; nothing live is sent any more."""
        self._wanted = None
        self._letters.extend(letters)

    @property
    def undelivered(self) -> str:
        """What could not be said in time, and why; empty when nothing is left."""
        if not self._letters or self.off:
            return ""
        why = self._why or "Slack took too long"
        left = len(self._letters)
        return f"{self._name}: {left} of the last messages were not delivered, or not confirmed: {why}"

    def next(self, now: float) -> Call | float | None:
        """The call to make now; or the seconds until there is one; or None while nothing is to be said."""
        call = self._call()
        if call is None or self._in_flight or self.off:
            return None
        gap = self._interval if isinstance(call, Update) and not self._letters else BETWEEN
        due = max(self._not_before, self._last_call + gap)
        if now < due:
            return due - now
        self._in_flight, self._last_call = True, now
        if not isinstance(call, Find):
            self._letter = self._letters[0] if self._letters else None
            self._live = None if self._letter else self._wanted
        return call

    def _call(self) -> Call | None:
        if self._searching is not None:
            return Find(self._searching)
        if self._letters:
            return self._letter_call(self._letters[0])
        if self._wanted is None or self._wanted == self._shown:
            return None
        return self._edit(self._wanted) if self.head else self._post(self.channel, self._wanted)

    def _letter_call(self, letter: Letter) -> Call:
        match letter:
            case Last(message):
                return self._edit(message) if self.head else self._post(self.channel, message)
            case Reply(message):
                assert self.head is not None, "a reply to nothing is dropped when its message is"
                return self._post(self.head.channel, message, self.head.ts)
            case Elsewhere(channel, ts, message, edit):
                return Update(channel, ts, self._form(message)) if edit else self._post(channel, message, ts)

    def _edit(self, message: Message) -> Update:
        assert self.head is not None
        return Update(self.head.channel, self.head.ts, self._form(message))

    def _post(self, channel: str, message: Message, thread_ts: str = "") -> Post:
        return Post(channel, self._form(message), f"{self._run}:{self.channel}:{self._sent}", thread_ts)

    def _form(self, message: Message) -> Message:
        return message.plainer() if self._plain else message

    # -- what came of it --------------------------------------------------------------------------------------------

    def done(self, call: Call, outcome: Outcome, now: float) -> None:
        """Take the outcome of the call that `next` gave."""
        self._in_flight = False
        match outcome:
            case Delivered():
                self._delivered(call, outcome)
            case Absent():
                self._searching = None  # it never arrived: say it again
                self._wait(0.0, self._why, now)
            case Wait(seconds, why):
                self._wait(seconds, why, now)
            case Unanswered(why) if isinstance(call, Post):
                self._searching, self._why = call, why
            case Unanswered(why) if isinstance(call, Find):
                self._searching = None
                self._give_up(f"no answer ({self._why}); it was not sent again, or it might be there twice")
            case Unanswered(why):
                self._wait(2.0, why, now)
            case Unshowable(why) if not self._plain:
                self._plain = True
                self._complain(f"{self._name}: Slack refused our layout, plain text is sent instead: {why}")
            case Gone() if self.head is not None and not isinstance(self._letter, Elsewhere):
                self.head = None  # somebody deleted it: a new one takes its place
            case Refused(why):
                self.off = True
                self._complain(f"{self._name}: Slack refused the message: {why}")
            case Unshowable(why) | Gone(why):
                self._give_up(why)

    @property
    def _name(self) -> str:
        return self.channel or "webhook"

    def _delivered(self, call: Call, where: Delivered) -> None:
        post = call.post if isinstance(call, Find) else call
        self._searching, self._waits, self._why = None, 0, ""
        if isinstance(post, Post):
            self._sent += 1
            if not post.thread_ts:
                self.head = replace(where, channel=where.channel or post.channel)
        if self._letter is None:
            self._shown = self._live
        else:
            self._letters.popleft()

    def _wait(self, seconds: float, why: str, now: float) -> None:
        self._waits, self._why = self._waits + 1, why
        self._not_before = now + seconds
        if self._waits > PATIENCE:
            self._waits = 0
            self._give_up(why)

    def _give_up(self, why: str) -> None:
        """Leave out what is said now, and what would answer it."""
        lost = 1
        if self._letter is None:
            self._shown = self._live
        else:
            self._letters.popleft()
        if isinstance(self._letter, Last) and self.head is None:
            rest = [other for other in self._letters if not isinstance(other, Reply)]
            lost += len(self._letters) - len(rest)
            self._letters = deque(rest)
        self._complain(f"{self._name}: {lost} message{'s' if lost > 1 else ''} not delivered: {why}")

    def _complain(self, text: str) -> None:
        if text not in self._complaints:  # an outage is one piece of news, however long it lasts
            self._complaints.add(text)
            self.problems.append(text)
