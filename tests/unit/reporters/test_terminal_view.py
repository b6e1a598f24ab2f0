"""The live region keeps its promises at every size, for every name, and for 200 machines."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_dispatch.core.events import (
    Interrupted,
    LeaseGranted,
    MachineLost,
    MachineQuarantined,
    RunStarted,
    Stamped,
    TestFinished,
)
from ci_dispatch.core.model import (
    Lease,
    LeaseNumber,
    MachineName,
    MachineSpec,
    RunId,
    Shard,
    ShardId,
    ShardKind,
    Test,
    TestId,
    TestResult,
    UnitId,
    Verdict,
)
from ci_dispatch.demo.recording import demo_events
from ci_dispatch.reporters.terminal.cells import (
    ASCII,
    UNICODE,
    Glyphs,
    Style,
    ansi,
    cells,
    clip,
    fit,
    line_cells,
    text_of,
)
from ci_dispatch.reporters.terminal.view import render
from ci_dispatch.run.state import RunState
from report_merge.sanitize import one_line
from tests.data.runs.make_recorded import HOSTILE
from tests.recorded_runs import play


def run(machines: list[str], per_machine: int = 4, title: str = "t") -> RunState:
    """A run in which every machine has a lease on `per_machine` tests and has finished half of them."""
    state, seq = RunState(), 0

    def say(event: object) -> None:
        nonlocal seq
        seq += 1
        state.apply(Stamped(seq=seq, at=float(seq) / 100, event=event))  # type: ignore[arg-type]

    names = [MachineName(name) for name in dict.fromkeys(machines)]
    tests = {
        name: [
            Test(id=TestId(f"{n}-{i}"), unit=UnitId(f"{n}-{i}"), title=(f"{title} {i}",)) for i in range(per_machine)
        ]
        for n, name in enumerate(names)
    }
    say(
        RunStarted(
            run=RunId("r"),
            title=title,
            runner="pytest",
            tests=tuple(test for mine in tests.values() for test in mine),
            machines=tuple(MachineSpec(name=name) for name in names),
        )
    )
    for number, name in enumerate(names, 1):
        ids = tuple(test.id for test in tests[name])
        shard = Shard(id=ShardId(str(number)), kind=ShardKind.HEAD, tests=ids)
        lease = Lease(number=LeaseNumber(number), shard=shard, machine=name, granted=0)
        say(LeaseGranted(lease=lease))
        for test in ids[::2]:
            say(TestFinished(lease=lease.number, result=TestResult(test=test, verdict=Verdict.PASSED)))
    return state


def failing(state: RunState, lease: int, test: str) -> None:
    result = TestResult(test=TestId(test), verdict=Verdict.FAILED)
    state.apply(Stamped(seq=state.seq + 1, at=state.now, event=TestFinished(lease=LeaseNumber(lease), result=result)))


def shown(state: RunState, width: int, height: int = 24, glyphs: Glyphs = UNICODE) -> list[str]:
    return [text_of(line) for line in render(state, state.now, width, height, glyphs)]


@given(
    names=st.lists(st.one_of(st.text(min_size=1, max_size=40), st.sampled_from(HOSTILE)), min_size=1, max_size=30),
    title=st.one_of(st.text(max_size=60), st.sampled_from(HOSTILE)),
    width=st.integers(1, 220),
    height=st.integers(1, 60),
    glyphs=st.sampled_from([UNICODE, ASCII]),
)
def test_no_line_is_too_wide_none_is_a_control_and_the_total_is_last(
    names: list[str], title: str, width: int, height: int, glyphs: Glyphs
) -> None:
    state = run(names, title=title)
    lines = render(state, state.now + 3, width, height, glyphs)
    assert 1 <= len(lines) <= max(1, min(16, height - 4))
    for line in lines:
        assert line_cells(line) <= max(8, width - 1)
        assert not any(unicodedata.category(char) in ("Cc", "Cs") for char in text_of(line))
    if width >= 20:
        assert text_of(lines[-1]).startswith("total")


def test_before_the_run_there_is_nothing_to_show() -> None:
    assert render(RunState(), 0.0, 80, 24, UNICODE) == []


@pytest.mark.parametrize("height", [6, 10, 24, 50])
def test_two_hundred_machines_fit_and_none_is_forgotten(height: int) -> None:
    state = run([f"m{n:03}" for n in range(200)])
    lines = shown(state, 100, height)
    bars = len(lines) - 2
    assert lines[-2].startswith(f"… {200 - bars} more machines ok (")
    assert lines[-1].startswith("total")


def test_machines_without_work_come_first_and_are_counted_where_they_are_hidden() -> None:
    state = run([f"m{n:03}" for n in range(200)])
    for number in range(150, 190):
        lost = MachineLost(machine=MachineName(f"m{number}"), reason="no heartbeat")
        state.apply(Stamped(seq=state.seq + 1, at=state.now, event=lost))
    lines = shown(state, 100)
    assert all(" lost 0:00 ago" in line for line in lines[:-2])
    assert f"{40 - (len(lines) - 2)} not usable" in lines[-2]


def test_when_not_all_fit_failures_are_shown_before_the_rest() -> None:
    state = run([f"m{n:03}" for n in range(50)])
    failing(state, 40, "39-1")
    first = shown(state, 80)[0]
    assert first.startswith("m039")
    assert "✗1" in first


def test_machines_stay_where_they_are_while_all_fit() -> None:
    state = run(["b", "a", "c"])
    failing(state, 3, "2-1")
    assert [line[0] for line in shown(state, 80)] == ["b", "a", "c", "t"]
    quarantined = MachineQuarantined(machine=MachineName("c"), reason="every attempt fails")
    state.apply(Stamped(seq=state.seq + 1, at=state.now, event=quarantined))
    assert [line[0] for line in shown(state, 80)] == ["c", "b", "a", "t"]
    assert "quarantined after 3 tests: every attempt fails" in shown(state, 80)[0]


def test_what_a_width_has_room_for() -> None:
    state = run(["moruk"], per_machine=10)
    failing(state, 1, "0-1")
    assert [shown(state, width)[0] for width in (110, 70, 50, 40)] == [
        "moruk  [██████████████░░░░░░░░░░] 6/10  ✗1       0:00  t 1",
        "moruk  [████████████░░░░░░░░] 6/10  ✗1       0:00",
        "moruk  [██████░░░░] 6/10  ✗1",
        "moruk  6/10  ✗1",
    ]
    assert shown(state, 60, glyphs=ASCII)[0] == "moruk  [######----] 6/10  FAIL 1"


def test_a_failure_is_at_least_one_red_cell_and_only_a_whole_bar_is_full() -> None:
    state = run(["m"], per_machine=1000)
    failing(state, 1, "0-1")
    red = [text for text, style in render(state, 1.0, 80, 24, UNICODE)[0] if style is Style.BAD_BAR]
    assert red == ["█"]
    last = run(["m"], per_machine=999)
    for test in range(1, 997, 2):
        failing(last, 1, f"0-{test}")
    first = shown(last, 80)[0]
    assert "998/999" in first
    assert "░" in first


def test_an_interrupted_run_says_so() -> None:
    state = run(["m"])
    state.apply(Stamped(seq=state.seq + 1, at=state.now, event=Interrupted(signal=2)))
    assert "interrupted: finishing" in shown(state, 100)[-1]


def test_the_estimate_counts_live_results_and_ends_with_the_run() -> None:
    events = list(demo_events())
    half = play([event for event in events if event.at <= 6.5])
    assert "~0:" in shown(half, 100)[-1]
    assert "left" not in shown(play(events), 100)[-1]


def test_names_are_cut_in_the_middle_and_wide_characters_count_twice() -> None:
    assert fit("checkout.spec.ts › pays [desktop]", 20) == "checkout.s…[desktop]"
    assert fit("short", 20) == "short"
    wide = fit("日本語のテスト名はとても幅が広い", 11)
    assert cells(wide) <= 11
    assert "…" in wide
    assert fit("abc", 0) == ""


@given(st.lists(st.tuples(st.text(max_size=30).map(one_line), st.sampled_from(list(Style)))), st.integers(1, 40))
def test_a_clipped_line_never_exceeds_its_width(pieces: list[tuple[str, Style]], width: int) -> None:
    assert line_cells(clip(tuple(pieces), width)) <= width


def test_what_is_painted_has_no_sequence_but_ours() -> None:
    line = (("\x1b[2Jcleared\x07", Style.PLAIN), ("\u202egreen", Style.GOOD))
    assert ansi(line) == "cleared\x1b[32mgreen\x1b[0m"
    assert text_of(line) == "clearedgreen"
