"""The small parts of the dashboard: who may look, words, timelines, tails, one test, journals as they grow."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_dispatch.core.codec import replace
from ci_dispatch.core.errors import UsageError
from ci_dispatch.core.events import AttemptOutput, AttemptStarted, Interrupted, Stamped, TestFinished, Warned
from ci_dispatch.core.model import (
    Ended,
    LeaseNumber,
    MachineName,
    MachineSpec,
    RunId,
    Test,
    TestId,
    TestResult,
    UnitId,
    Verdict,
)
from ci_dispatch.reporters.dashboard import auth, failure_groups, snapshot
from ci_dispatch.reporters.dashboard.journal_source import JournalSource, LiveSource, ReplaySource
from ci_dispatch.reporters.dashboard.timeline import ROWS, MachineTimeline, Timelines
from ci_dispatch.reporters.dashboard.view_model import OutputTails
from ci_dispatch.run.journal import dumps
from ci_dispatch.run.state import MachineState, RunState
from tests.data.dashboard.simulated import START, Simulation
from tests.unit.report_merge.test_escape import HOSTILE
from tests.unit.reporters.test_dashboard_view_model import begun, ended, granted, model_of, result, run_started

TOKEN = "s3cret-token_of~the-run"


class TestAuth:
    @pytest.mark.parametrize(
        "host", ["127.0.0.1", "127.0.0.1:80", "localhost:9", "LOCALHOST", "[::1]:80", "[::1]", "10.0.0.7:1"]
    )
    def test_names_that_cannot_be_rebound(self, host: str) -> None:
        assert auth.host_allowed(host, "127.0.0.1")

    @pytest.mark.parametrize(
        "host", ["", "evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil", "[::1", ":80"]
    )
    def test_names_that_somebody_else_can_point_here(self, host: str) -> None:
        assert not auth.host_allowed(host, "127.0.0.1")

    def test_the_name_it_listens_on(self) -> None:
        assert auth.host_allowed("Build.Example:80", "build.example")
        assert not auth.host_allowed("", "")

    @pytest.mark.parametrize(
        "headers",
        [
            {"cookie": f"ci-dispatch-80={TOKEN}"},
            {"cookie": f"a=b; ci-dispatch-80={TOKEN}; c=d"},
            {"authorization": f"Bearer {TOKEN}"},
        ],
    )
    def test_the_token_opens(self, headers: dict[str, str]) -> None:
        assert auth.has_token(headers, 80, TOKEN)

    @pytest.mark.parametrize(
        "headers",
        [
            {}, {"cookie": ""}, {"cookie": f"ci-dispatch-81={TOKEN}"}, {"cookie": "ci-dispatch-80="},
            {"cookie": ";;=\x01"},
            {"cookie": f"ci-dispatch-80={TOKEN}x"}, {"authorization": TOKEN}, {"authorization": f"Basic {TOKEN}"},
            {"authorization": "Bearer é"},
        ],
    )  # fmt: skip
    def test_nothing_else_does(self, headers: dict[str, str]) -> None:
        assert not auth.has_token(headers, 80, TOKEN)

    def test_the_cookie_is_kept_from_scripts_and_other_sites(self) -> None:
        assert auth.set_cookie(80, TOKEN) == f"ci-dispatch-80={TOKEN}; Path=/; HttpOnly; SameSite=Strict"

    def test_new_tokens_differ_and_are_long(self) -> None:
        assert len({auth.new_token() for _ in range(10)}) == 10
        assert len(auth.new_token()) >= 32

    def test_a_fixed_token_must_be_worth_the_name(self) -> None:
        assert auth.fixed_token({}) == ""
        assert auth.fixed_token({"CI_DISPATCH_DASHBOARD_TOKEN": TOKEN}) == TOKEN
        for bad in ("short", "with space and more", "é" * 20, "a/b" * 10):
            with pytest.raises(UsageError, match="CI_DISPATCH_DASHBOARD_TOKEN"):
                auth.fixed_token({"CI_DISPATCH_DASHBOARD_TOKEN": bad})


class TestWords:
    def state(self, tests: int = 3) -> RunState:
        return model_of(*begun(tests)).state

    def test_phases(self) -> None:
        state = self.state()
        assert snapshot.phase_of(RunState(), 0.0) == "starting"
        assert snapshot.phase_of(state, state.now + snapshot.LOST_AFTER) == "running"
        assert snapshot.phase_of(state, state.now + snapshot.LOST_AFTER + 1) == "lost"
        state.apply(Stamped(seq=9, at=state.now, event=Interrupted(signal=2)))
        assert snapshot.phase_of(state, state.now) == "stopping"

    @pytest.mark.parametrize(
        ("counts", "sentence"),
        [
            ({}, "0 of 3 tests done, none failed"),
            ({"passed": 2}, "2 of 3 tests done, none failed"),
            ({"passed": 3}, "3 tests, nothing failed"),
            ({"passed": 2, "flaky": 1}, "3 tests, nothing failed, 1 flaky"),
            ({"failed": 1, "flaky": 1}, "1 of 3 tests failed so far, 1 flaky"),
            ({"not run": 2}, "2 not run"),
        ],
    )
    def test_the_number_that_matters_comes_first(self, counts: dict[str, int], sentence: str) -> None:
        assert snapshot.sentence(self.state(), counts) == sentence

    def test_no_test_is_never_a_pass(self) -> None:
        assert snapshot.sentence(RunState(), {}) == "no test is known yet"

    @pytest.mark.parametrize(
        ("seconds", "expected", "slow"),
        [
            (4.0, 0.1, False),
            (6.0, 4.0, False),
            (9.0, 4.0, True),
            (29.0, None, False),
            (31.0, None, True),
            (None, 1.0, False),
        ],
    )
    def test_slow(self, seconds: float | None, expected: float | None, slow: bool) -> None:
        known = {} if expected is None else {"t0": expected}
        state = model_of(*begun(1, expected_seconds=known)).state
        assert snapshot.is_slow(result(0, seconds=seconds), state) is slow

    @pytest.mark.parametrize("seconds", [math.nan, math.inf, -math.inf, None])
    def test_a_time_that_is_no_number_is_no_time(self, seconds: float | None) -> None:
        assert snapshot.seconds_of(result(0, seconds=seconds)) is None

    @pytest.mark.parametrize("name", HOSTILE)
    def test_foreign_names_arrive_on_one_line_without_controls(self, name: str) -> None:
        test = Test(id=TestId("t"), unit=UnitId("t"), title=(name,), file=name, project=name)
        started = replace(run_started(), run=RunId(name), title=name, tests=(test,), machines=())
        state = RunState()
        state.apply(Stamped(seq=1, at=1.0, event=started))
        told = [*snapshot.names(state)[0], snapshot.head(state, {}, 1.0)["title"]]
        machine = snapshot.machine(
            MachineState(MachineSpec(name=MachineName(name))), None, snapshot.positions_of(state)
        )
        for text in [*told, machine["name"]]:
            assert not any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 or char in "\u202e\u2066" for char in text)
            assert len(text) <= 300


class TestTimelines:
    def test_tests_at_the_same_time_get_rows_of_their_own(self) -> None:
        timeline = MachineTimeline()
        for start, end in [(0, 4), (1, 3), (3, 6), (4, 5)]:
            timeline.add(TestId("t"), start, end, Verdict.PASSED)
        assert [span.row for span in timeline.spans] == [0, 1, 1, 0]

    @given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 20)), max_size=200))
    def test_spans_of_one_row_never_overlap_by_more_than_clocks_do(self, times: list[tuple[float, float]]) -> None:
        timeline = MachineTimeline()
        for start, took in sorted(times, key=lambda time: time[0] + time[1]):
            timeline.add(TestId("t"), start, start + took, Verdict.PASSED)
        assert timeline.rows <= ROWS
        ends: dict[int, float] = {}
        for span in timeline.spans:
            assert span.start <= span.end
            assert span.start >= ends.get(span.row, 0.0) - 0.0500001
            ends[span.row] = max(span.end, ends.get(span.row, 0.0))

    def test_a_test_cannot_have_begun_before_its_attempt(self) -> None:
        events = [*begun(1), granted(1, "a", 0), AttemptStarted(lease=LeaseNumber(1))]
        state = model_of(*events).state
        timelines = Timelines(10)
        finished = TestFinished(lease=LeaseNumber(1), result=result(0, seconds=900.0))
        assert timelines.apply(Stamped(seq=9, at=110.0, event=finished), state) == "a"
        (span,) = timelines.of(MachineName("a")).spans
        assert (span.start, span.end) == (103.0, 110.0)

    def test_a_lost_attempt_does_not_come_from_its_machine(self) -> None:
        timelines = Timelines(10)
        state = model_of(*begun(1), granted(1, "a", 0)).state
        for seq, how, who in [(3, Ended.LOST, None), (4, Ended.EXITED, "a")]:
            assert timelines.apply(Stamped(seq=seq, at=1.0, event=ended(1, "a", how=how)), state) == who


class TestTails:
    def test_the_last_of_each_and_what_is_new(self) -> None:
        tails = OutputTails(each=10)
        tails.add(LeaseNumber(1), "0123456789")
        tails.add(LeaseNumber(1), "abc")
        piece = tails.read(LeaseNumber(1))
        assert piece is not None
        assert (piece.text, piece.start, piece.end) == ("3456789abc", 3, 13)
        later = tails.read(LeaseNumber(1), 11)
        assert later is not None
        assert (later.text, later.start) == ("bc", 11)
        assert tails.read(LeaseNumber(2)) is None

    @given(st.lists(st.tuples(st.integers(1, 5), st.text(max_size=30)), max_size=60))
    def test_memory_is_bounded_and_the_end_is_right(self, pieces: list[tuple[int, str]]) -> None:
        tails, whole = OutputTails(each=20, in_all=60), dict.fromkeys(range(1, 6), "")
        for lease, text in pieces:
            tails.add(LeaseNumber(lease), text)
            whole[lease] += text
            assert tails.size <= 60
        for lease, text in whole.items():
            piece = tails.read(LeaseNumber(lease))
            assert piece is None or text.endswith(piece.text)


class TestDetail:
    def test_attempts_side_by_side(self) -> None:
        failed = result(0, Verdict.FAILED, message="no\x1b[31m!", detail="Expected: 1\nReceived: 2")
        model = model_of(*begun(1), granted(1, "a", 0), ended(1, "a", failed), granted(2, "b", 0))
        assert model.state.started is not None
        told = snapshot.detail_of(model.state, model.state.started.tests[0], 0)
        first, second = told["attempts"]
        assert (first["machine"], first["word"], first["result"]["verdict"]) == ("a", "exited", "failed")
        assert first["result"]["message"] == "no!"
        assert (second["machine"], second["word"], second["result"]) == ("b", "sent", None)
        assert model.test(0) is not None
        assert model.test(1) is None
        assert model.test(-1) is None

    def test_a_text_that_is_cut_says_how_much_more(self) -> None:
        failed = result(0, Verdict.FAILED, detail="x" * (snapshot.TEXT + 7))
        model = model_of(*begun(1), granted(1, "a", 0), ended(1, "a", failed))
        assert model.state.started is not None
        (attempt,) = snapshot.detail_of(model.state, model.state.started.tests[0], 0)["attempts"]
        assert attempt["result"]["detail"].endswith("x\n… 7 more characters")

    def test_the_command_that_runs_it_again_is_quoted(self) -> None:
        test = Test(
            id=TestId("t"), unit=UnitId("t"), file="a b/$(rm).spec.ts", line=7, project="d'x", runner_id="t.py::x[; rm]"
        )
        assert (
            snapshot.reproduce(test, "playwright") == "npx playwright test 'a b/$(rm).spec.ts:7' '--project=d'\"'\"'x'"
        )
        assert snapshot.reproduce(test, "pytest") == "python -m pytest 't.py::x[; rm]'"
        assert snapshot.reproduce(test, "command") == ""

    def test_an_excerpt_keeps_both_ends(self) -> None:
        text = "\n".join(f"line {n}" for n in range(100))
        shown = failure_groups.excerpt(result(0, Verdict.FAILED, detail=text)).splitlines()
        assert (shown[0], shown[-1], shown[25]) == ("line 0", "line 99", "… 65 more lines …")

    def test_one_cause_on_two_machines_is_one(self) -> None:
        one = failure_groups.cause_of(result(0, Verdict.FAILED, message="Error: connect ECONNREFUSED 127.0.0.1:4173"))
        two = failure_groups.cause_of(result(1, Verdict.FAILED, message="Error: connect ECONNREFUSED 127.0.0.1:5999"))
        assert one.key == two.key
        assert one.whose == "environment"


class TestJournal:
    def write(self, path: Path, *lines: str) -> Path:
        path.write_text("".join(lines))
        return path

    def lines(self, tests: int = 10) -> list[str]:
        events = [e for e in Simulation(tests=tests).events() if not isinstance(e.event, AttemptOutput)]
        return [dumps(stamped).decode() + "\n" for stamped in events]

    def test_a_line_that_is_still_being_written_is_waited_for(self, tmp_path: Path) -> None:
        lines = self.lines()
        path = self.write(tmp_path / "events.jsonl", lines[0], lines[1][:20])
        tail = JournalSource(path)
        assert [stamped.seq for stamped in tail.take(100)] == [1]
        assert tail.take(100) == []
        with path.open("a") as file:
            file.write(lines[1][20:])
        assert [stamped.seq for stamped in tail.take(100)] == [2]

    def test_a_damaged_line_is_said_once_and_ends_it(self, tmp_path: Path) -> None:
        lines = self.lines()
        tail = JournalSource(self.write(tmp_path / "events.jsonl", lines[0], "nonsense\n", lines[2]))
        _, warned = (stamped.event for stamped in tail.take(100))
        assert isinstance(warned, Warned)
        assert warned.text.startswith("line 2: ")
        assert warned.text.endswith("; what comes after it is not shown")
        assert tail.take(100) == []

    def test_never_more_than_asked_for_and_all_in_the_end(self, tmp_path: Path) -> None:
        lines = self.lines(50)
        tail = JournalSource(self.write(tmp_path / "events.jsonl", *lines))
        taken: list[int] = []
        while some := tail.take(7):
            assert len(some) <= 7
            taken += [stamped.seq for stamped in some]
        assert taken == list(range(1, len(lines) + 1))

    def test_a_file_that_began_anew_is_read_anew(self, tmp_path: Path) -> None:
        lines = self.lines()
        path = self.write(tmp_path / "events.jsonl", *lines)
        tail = JournalSource(path)
        tail.take(10_000)
        self.write(path, lines[0])
        assert [stamped.seq for stamped in tail.take(100)] == [1]

    @pytest.mark.parametrize(
        "text", ["root:x:0:0\n", "{}\n", '{"v":99,"seq":1,"at":0,"kind":"RunStarted","data":{}}\n', "[1]\n"]
    )
    def test_what_is_no_journal_is_refused_with_the_remedy(self, tmp_path: Path, text: str) -> None:
        with pytest.raises(UsageError, match=r"cannot be read as a run's journal") as refused:
            JournalSource(self.write(tmp_path / "x", text))
        assert "events.jsonl" in refused.value.hint

    def test_a_missing_file_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="cannot be read"):
            JournalSource(tmp_path / "nothing")

    def test_output_comes_from_the_file_beside_it_up_to_the_last_whole_line(self, tmp_path: Path) -> None:
        tail = JournalSource(self.write(tmp_path / "events.jsonl", self.lines()[0]))
        log = tmp_path / "attempts" / "3" / "output.log"
        log.parent.mkdir(parents=True)
        log.write_bytes("é one\ntwo\nthr".encode())
        piece = tail.output(LeaseNumber(3), 0)
        assert piece is not None
        assert (piece.text, piece.end) == ("é one\ntwo\n", 11)
        more = tail.output(LeaseNumber(3), 7)
        assert more is not None
        assert more.text == "two\n"
        assert tail.output(LeaseNumber(4), 0) is None

    def test_a_replay_keeps_the_time_of_the_run(self, tmp_path: Path) -> None:
        now = [50.0]
        replay = ReplaySource(self.write(tmp_path / "events.jsonl", *self.lines(30)), 10.0, clock=lambda: now[0])
        assert replay.now() == START
        assert {stamped.at for stamped in replay.take(1000)} == {START}
        now[0] += 0.5
        seen = replay.take(1000)
        assert seen
        assert all(START < stamped.at <= START + 5 for stamped in seen)
        now[0] += 1000.0
        rest = replay.take(100_000)
        assert rest[-1].seq == len(self.lines(30))

    def test_a_resumed_run_is_shown_from_its_beginning(self, tmp_path: Path) -> None:
        lines = self.lines()
        path = self.write(tmp_path / "events.jsonl", *lines[:6])
        source = LiveSource(journal=path)
        assert source.take(10) == []
        new = Stamped(seq=5, at=1.0, event=Warned(source="x", text="y"))
        source.put(new)
        taken = source.take(10)
        assert [stamped.seq for stamped in taken] == [1, 2, 3, 4, 5]
        assert taken[-1] is new
        assert source.take(10) == []


def test_a_result_that_says_it_was_flaky_is_a_failure_to_show() -> None:
    flaky = TestResult(test=TestId("t0"), verdict=Verdict.FLAKY, message="once", retries=1)
    model = model_of(*begun(1), granted(1, "a", 0), ended(1, "a", flaky))
    found = snapshot.last_failure(model.state.ledger.records[TestId("t0")], model.state)
    assert found is not None
    assert found.message == "once"
