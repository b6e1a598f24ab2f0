"""Permanent lines: one for each event that needs one, the right one, and followed output line by line."""

from __future__ import annotations

import pytest

from ci_dispatch.core.codec import replace
from ci_dispatch.core.events import (
    AttemptFinished,
    AttemptOutput,
    Event,
    MachineChecked,
    MachineQuarantined,
    MachineReleased,
    RunResumed,
    Stamped,
    TestFinished,
)
from ci_dispatch.core.model import (
    AttemptResult,
    Ended,
    FailureCause,
    LeaseNumber,
    MachineName,
    MachineSpec,
    TestId,
    TestResult,
    Verdict,
)
from ci_dispatch.reporters.counts import clock, what_failed
from ci_dispatch.reporters.terminal.cells import UNICODE, text_of
from ci_dispatch.reporters.terminal.log_lines import LogLines, follows
from ci_dispatch.reporters.terminal.reporter import PlainReporter
from ci_dispatch.reporters.terminal.screen import JobLog
from ci_dispatch.run.state import RunState
from tests.recorded_runs import play, recorded
from tests.simulation import make_tests, run_started
from tests.unit.reporters.test_one_verdict import attempt


class Kept:
    busy = False

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, text: str) -> None:
        self.lines.append(text.removesuffix("\n"))

    def close(self) -> None:
        pass


def heartbeats(kept: Kept) -> list[str]:
    return [line for line in kept.lines if line.startswith("[")]


def reporter(kept: Kept) -> PlainReporter:
    return PlainReporter(kept, colour=False, glyphs=UNICODE, final=lambda _: ["the end"])


def shown(run: str, follow: str = "") -> list[str]:
    log, state, lines = LogLines(UNICODE, follow), RunState(), []
    for stamped in recorded(run):
        if not isinstance(stamped.event, AttemptOutput):
            state.apply(stamped)
        lines += [text_of(line) for line in log.lines(stamped, state)]
    return lines


def test_a_failure_shown_live_is_not_shown_again_at_the_end_of_its_attempt() -> None:
    first = [line for line in shown("troubled") if "product 1" in line and "attempt" not in line]
    assert len(first) == 1


def test_a_failure_not_shown_live_is_shown_at_the_end_of_its_attempt() -> None:
    assert sum("product 1" in line and "(attempt 2)" in line for line in shown("troubled")) == 1


def test_a_lost_machine_is_one_line_with_what_it_held() -> None:
    assert [line for line in shown("troubled") if "ilko2" in line] == [
        "! ilko2 lost: no heartbeat for 12 s; 5 tests to run elsewhere"
    ]


def test_health_is_shown_when_it_changes() -> None:
    assert [line for line in shown("troubled") if " pi " in f" {line} "][:2] == [
        "! pi unhealthy, gets no work: disk 97 % full",
        "pi is back",
    ]


def test_a_quarantine_and_its_end_are_one_line_each() -> None:
    log, state, name = LogLines(UNICODE, ""), RunState(), MachineName("pi")
    events: list[Event] = [
        run_started(make_tests(1), [MachineSpec(name=name)], {}),
        MachineQuarantined(machine=name, reason="nothing\nwent well"),
        MachineReleased(machine=name),
    ]
    lines = []
    for seq, event in enumerate(events, 1):
        stamped = Stamped(seq=seq, at=float(seq), event=event)
        state.apply(stamped)
        lines += [text_of(line) for line in log.lines(stamped, state)]
    assert lines[1:] == [
        "! pi quarantined, gets no more work: nothing went well",
        "pi gets work again: what it had under way went well",
    ]


def test_a_green_run_has_no_line_but_its_start() -> None:
    assert shown("green") == ["shop: 4 tests on 2 machines, planned 0:04, run 20270116-080000-c3d4"]


def test_followed_output_comes_in_whole_lines_as_indented_and_without_colour() -> None:
    lines = [line for line in shown("troubled", "local") if line.startswith("local │")]
    assert lines[:3] == [
        "local │   0 running green",
        "local │ ::set-output name=x::0",
        "local │ partial   1 running green",
    ]
    assert lines[-1] == "local │ partial"  # what was left when the attempt ended
    assert not [line for line in shown("troubled", "moruk") if "│" in line]


@pytest.mark.parametrize(
    ("target", "hit"),
    [("local", True), ("moruk", False), ("product 3", True), ("desktop|product 3 can be bought", True), ("", False),
     ("product 8", False), ("no such", False)],
)  # fmt: skip
def test_what_is_followed(target: str, hit: bool) -> None:
    state = play(recorded("troubled"))
    event = AttemptOutput(lease=LeaseNumber(1), machine=MachineName("local"), text="x")
    assert follows(target, event, state) is hit


def test_a_line_that_never_ends_is_shown_in_pieces() -> None:
    log, state = LogLines(UNICODE, "local"), play(recorded("troubled"))
    event = AttemptOutput(lease=LeaseNumber(1), machine=MachineName("local"), text="x" * 3000)
    stamped = Stamped(seq=1, at=0, event=event)
    assert [len(log.lines(stamped, state)) for _ in range(4)] == [0, 1, 0, 1]


def test_heartbeats_come_each_tenth_and_the_last_names_everything() -> None:
    kept = Kept()
    play(recorded("troubled"), reporter(kept))
    beats = heartbeats(kept)
    assert len(beats) == 10
    assert beats[-1] == (
        "[0:19] 19/20 95% ok 15 fail 2 flaky 1 skipped 1 not run 1 | ilko2 LOST pi QUARANTINED local 8/8 moruk 13/13"
    )
    assert kept.lines[-1].endswith("the end")


def test_a_heartbeat_comes_every_thirty_seconds_when_nothing_happens() -> None:
    kept, state = Kept(), play(recorded("green")[:3])
    plain = reporter(kept)
    for second in range(125):
        plain.tick(state.now + second, state)
    assert [line.split("]")[0] for line in heartbeats(kept)] == ["[0:00", "[0:30", "[1:00", "[1:30", "[2:00"]


def test_a_detail_that_is_cut_says_how_many_lines_more() -> None:
    out, state = Kept(), play(recorded("troubled")[:6])
    log = JobLog(out)
    github = PlainReporter(log, colour=False, glyphs=UNICODE, final=lambda _: [], command=log.command)
    failed = TestResult(test=next(iter(state.ledger.records)), verdict=Verdict.FAILED, detail="line\n" * 30)
    github.handle(Stamped(seq=7, at=state.now, event=TestFinished(lease=LeaseNumber(1), result=failed)), state)
    assert out.lines[1:-1] == ["│ line"] * 20 + ["│ ... 10 more lines"]


def test_no_line_is_wider_than_two_hundred_columns() -> None:
    kept = Kept()
    play(recorded("troubled"), reporter(kept))
    assert max(len(line) for line in kept.lines) <= 200


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({"message": "a\n\nb\nc\nd"}, "a · b · c"),
        ({"message": "AssertionError: x", "kind": "AssertionError"}, "AssertionError: x"),
        ({"message": "x", "kind": "AssertionError"}, "AssertionError: x"),
        ({"message": "", "kind": "AssertionError"}, "AssertionError"),
        ({"message": "\x1b[31mred\x1b[0m"}, "red"),
        ({}, ""),
    ],
)
def test_what_failed(result: dict[str, str], words: str) -> None:
    failed = TestResult(test=TestId("t"), verdict=Verdict.FAILED)
    assert what_failed(replace(failed, **result)) == words


def test_clock() -> None:
    assert [clock(seconds) for seconds in (-1, 0, 59.9, 60, 3599, 3600, 90_061)] == [
        "0:00", "0:00", "0:59", "1:00", "59:59", "1:00:00", "25:01:01",
    ]  # fmt: skip


def of_one_event(event: Event, *before: Event) -> list[str]:
    log, state = LogLines(UNICODE), RunState()
    started = run_started(make_tests(2), [MachineSpec(name=MachineName("local"), cores=1)], {})
    lines: list[str] = []
    for seq, each in enumerate((started, *before, event), 1):
        stamped = Stamped(seq=seq, at=float(seq), event=each)
        state.apply(stamped)
        lines = [text_of(line) for line in log.lines(stamped, state)]
    return lines


@pytest.mark.parametrize(
    ("ended", "cause", "reason", "words"),
    [
        (Ended.LEASE_ENDED, FailureCause.MACHINE, "", "machine: its lease ended, for no controller renewed it"),
        (Ended.TIMED_OUT, FailureCause.NONE, "", "timed out: it took longer than --shard-timeout allows"),
        (Ended.EXITED, FailureCause.CRASH, "SIGKILL", "crash: SIGKILL"),
    ],
)
def test_why_an_attempt_came_to_nothing_is_always_said(
    ended: Ended, cause: FailureCause, reason: str, words: str
) -> None:
    granted = attempt(1, "local", suspects=("t00000", "t00001"))[0]
    lines = tuple(TestResult(test=TestId(f"t0000{n}"), verdict=Verdict.NOT_RUN) for n in range(2))
    result = AttemptResult(ended=ended, cause=cause, reason=reason, results=lines)
    event = AttemptFinished(lease=LeaseNumber(1), machine=MachineName("local"), result=result)
    assert of_one_event(event, granted) == [f"! local: shard s1, {words}; 2 tests to run again or elsewhere"]


def test_a_healthy_machine_with_a_warning_says_it_once_before_its_first_work() -> None:
    slow = "Load 40.00 (10.00/core, limit 2): tests are slow there, and timeouts may strike"
    checked = MachineChecked(machine=MachineName("local"), healthy=True, reachable=True, problems=(slow,))
    assert of_one_event(checked) == [f"! local: {slow}"]
    assert of_one_event(checked, checked) == []
    assert of_one_event(checked, RunResumed(controller="c")) == [], "its load may be our own"
