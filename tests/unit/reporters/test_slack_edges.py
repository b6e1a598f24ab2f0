"""Broken, still failing, fixed: who hears of it, and what is remembered."""

from __future__ import annotations

from pathlib import Path

import pytest

from ci_dispatch.config.sections import SlackChannel, When
from ci_dispatch.reporters.slack.edges import Change, Edge, Memory, Place, Told, after, change, key, wants

GOOD, BAD = Told(bad=False, since=1.0), Told(bad=True, since=2.0, runs=3, fingerprints=("f",))


@pytest.mark.parametrize(
    ("before", "bad", "edge", "runs"),
    [
        (None, False, Edge.NONE, 1),
        (None, True, Edge.BROKEN, 1),
        (GOOD, False, Edge.NONE, 2),
        (GOOD, True, Edge.BROKEN, 1),
        (BAD, True, Edge.STILL_FAILING, 4),
        (BAD, False, Edge.FIXED, 1),
    ],
)
def test_edges(before: Told | None, bad: bool, edge: Edge, runs: int) -> None:
    moved = change(before, bad=bad)
    assert (moved.edge, moved.runs) == (edge, runs)


def test_the_start_of_a_break_is_kept_while_it_lasts() -> None:
    first = after(change(GOOD, bad=True), 10.0, ("a",))
    assert first == Told(bad=True, since=10.0, fingerprints=("a",))
    second = after(change(first, bad=True), 20.0, ("a", "b"))
    assert (second.since, second.runs, second.fingerprints) == (10.0, 2, ("a", "b"))
    assert after(change(second, bad=False), 30.0, ()) == Told(bad=False, since=30.0)


TABLE = {
    When.ALWAYS: "broken still fixed green",
    When.FAILURE: "broken still",
    When.CHANGE: "broken fixed",
    When.FAILURE_AND_RECOVERY: "broken still fixed",
}


@pytest.mark.parametrize("when", When)
def test_who_hears_what(when: When) -> None:
    runs = {
        "broken": change(GOOD, bad=True),
        "still": change(BAD, bad=True),
        "fixed": change(BAD, bad=False),
        "green": change(GOOD, bad=False),
    }
    heard = [name for name, moved in runs.items() if wants(SlackChannel(id="C1", when=when), moved, "main")]
    assert heard == TABLE[when].split()


@pytest.mark.parametrize(
    ("patterns", "branch", "heard"),
    [((), "x", True), (("main",), "main", True), (("main",), "topic", False), (("release/*",), "release/2", True),
     (("main",), "", False), (("m*", "x"), "x", True)],
)  # fmt: skip
def test_branches(patterns: tuple[str, ...], branch: str, heard: bool) -> None:
    moved = Change(edge=Edge.BROKEN, bad=True)
    assert wants(SlackChannel(id="C1", branches=patterns), moved, branch) is heard


def test_memory_comes_back_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "slack.json"
    memory = Memory.load(file)
    told = Told(bad=True, since=1.5, runs=2, fingerprints=("a",), place=Place(channel="C1", ts="1.2"), text="t",
                blocks=({"type": "divider"},))  # fmt: skip
    memory.put(key("C1", "o/r", "shop", "main"), told)
    memory.unfinished["run C1"] = Place(channel="C1", ts="3.4")
    memory.save()
    again = Memory.load(file)
    assert (again.records, again.unfinished, again.note) == (memory.records, memory.unfinished, "")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"v": 2}',
        '{"v": 1}',
        '{"v": 1, "told": {"x": {}}, "unfinished": {}}',
        '{"v": 1, "told": [], "unfinished": {}}',
        "\x00\xff",
    ],
)
def test_a_memory_that_cannot_be_read_is_no_memory_and_says_so(tmp_path: Path, text: str) -> None:
    file = tmp_path / "slack.json"
    file.write_text(text, encoding="latin-1")
    memory = Memory.load(file)
    assert memory.records == {}
    assert "forgotten" in memory.note


def test_the_oldest_records_go_first(tmp_path: Path) -> None:
    memory = Memory.load(tmp_path / "slack.json")
    for number in range(600):
        memory.put(str(number), GOOD)
    memory.put("3", BAD)  # told again
    memory.save()
    kept = Memory.load(tmp_path / "slack.json").records
    assert len(kept) == 500
    assert "3" in kept
    assert "99" not in kept
