"""What changed since the last run of the same thing: broken, still failing, fixed. Pure, and a small JSON file.

A team wants to hear of edges, not of every run; and of a repair in the thread where the break was told.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ci_dispatch.config.sections import SlackChannel, When
from ci_dispatch.core import codec
from ci_dispatch.core.codec import Value, replace
from ci_dispatch.run.run_folder import write_whole

_VERSION = 1
_KEPT = 500  # records; the oldest go first


class Edge(StrEnum):
    NONE = ""  # whole as before, or nothing is known about before
    BROKEN = "broken"
    STILL_FAILING = "still failing"
    FIXED = "fixed"


class Place(Value):
    """Where a message is, as Slack knows it."""

    channel: str
    ts: str


class Told(Value):
    """What a channel was last told about one suite on one branch."""

    bad: bool
    since: float  # of the first run with this verdict, seconds since the epoch
    runs: int = 1  # in a row with it
    fingerprints: tuple[str, ...] = ()  # causes of the last bad run
    place: Place | None = None  # of the message about the break
    text: str = ""
    blocks: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The edge of this run, and what was told before it."""

    edge: Edge
    bad: bool
    before: Told | None = None

    @property
    def runs(self) -> int:
        """Which one in a row this is."""
        return self.before.runs + 1 if self.before and self.before.bad == self.bad else 1


def change(before: Told | None, *, bad: bool) -> Change:
    if bad:
        edge = Edge.STILL_FAILING if before and before.bad else Edge.BROKEN
    else:
        edge = Edge.FIXED if before and before.bad else Edge.NONE
    return Change(edge=edge, bad=bad, before=before)


def after(moved: Change, now: float, fingerprints: tuple[str, ...]) -> Told:
    """What has been told once this run is told; the place of the message about a break is added when it is known."""
    if moved.before is not None and moved.before.bad == moved.bad:
        return replace(moved.before, runs=moved.runs, fingerprints=fingerprints)
    return Told(bad=moved.bad, since=now, fingerprints=fingerprints)


def wants(channel: SlackChannel, moved: Change, branch: str) -> bool:
    """Whether a channel hears how this run ended."""
    if not on_branch(channel, branch):
        return False
    match channel.when:
        case When.ALWAYS:
            return True
        case When.FAILURE:
            return moved.bad
        case When.CHANGE:
            return moved.edge in (Edge.BROKEN, Edge.FIXED)
        case When.FAILURE_AND_RECOVERY:
            return moved.bad or moved.edge is Edge.FIXED


def on_branch(channel: SlackChannel, branch: str) -> bool:
    return not channel.branches or any(fnmatchcase(branch, pattern) for pattern in channel.branches)


class _File(Value):
    v: int
    told: dict[str, Told]
    unfinished: dict[str, Place]


@dataclass(slots=True)
class Memory:
    """The records of all channels in one file. A file that cannot be read is as good as none, and `note` says so.

    `unfinished` has the messages of runs that go on, so that a resumed run edits the message of its dead controller.
    """

    file: Path
    records: dict[str, Told] = field(default_factory=dict)
    unfinished: dict[str, Place] = field(default_factory=dict)
    note: str = ""

    @classmethod
    def load(cls, file: Path) -> Memory:
        try:
            read = codec.decode(_File, file.read_bytes())
            if read.v != _VERSION:
                return cls(file, note=f"{file} is of another version: what was told before is forgotten")
            return cls(file, read.told, read.unfinished)
        except FileNotFoundError:
            return cls(file)
        except (OSError, ValueError) as error:
            return cls(file, note=f"{file} cannot be read, what was told before is forgotten: {error}")

    def save(self) -> None:
        told = dict(list(self.records.items())[-_KEPT:])
        unfinished = dict(list(self.unfinished.items())[-_KEPT:])
        write_whole(self.file, codec.encode(_File(v=_VERSION, told=told, unfinished=unfinished)))

    def put(self, key: str, told: Told) -> None:
        self.records.pop(key, None)
        self.records[key] = told


def key(channel: str, repository: str, title: str, branch: str) -> str:
    """One suite on one branch, as one channel hears of it."""
    return json.dumps([channel, repository, title, branch], ensure_ascii=False)
