"""What may be asked of Slack and what may come of it: the words between the conversation and the client."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from ci_dispatch.reporters.slack.blocks import Message


@dataclass(frozen=True, slots=True)
class Post:
    """A new message; `key` finds it again when the answer was lost."""

    channel: str
    message: Message
    key: str
    thread_ts: str = ""


@dataclass(frozen=True, slots=True)
class Update:
    """An edit: sent twice it is the same."""

    channel: str
    ts: str
    message: Message


@dataclass(frozen=True, slots=True)
class Find:
    """Whether a message whose answer was lost is there."""

    post: Post


Call: TypeAlias = Post | Update | Find


@dataclass(frozen=True, slots=True)
class Delivered:
    channel: str
    ts: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Not now: it was not taken, and may be sent again after `seconds`."""

    seconds: float
    why: str


@dataclass(frozen=True, slots=True)
class Unanswered:
    """It was sent and no answer came: it may be there or not."""

    why: str


@dataclass(frozen=True, slots=True)
class Absent:
    """A message that was looked for is not there."""


@dataclass(frozen=True, slots=True)
class Unshowable:
    """The blocks were refused, not the message."""

    why: str


@dataclass(frozen=True, slots=True)
class Gone:
    """The message to be edited cannot be any more."""

    why: str


@dataclass(frozen=True, slots=True)
class Refused:
    """It will never be taken; `why` says what to do."""

    why: str


Outcome: TypeAlias = Delivered | Wait | Unanswered | Absent | Unshowable | Gone | Refused
