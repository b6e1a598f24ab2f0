"""Broken, still failing, fixed: who is notified, and what is remembered."""

from __future__ import annotations

import pytest

from ci_dispatch.config.choices import When
from ci_dispatch.config.slack import SlackChannel
from ci_dispatch.reporters import EarlierRun
from ci_dispatch.reporters.slack.transitions import (
    LastNotified,
    MessagePlace,
    SlackMemory,
    Transition,
    VerdictChange,
    after,
    compare,
    key,
    of_history,
    wants,
)

GOOD, BAD = LastNotified(bad=False, since=1.0), LastNotified(bad=True, since=2.0, runs=3, fingerprints=("f",))


@pytest.mark.parametrize(
    ("before", "bad", "transition", "runs"),
    [
        (None, False, Transition.NONE, 1),
        (None, True, Transition.BROKEN, 1),
        (GOOD, False, Transition.NONE, 2),
        (GOOD, True, Transition.BROKEN, 1),
        (BAD, True, Transition.STILL_FAILING, 4),
        (BAD, False, Transition.FIXED, 1),
    ],
)
def test_transitions(before: LastNotified | None, bad: bool, transition: Transition, runs: int) -> None:
    change = compare(before, bad=bad)
    assert (change.transition, change.runs) == (transition, runs)


def test_the_start_of_a_break_is_kept_while_it_lasts() -> None:
    first = after(compare(GOOD, bad=True), 10.0, ("a",))
    assert first == LastNotified(bad=True, since=10.0, fingerprints=("a",))
    second = after(compare(first, bad=True), 20.0, ("a", "b"))
    assert (second.since, second.runs, second.fingerprints) == (10.0, 2, ("a", "b"))
    assert after(compare(second, bad=False), 30.0, ()) == LastNotified(bad=False, since=30.0)


TABLE = {
    When.ALWAYS: "broken still fixed green",
    When.FAILURE: "broken still",
    When.CHANGE: "broken fixed",
    When.FAILURE_AND_RECOVERY: "broken still fixed",
}


@pytest.mark.parametrize("when", When)
def test_who_is_notified_of_what(when: When) -> None:
    runs = {
        "broken": compare(GOOD, bad=True),
        "still": compare(BAD, bad=True),
        "fixed": compare(BAD, bad=False),
        "green": compare(GOOD, bad=False),
    }
    notified = [name for name, change in runs.items() if wants(SlackChannel(id="C1", when=when), change, "main")]
    assert notified == TABLE[when].split()


@pytest.mark.parametrize(
    ("patterns", "branch", "notified"),
    [((), "x", True), (("main",), "main", True), (("main",), "topic", False), (("release/*",), "release/2", True),
     (("main",), "", False), (("m*", "x"), "x", True)],
)  # fmt: skip
def test_branches(patterns: tuple[str, ...], branch: str, notified: bool) -> None:
    change = VerdictChange(transition=Transition.BROKEN, bad=True)
    assert wants(SlackChannel(id="C1", branches=patterns), change, branch) is notified


def test_memory_comes_back_as_it_was() -> None:
    kept: dict[str, bytes] = {}
    place = MessagePlace(channel="C1", ts="1.2")
    last = LastNotified(bad=True, since=1.5, runs=2, fingerprints=("a",), place=place, text="t",
                        blocks=({"type": "divider"},))  # fmt: skip
    SlackMemory(kept).remember(key("C1", "o/r", "shop", "main"), last)
    SlackMemory(kept).remember_place("run", "C1", place)
    again = SlackMemory(kept)
    assert again.last(key("C1", "o/r", "shop", "main")) == last
    assert again.last(key("C1", "o/r", "shop", "topic")) is None
    assert (again.place("run", "C1"), again.place("run", "C2")) == (place, None)
    again.forget_place("run", "C1")
    again.forget_place("never", "C1")
    assert (again.place("run", "C1"), again.problems()) == (None, [])


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b'{"bad": 1, "since": 2}', b"\x00\xff"])
def test_a_memory_that_cannot_be_read_is_no_memory_and_says_so(data: bytes) -> None:
    memory = SlackMemory({"notified k": data})
    assert memory.last("k") is None
    assert "forgotten" in memory.problems()[0]
    assert memory.problems() == []


def test_a_channel_that_was_never_notified_compares_with_the_last_run_of_the_branch() -> None:
    assert of_history(None) is None
    red = of_history(EarlierRun(passed=False, at=5.0, fingerprints=("f",)))
    assert red is not None
    change = compare(red, bad=True)
    assert (change.transition, change.runs) == (Transition.STILL_FAILING, 2)
    assert after(change, 9.0, ("g",)) == LastNotified(bad=True, since=5.0, runs=2, fingerprints=("g",))
    assert compare(red, bad=False).transition is Transition.FIXED
    assert compare(of_history(EarlierRun(passed=True, at=5.0)), bad=True).transition is Transition.BROKEN
