"""How a run's verdict compares with the last one of the same suite: broken, still failing, fixed. And a JSON file.

A team wants to know of transitions, not of every run; and of a repair in the thread of the message about the break.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ci_dispatch.config.choices import When
from ci_dispatch.config.sections import SlackChannel
from ci_dispatch.core import codec
from ci_dispatch.core.codec import Value, replace
from ci_dispatch.run.run_folder import write_whole

_VERSION = 1
_KEPT = 500  # records; the oldest go first


class Transition(StrEnum):
    NONE = ""  # passed as before, or nothing is known about before
    BROKEN = "broken"
    STILL_FAILING = "still failing"
    FIXED = "fixed"


class MessagePlace(Value):
    """Where a message is, as Slack knows it."""

    channel: str
    ts: str


class LastNotified(Value):
    """The last notification of a channel about one suite on one branch."""

    bad: bool
    since: float  # of the first run with this verdict, seconds since the epoch
    runs: int = 1  # in a row with it
    fingerprints: tuple[str, ...] = ()  # causes of the last bad run
    place: MessagePlace | None = None  # of the message about the break
    text: str = ""
    blocks: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictChange:
    """The transition of this run, and the notification before it."""

    transition: Transition
    bad: bool
    before: LastNotified | None = None

    @property
    def runs(self) -> int:
        """Which one in a row this is."""
        return self.before.runs + 1 if self.before and self.before.bad == self.bad else 1


def compare(before: LastNotified | None, *, bad: bool) -> VerdictChange:
    if bad:
        transition = Transition.STILL_FAILING if before and before.bad else Transition.BROKEN
    else:
        transition = Transition.FIXED if before and before.bad else Transition.NONE
    return VerdictChange(transition=transition, bad=bad, before=before)


def after(change: VerdictChange, now: float, fingerprints: tuple[str, ...]) -> LastNotified:
    """What to remember of this run; the place of the message about a break is added when it is known."""
    if change.before is not None and change.before.bad == change.bad:
        return replace(change.before, runs=change.runs, fingerprints=fingerprints)
    return LastNotified(bad=change.bad, since=now, fingerprints=fingerprints)


def wants(channel: SlackChannel, change: VerdictChange, branch: str) -> bool:
    """Whether a channel is notified of how this run ended."""
    if not on_branch(channel, branch):
        return False
    match channel.when:
        case When.ALWAYS:
            return True
        case When.FAILURE:
            return change.bad
        case When.CHANGE:
            return change.transition in (Transition.BROKEN, Transition.FIXED)
        case When.FAILURE_AND_RECOVERY:
            return change.bad or change.transition is Transition.FIXED


def on_branch(channel: SlackChannel, branch: str) -> bool:
    return not channel.branches or any(fnmatchcase(branch, pattern) for pattern in channel.branches)


class _File(Value):
    v: int
    notified: dict[str, LastNotified] = codec.field(name="told")  # as version 0.1 wrote it
    unfinished: dict[str, MessagePlace]


@dataclass(slots=True)
class SlackMemory:
    """The last notifications of all channels in one file.

    A file that cannot be read counts as none, and `note` says so. `unfinished` has the messages of runs that go on, so
    that a resumed run edits the message of its dead controller.
    """

    file: Path
    notified: dict[str, LastNotified] = field(default_factory=dict)
    unfinished: dict[str, MessagePlace] = field(default_factory=dict)
    note: str = ""

    @classmethod
    def load(cls, file: Path) -> SlackMemory:
        try:
            read = codec.decode(_File, file.read_bytes())
            if read.v != _VERSION:
                return cls(file, note=f"{file} is of another version: earlier notifications are forgotten")
            return cls(file, read.notified, read.unfinished)
        except FileNotFoundError:
            return cls(file)
        except (OSError, ValueError) as error:
            return cls(file, note=f"{file} cannot be read, earlier notifications are forgotten: {error}")

    def save(self) -> None:
        notified = dict(list(self.notified.items())[-_KEPT:])
        unfinished = dict(list(self.unfinished.items())[-_KEPT:])
        write_whole(self.file, codec.encode(_File(v=_VERSION, notified=notified, unfinished=unfinished)))

    def put(self, key: str, notified: LastNotified) -> None:
        self.notified.pop(key, None)
        self.notified[key] = notified


def key(channel: str, repository: str, title: str, branch: str) -> str:
    """One suite on one branch, as one channel is notified of it."""
    return json.dumps([channel, repository, title, branch], ensure_ascii=False)
