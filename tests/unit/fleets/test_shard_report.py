"""What a worker uploads comes back as it was; anything else in its place is refused in one sentence."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_dispatch.core.codec import replace
from ci_dispatch.core.errors import UnreadableReport
from ci_dispatch.core.model import AttemptResult, Ended, FailureCause, ShardId, TestId, TestResult, Verdict
from ci_dispatch.fleets.actions.run.polling import SLOWEST, WINDOW, PollBudget
from ci_dispatch.fleets.actions.shard_report import (
    FILE,
    ShardReport,
    artifact_name,
    attempt_of,
    make_uploadable,
    parse,
    read,
    write,
)

HEAD = '{"v":2,"dispatch":"d","shard":"s","attempt":1,"machine":"m","result":{'


def report(*results: TestResult) -> ShardReport:
    result = AttemptResult(ended=Ended.EXITED, exit_code=1, seconds=2.5, results=results, cause=FailureCause.NONE)
    return ShardReport(dispatch="r.1", shard=ShardId("head-1"), attempt=2, machine="moruk", result=result, plan="p")


def test_a_report_comes_back_as_it_was(tmp_path: Path) -> None:
    sent = report(
        TestResult(test=TestId("a"), verdict=Verdict.FAILED, seconds=1.25, message="::error::\x1b[31m é", detail="d"),
        TestResult(test=TestId("b"), verdict=Verdict.NOT_RUN, reason="max failures"),
    )
    write(tmp_path, sent)
    assert read(tmp_path) == replace(sent, v=2)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"v": 3}',
        '{"v": 2}',
        "[" * 100_000,
        HEAD.replace('"m"', "7") + '"ended":"exited"}}',
        HEAD + '"ended":"eaten"}}',
        HEAD + '"ended":"exited","results":[{"test":"t","verdict":"passed","seconds":NaN}]}}',
        HEAD + '"ended":"exited","results":[{"test":["t"],"verdict":"passed"}]}}',
        HEAD + '"ended":"exited","results":[{"test":"t","verdict":"passed","seconds":-1}]}}',
        HEAD + '"ended":"exited","results":[{"test":"t","verdict":"passed","seconds":1e308}]}}',
    ],
)
def test_what_is_no_report_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(UnreadableReport, match="could not be read"):
        read(tmp_path)


def test_what_upload_artifact_would_refuse_gets_a_name_that_it_takes(tmp_path: Path) -> None:
    for name in ("cart: pays/why?.png", "cart: pays/why*.png", "cart_ pays/a.txt", "junit.xml", 'a"b|c'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    make_uploadable(tmp_path)
    found = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert len(found) == 5
    assert not [name for name in found if set(name) & set('":<>|*?\r\n')]
    assert found["junit.xml"] == "junit.xml"
    assert found["cart_ pays/a.txt"] == "cart_ pays/a.txt"


def test_a_report_of_0_1_is_refused_because_its_cause_would_be_lost(tmp_path: Path) -> None:
    """Version 1 called the cause "trouble": read as version 2, a suite that cannot be loaded would be tried again."""
    (tmp_path / FILE).write_text(HEAD.replace('"v":2', '"v":1') + '"ended":"exited","trouble":"load error"}}')
    with pytest.raises(UnreadableReport, match="not the report of this version"):
        read(tmp_path)


def test_a_missing_report_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableReport, match="No such file"):
        read(tmp_path)


@given(st.recursive(st.none() | st.integers() | st.text(max_size=3), lambda c: st.lists(c) | st.dictionaries(
    st.sampled_from(["v", "dispatch", "shard", "attempt", "machine", "result", "ended", "results", "test"]), c
), max_leaves=12))  # fmt: skip
def test_no_json_is_too_strange(data: object) -> None:
    with suppress(ValueError):
        parse(json.dumps(data | {"v": 2} if isinstance(data, dict) else data).encode())


def test_a_name_tells_dispatch_shard_and_attempt_and_nothing_else_does() -> None:
    name = artifact_name("r.1", ShardId("head-1"), 3)
    assert attempt_of(name, "r.1", ShardId("head-1")) == 3
    for other in (name + "0x", "x" + name, name.replace("r.1", "r_1"), name.replace("-a3", "-a0")):
        assert attempt_of(other, "r.1", ShardId("head-1")) is None
    assert attempt_of(artifact_name("r.1", ShardId("head-12"), 3), "r.1", ShardId("head-1")) is None


def test_the_pace_spends_the_budget_and_no_more() -> None:
    pace, now, sent, looks = PollBudget(), 1000.0, 1, 0
    while now < 1000.0 + WINDOW:
        now += pace.next_poll(now, sent, owed=48)
        sent, looks = sent + 1, looks + 1
    assert sent + 48 <= pace.budget
    assert looks > 60


def test_a_small_run_is_looked_at_as_often_as_asked() -> None:
    pace = PollBudget(interval=15.0)
    assert pace.next_poll(1000.0, 1, owed=4) == pytest.approx(WINDOW / (120 - 1 - 4 - 6 + 1), abs=1.0)
    assert PollBudget(interval=20.0).next_poll(1000.0, 1, owed=4) == 20.0


def test_when_the_token_runs_low_we_slow_down() -> None:
    assert PollBudget().next_poll(1000.0, 1, owed=4, remaining=8) == SLOWEST
    assert PollBudget().next_poll(1000.0, 1, owed=4, remaining=60) == pytest.approx(WINDOW / 50)
