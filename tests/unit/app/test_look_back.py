"""What a run's report says of the runs before it: new or not, since when, how flaky; the same in every place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from ci_dispatch.app.run_history import RunHistory, file_in
from ci_dispatch.config import load
from ci_dispatch.core.model import RunId, Verdict
from ci_dispatch.history.look_back import since_green
from ci_dispatch.history.store import HistoryStore
from ci_dispatch.history.values import PastRun, PastTest, RecordedRun
from ci_dispatch.reporters.metrics.figures import figures, json_values
from ci_dispatch.reporters.slack import messages
from ci_dispatch.reporters.slack.transitions import compare
from ci_dispatch.reporters.terminal import last_lines
from ci_dispatch.run.run_report import ReportCache
from ci_dispatch.run.state import RunState
from report_merge import failures
from report_merge.model import RunContext
from report_merge.render.html import page
from report_merge.render.markdown import job_summary
from tests.recorded_runs import play, recorded

DAY = 86_400.0
FIRST = 1_795_000_000.0  # 2026-11-18
CONFIG = load("").config


class Room:
    """A suite with a history, and a run of it that has just ended."""

    def __init__(self, base: Path) -> None:
        self.base, self.warned = base, list[str]()
        self.state: RunState = play(recorded("troubled"))
        of = {str(record.verdict): record.test for record in self.state.ledger.records.values()}
        self.failed, self.passed, self.flaky = of["failed"], of["passed"], of["flaky"]
        base.mkdir()

    def ran(self, day: int, verdicts: Mapping[Verdict, str], branch: str = "main", **more: str) -> None:
        """A run of that day: what each of the three tests came to, by its verdict now."""
        tests = {"failed": self.failed, "passed": self.passed, "flaky": self.flaky}
        past = [PastTest(id=tests[now].id, verdict=then) for then, names in verdicts.items() for now in names.split()]
        run = PastRun(
            id=RunId(more.get("id", f"day-{day}-{branch}")),
            at=FIRST + day * DAY,
            title=more.get("title", "Shop"),
            branch=branch,
            sha=f"{day}abcdef0123",
            verdict=more.get("verdict", "FAILED"),
            seconds=60.0,
        )
        with HistoryStore(file_in(self.base)) as store:
            store.add([RecordedRun(run=run, tests=tuple(sorted(past, key=lambda test: test.id)))])

    def reports(self, branch: str = "main") -> ReportCache:
        assert self.state.started is not None
        history = RunHistory(self.base, CONFIG, self.warned.append, default_branch=lambda: "main")
        context = RunContext(title="Shop", branch=branch, sha="f00dface", run_id=str(self.state.started.run))
        return ReportCache(context, history.look_back)

    def outcomes(self, branch: str = "main") -> str:
        history = RunHistory(self.base, CONFIG, self.warned.append, default_branch=lambda: "main")
        return history.outcomes(RunContext(title="Shop", branch=branch), self.failed.id)

    def told(self, branch: str = "main") -> str:
        """What is said of the one that failed."""
        [case] = [case for case in self.reports(branch).of(self.state).cases if case.key == self.failed.key]
        return case.since

    def against(self, branch: str = "main") -> str:
        comparison = self.reports(branch).past(self.state).comparison
        return comparison.label if comparison else ""


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path / ".ci-dispatch")


FAILED, PASSED, FLAKY, SKIPPED, NOT_RUN = (
    Verdict.FAILED, Verdict.PASSED, Verdict.FLAKY, Verdict.SKIPPED, Verdict.NOT_RUN,
)  # fmt: skip


def test_a_failure_is_new_or_it_is_told_since_which_run(room: Room) -> None:
    assert room.told() == ""  # no history: nobody knows
    room.ran(1, {PASSED: "failed"})
    assert room.told() == "this run"
    room.ran(2, {FAILED: "failed"})
    room.ran(3, {SKIPPED: "failed"})
    room.ran(4, {NOT_RUN: "failed"})
    room.ran(5, {FAILED: "failed"})
    assert room.told() == "2026-11-20, main 2abcdef"
    room.ran(6, {FLAKY: "failed"})
    assert room.told() == "this run"


def test_the_branch_s_own_runs_say_since_when_and_else_the_default_branch_s(room: Room) -> None:
    room.ran(1, {FAILED: "failed"})
    room.ran(2, {FAILED: "failed"}, "other")
    assert room.told("topic") == "2026-11-19, main 1abcdef"
    room.ran(3, {PASSED: "failed"}, "topic")
    room.ran(4, {FAILED: "failed"}, "topic")
    room.ran(5, {PASSED: "failed"})
    assert room.told("topic") == "2026-11-22, topic 4abcdef"


def test_it_is_compared_with_the_last_run_of_the_default_branch_or_else_of_its_own(room: Room) -> None:
    assert room.against() == ""
    room.ran(1, {PASSED: "failed"}, "topic")
    assert room.against("topic") == "topic 1abcdef"
    assert room.against("another") == ""
    room.ran(2, {PASSED: "failed"})
    room.ran(3, {PASSED: "failed"}, verdict="INTERRUPTED")
    room.ran(4, {PASSED: "failed"}, title="Desk")
    assert room.against("topic") == room.against("another") == "main 2abcdef"


def test_a_run_without_a_branch_is_compared_with_the_one_before_it(room: Room) -> None:
    room.ran(1, {PASSED: "failed"})
    assert room.against("") == ""
    room.ran(2, {FAILED: "failed"}, "", id="at-a-desk")
    assert room.against("") == "run at-a-desk"
    assert room.told("") == "2026-11-20, run at-a-desk"


def test_a_second_attempt_is_not_compared_with_its_own_first(room: Room) -> None:
    assert room.state.started is not None
    room.ran(1, {PASSED: "failed"})
    room.ran(2, {FAILED: "failed"}, id=str(room.state.started.run))
    assert (room.against(), room.told()) == ("main 1abcdef", "this run")


def test_a_run_that_is_looked_at_later_is_compared_with_what_was_before_it(room: Room) -> None:
    begun = (room.state.started_at - FIRST) / DAY
    room.ran(1, {PASSED: "failed"})
    room.ran(int(begun) + 1, {FAILED: "failed"}, id="later")
    assert (room.against(), room.told()) == ("main 1abcdef", "this run")


def test_what_a_selection_left_out_was_neither_removed_nor_added(room: Room) -> None:
    room.ran(1, {FAILED: "passed", PASSED: "failed flaky"})
    comparison = room.reports().past(room.state).comparison
    assert comparison is not None
    assert [case.key for case in comparison.fixed] == [room.passed.key]
    assert room.failed.key in comparison.new_keys()
    assert (comparison.added, comparison.removed, comparison.slower) == ((), (), ())
    assert comparison.totals.tests == 3


def test_every_place_says_the_same(room: Room) -> None:
    for day in range(1, 5):
        room.ran(day, {FLAKY: "flaky", FAILED: "passed failed"} if day % 2 else {PASSED: "flaky", FAILED: "failed"})
    room.ran(5, {PASSED: "flaky", FAILED: "passed failed"})
    reports = room.reports()
    report, comparison = reports.of(room.state), reports.past(room.state).comparison
    groups = failures.group(report.cases)
    change = compare(None, bad=True)
    pages = {
        "terminal": "\n".join(last_lines(room.state, report, "", comparison)),
        "summary": job_summary(report, comparison=comparison).replace("\\", ""),
        "html": page(report, comparison=comparison),
    }
    since = "fails since 2026-11-19, main 1abcdef"
    for name, text in pages.items():
        assert since in text, name
        assert "flaky in 2 of 5 runs" in text, name
    assert "1 new failure" in pages["summary"].splitlines()[0]
    [line] = [line for line in pages["terminal"].splitlines() if line.startswith("since ")]
    assert line == "since main 5abcdef: 1 new failure, 1 still failing, 1 fixed, 1 newly flaky"
    slack = str(messages.final(room.state, report, groups, change, comparison).blocks)
    assert line in slack
    assert "flaky in 2 of 5 runs" in slack
    replies = str(messages.replies(groups, report.context, change))
    assert since in replies
    assert "flaky in 2 of 5 runs" in replies


def test_metrics_say_how_flaky_and_since_how_many_runs_it_is_not_green(room: Room) -> None:
    def told(slowest: int = 0) -> dict[str, object]:
        return json_values(figures(room.state, room.reports().past(room.state), slowest=slowest))

    assert told()["flaky_rate"] == []
    room.ran(1, {FLAKY: "flaky", PASSED: "failed"})
    assert "runs_since_green" not in told()  # it was never seen green
    room.ran(2, {PASSED: "flaky failed"}, verdict="PASSED")
    room.ran(3, {FLAKY: "failed", PASSED: "flaky"}, "topic", verdict="PASSED")
    room.ran(4, {FLAKY: "failed", PASSED: "flaky"}, verdict="INTERRUPTED")
    room.ran(5, {FAILED: "failed", PASSED: "flaky"}, verdict="INCOMPLETE")
    values = told(slowest=5)
    assert values["runs_since_green"] == 2
    assert values["flaky_rate"] == [{"result": "failed", "value": 0.25}, {"result": "flaky", "value": 0.25}]
    assert [one["value"] for one in values["test_flaky_rate"]] == [0.25, 0.25]  # type: ignore[attr-defined]
    assert told()["flaky_rate"]
    assert "test_flaky_rate" not in told()


def test_a_green_run_is_green_since_itself() -> None:
    assert since_green([], "main", passed=True) == 0


def test_the_dashboard_is_told_how_a_test_ended_before(room: Room) -> None:
    assert room.outcomes() == ""
    for day, verdict in enumerate((PASSED, FLAKY, FAILED, SKIPPED, NOT_RUN), 1):
        room.ran(day, {verdict: "failed"})
    room.ran(6, {FAILED: "passed"})
    room.ran(7, {FAILED: "failed"}, "other")
    assert room.outcomes() == ".~F-?"
    assert room.outcomes("topic") == ".~F-?"
    assert room.warned == []


def test_a_history_that_is_damaged_costs_the_comparison_and_nothing_else(room: Room) -> None:
    file_in(room.base).write_bytes(b"x" * 5000)
    reports = room.reports()
    assert reports.past(room.state).comparison is None
    assert reports.of(room.state).totals.failed
    assert len(room.warned) == 1


def test_the_history_is_asked_once(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    room.ran(1, {PASSED: "failed"})
    reports = room.reports()
    first = reports.of(room.state)
    monkeypatch.setattr(HistoryStore, "of_test", None)
    assert reports.of(room.state) is first
    assert reports.past(room.state).comparison is not None
    assert room.warned == []
