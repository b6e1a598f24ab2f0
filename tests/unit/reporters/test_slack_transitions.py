"""Broken, still failing, fixed: who is notified, and what is remembered."""

from __future__ import annotations

from pathlib import Path

import pytest

from ci_dispatch.config.choices import When
from ci_dispatch.config.sections import SlackChannel
from ci_dispatch.reporters.slack.transitions import (
    LastNotified,
    MessagePlace,
    SlackMemory,
    Transition,
    VerdictChange,
    after,
    compare,
    key,
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


def test_memory_comes_back_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "slack.json"
    memory = SlackMemory.load(file)
    place = MessagePlace(channel="C1", ts="1.2")
    last = LastNotified(bad=True, since=1.5, runs=2, fingerprints=("a",), place=place, text="t",
                        blocks=({"type": "divider"},))  # fmt: skip
    memory.put(key("C1", "o/r", "shop", "main"), last)
    memory.unfinished["run C1"] = MessagePlace(channel="C1", ts="3.4")
    memory.save()
    again = SlackMemory.load(file)
    assert (again.notified, again.unfinished, again.note) == (memory.notified, memory.unfinished, "")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"v": 2}',
        '{"v": 1}',
        '{"v": 1, "last": {"x": {}}, "unfinished": {}}',
        '{"v": 1, "last": [], "unfinished": {}}',
        "\x00\xff",
    ],
)
def test_a_memory_that_cannot_be_read_is_no_memory_and_says_so(tmp_path: Path, text: str) -> None:
    file = tmp_path / "slack.json"
    file.write_text(text, encoding="latin-1")
    memory = SlackMemory.load(file)
    assert memory.notified == {}
    assert "forgotten" in memory.note


def test_the_oldest_records_go_first(tmp_path: Path) -> None:
    memory = SlackMemory.load(tmp_path / "slack.json")
    for number in range(600):
        memory.put(str(number), GOOD)
    memory.put("3", BAD)  # notified again
    memory.save()
    kept = SlackMemory.load(tmp_path / "slack.json").notified
    assert len(kept) == 500
    assert "3" in kept
    assert "99" not in kept
