"""`Re-run failed jobs`: the same plan, a later attempt; what passed stays, what failed gets another chance."""

from __future__ import annotations

from pathlib import Path

import pytest

from ci_dispatch.core.errors import ExitCode
from ci_dispatch.core.model import TestId, TestResult, UnlistedResult, Verdict
from tests.waves_room import WavesRoom, suite_of

PASSED, FAILED = Verdict.PASSED, Verdict.FAILED


@pytest.fixture
def room(tmp_path: Path) -> WavesRoom:
    return WavesRoom(tmp_path)


def test_a_failed_test_that_passes_then_is_flaky(room: WavesRoom) -> None:
    room.plan({"retry.max_retries": "0"})
    first = room.matrix
    room.all_pass(but={"a": FAILED})
    room.again(2)
    assert room.merge() is ExitCode.TESTS_FAILED
    room.attempt = 2
    shard = next(entry["shard"] for entry in first if "a" in room.tests_of(entry["shard"]))
    room.report(shard, {"a": PASSED})
    assert not room.again(2)
    assert room.merge() is ExitCode.PASSED
    assert room.verdict_of("a") == "flaky"


def test_a_test_that_fails_again_has_failed(room: WavesRoom) -> None:
    room.plan({"retry.max_retries": "0"})
    first = room.matrix
    room.all_pass(but={"a": FAILED})
    room.attempt = 2
    shard = next(entry["shard"] for entry in first if "a" in room.tests_of(entry["shard"]))
    room.report(shard, {"a": FAILED})
    assert not room.again(2)
    assert room.merge() is ExitCode.TESTS_FAILED


def test_only_the_gate_was_run_again_and_nothing_changes(room: WavesRoom) -> None:
    room.plan({"retry.max_retries": "0"})
    room.all_pass(but={"a": FAILED})
    assert room.merge() is ExitCode.TESTS_FAILED
    room.attempt = 2
    assert room.merge() is ExitCode.TESTS_FAILED
    assert room.outputs["failed"] == "1"
    assert room.outputs["not-run"] == "0"
    assert [machine["losses"] for machine in room.run_json()["machines"]] == [0, 0]


def test_a_lost_shard_is_finished_by_its_second_attempt(room: WavesRoom) -> None:
    room.plan()
    lost = next(entry for entry in room.matrix if entry["machine"] == "moruk")
    room.all_pass(without="moruk")
    assert room.merge() is ExitCode.INCOMPLETE
    room.attempt = 2
    room.report(lost["shard"], dict.fromkeys(room.tests_of(lost["shard"]), PASSED))
    assert not room.again(2)
    assert room.merge() is ExitCode.PASSED


def test_it_may_be_lost_again_and_then_goes_on_elsewhere(room: WavesRoom) -> None:
    room.plan({"retry.max_retries": "0"})
    first = room.matrix
    room.all_pass(but={"a": FAILED}, without="moruk")
    failed = [entry for entry in first if entry["machine"] == "ilko2"]
    room.attempt = 2
    for entry in failed:
        tests = [test for test in room.tests_of(entry["shard"]) if test == "a"]
        room.report(entry["shard"], dict.fromkeys(tests, PASSED))
    assert room.again(2)  # moruk's job was run again, and said nothing again
    assert {entry["machine"] for entry in room.matrix} == {"ilko2"}
    assert all(shard.startswith("w2a2-") for shard in room.shards)
    room.all_pass()
    assert room.merge() is ExitCode.PASSED


def test_a_machine_whose_runner_reports_again_gets_work_again(room: WavesRoom) -> None:
    room.plan()
    first = {entry["machine"]: entry["shard"] for entry in room.matrix}
    room.all_pass(but={"a": FAILED, "b": FAILED, "c": FAILED, "d": FAILED}, without="moruk")
    room.attempt = 2
    for shard in first.values():
        room.report(shard, dict.fromkeys(room.tests_of(shard), FAILED))
    assert room.again(2)
    assert {entry["machine"] for entry in room.matrix} == {"moruk", "ilko2"}


def test_a_job_of_a_later_wave_alone(room: WavesRoom) -> None:
    """GitHub runs only the failed jobs: wave 1 is green and stays, wave 2's own old job runs again."""
    room.plan({"retry.max_retries": "1"})
    room.all_pass(but={"a": FAILED})
    assert room.again(2)
    second = room.shards[0]
    room.all_pass(but={"a": FAILED})
    assert not room.again(3)
    room.attempt = 2
    room.report(second, {"a": PASSED})
    assert not room.again(3)
    assert room.merge() is ExitCode.PASSED
    assert room.verdict_of("a") == "flaky"


def test_a_failure_that_no_listing_names_stays_one(room: WavesRoom) -> None:
    """Nobody can ask for it again, so that no attempt may take it back."""
    room.plan()
    first, second = room.shards
    surprise = UnlistedResult(test=suite_of("surprise")[0], result=TestResult(test=TestId("surprise"), verdict=FAILED))
    room.report(first, dict.fromkeys(room.tests_of(first), PASSED), unlisted=(surprise,))
    room.report(second, dict.fromkeys(room.tests_of(second), PASSED))
    assert room.merge() is ExitCode.TESTS_FAILED
    room.attempt = 2
    room.report(first, {})
    assert not room.again(2)
    assert room.merge() is ExitCode.TESTS_FAILED
    assert room.verdict_of("surprise") == "failed"


def test_everything_was_run_again_and_only_that_counts(room: WavesRoom) -> None:
    room.plan()
    room.all_pass(but={"a": FAILED, "b": FAILED})
    room.attempt = 2
    room.plan()
    room.all_pass()
    assert room.merge() is ExitCode.PASSED
    assert room.outputs["flaky"] == "0"
