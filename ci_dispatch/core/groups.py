"""Groups of tests and what holds for them: together, apart, on which machines, after what. Frozen and JSON-able."""

from __future__ import annotations

from enum import StrEnum

from ci_dispatch.core.codec import Value
from ci_dispatch.core.model import TestId


class Together(StrEnum):
    """What the tests of a group share."""

    NO = "no"
    MACHINE = "machine"  # all of their shards run on one machine
    SHARD = "shard"  # one invocation of the test runner gets them all


class GroupSpec(Value):
    """A group as its owner describes it: which tests are in it, and what holds for them.

    A test is in it that matches every selector given, each by one of its patterns; and one whose marks name it.
    """

    name: str = ""
    files: tuple[str, ...] = ()  # patterns, in which * stands for any text
    titles: tuple[str, ...] = ()  # patterns
    projects: tuple[str, ...] = ()  # patterns
    tags: tuple[str, ...] = ()
    together: Together = Together.NO
    exclusive: tuple[str, ...] = ()  # resources that one shard in the whole fleet holds at a time
    exclusive_on_machine: tuple[str, ...] = ()  # resources that one shard on each machine holds at a time
    needs: tuple[str, ...] = ()  # labels of the machine
    after: tuple[str, ...] = ()  # groups that have passed before
    side_effects: bool = False  # outside: no test is run while it runs elsewhere already

    @property
    def selects(self) -> bool:
        return bool(self.files or self.titles or self.projects or self.tags)


class TestGroup(Value):
    """A group with the tests that are in it."""

    __test__ = False  # for pytest: this is not a test class

    spec: GroupSpec
    tests: tuple[TestId, ...]


class TestMarks(Value):
    """What a suite itself says about a test: its tags, and the groups that it is marked for."""

    __test__ = False

    tags: tuple[str, ...] = ()
    groups: tuple[GroupSpec, ...] = ()  # without selectors; without a name: for this test alone
