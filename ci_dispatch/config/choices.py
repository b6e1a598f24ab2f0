"""The words of settings that allow only a few."""

from __future__ import annotations

from enum import StrEnum


class Transfer(StrEnum):
    COPY = "copy"
    GIT = "git"


class ProgressMode(StrEnum):
    AUTO = "auto"
    LIVE = "live"
    PLAIN = "plain"
    JSON = "json"
    NONE = "none"


class Strategy(StrEnum):
    """Who decides where a shard runs in GitHub Actions."""

    PINNED = "pinned"  # the plan: every shard is weighted for one machine
    POOLED = "pooled"  # GitHub's queue: a shared label, whoever is free
    MIXED = "mixed"  # a pinned head for each machine, a pooled tail: right even when a speed is misjudged


class When(StrEnum):
    ALWAYS = "always"
    FAILURE = "failure"
    CHANGE = "change"
    FAILURE_AND_RECOVERY = "failure-and-recovery"


class Split(StrEnum):
    AUTO = "auto"  # as small as the runner itself would
    TEST = "test"
    FILE = "file"


class StartAhead(StrEnum):
    """How far a test runner may be loaded before it has a lease."""

    OFF = "off"
    PLUGINS = "plugins"  # what is installed, and nothing of the suite's own
    CONFTEST = "conftest"
