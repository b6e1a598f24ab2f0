"""How a run's verdict compares with the last one of the same suite: broken, still failing, fixed.

A team wants to know of transitions, not of every run; and of a repair in the thread of the message about the break.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from ci_dispatch.config.choices import When
from ci_dispatch.config.slack import SlackChannel
from ci_dispatch.core import codec
from ci_dispatch.core.codec import Value, replace
from ci_dispatch.reporters import EarlierRun

T = TypeVar("T")


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


def of_history(run: EarlierRun | None) -> LastNotified | None:
    """For a channel that was notified of nothing yet: what it would know, had it been there for the last run."""
    return LastNotified(bad=not run.passed, since=run.at, fingerprints=run.fingerprints) if run else None


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


class SlackMemory:
    """The last notifications of all channels, and the messages of runs that go on, in what Slack's reporter remembers.

    A resumed run edits the message of its dead controller. What cannot be read counts as nothing: `problems`.
    """

    def __init__(self, kept: MutableMapping[str, bytes]) -> None:
        self._kept = kept
        self._problems: list[str] = []

    def problems(self) -> list[str]:
        """What could not be read since the last call."""
        new, self._problems = self._problems, []
        return new

    def last(self, key: str) -> LastNotified | None:
        return self._read(LastNotified, f"notified {key}")

    def remember(self, key: str, notified: LastNotified) -> None:
        self._kept[f"notified {key}"] = codec.encode(notified)

    def place(self, run: str, channel: str) -> MessagePlace | None:
        """Of the message of a run that goes on, or did when its controller died."""
        return self._read(MessagePlace, _unfinished(run, channel))

    def remember_place(self, run: str, channel: str, place: MessagePlace) -> None:
        self._kept[_unfinished(run, channel)] = codec.encode(place)

    def forget_place(self, run: str, channel: str) -> None:
        self._kept.pop(_unfinished(run, channel), None)

    def _read(self, cls: type[T], key: str) -> T | None:
        data = self._kept.get(key)
        try:
            return codec.decode(cls, data) if data is not None else None
        except ValueError as error:
            self._problems.append(f"an earlier notification cannot be read and is forgotten: {error}")
            return None


def _unfinished(run: str, channel: str) -> str:
    return f"unfinished {run} {channel}"


def key(channel: str, repository: str, title: str, branch: str) -> str:
    """One suite on one branch, as one channel is notified of it."""
    return json.dumps([channel, repository, title, branch], ensure_ascii=False)
