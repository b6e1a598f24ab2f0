"""A line of a live file is an event or nothing; no value in it can be one that no runner can mean."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ci_dispatch.core.model import FailureCause, TestResult, Verdict
from ci_dispatch.suites.live_events import RunnerProblem, events_in, live_result, read_live_file


def line(kind: str, **fields: object) -> bytes:
    return json.dumps({"kind": kind, **fields}).encode() + b"\n"


def test_a_plan_has_each_test_once_with_all_that_is_known_of_it() -> None:
    tests = [{"id": "a", "title": ["t"], "project": "p"}, {"id": "b", "setup": True}, {"id": "a"}, {}]
    events = events_in([line("plan", version="1.50", tests=tests)])
    assert events.planned is not None
    assert list(events.planned) == ["a", "b"]
    assert (events.copies, events.version, events.setup) == ({"a": 2, "b": 1}, "1.50", {"b"})


def test_without_a_plan_nothing_is_known_of_the_tests_and_an_empty_one_has_none(tmp_path: Path) -> None:
    assert read_live_file(tmp_path).planned is None
    assert events_in([line("plan", tests=[])]).planned == {}


def test_nulls_and_absent_fields_are_the_same() -> None:
    result = live_result(line("end", id="a", verdict="passed", message=None, detail=None, reason=None, seconds=None))
    assert result == TestResult(test="a", verdict=Verdict.PASSED)  # type: ignore[arg-type]  # ids are texts


@pytest.mark.parametrize("cause", ["", None, "great", 7, ["setup"], {}])
def test_a_problem_of_an_unknown_kind_is_a_crash(cause: object) -> None:
    (problem,) = events_in([line("problem", cause=cause, message="\x1b[31mno\x1b[0m")]).problems
    assert problem == RunnerProblem(cause=FailureCause.CRASH, message="no")


def test_the_first_whole_line_that_is_no_event_says_why() -> None:
    bad = line("end", id=7, verdict="passed")
    events = events_in([b"\n", line("end", id="a", verdict="passed"), bad, b"{\n", b'{"kind": "en'])
    assert list(events.ended) == ["a"]
    assert events.unreadable == "Expected `str`, got `int` - at `$.id`"
    assert events_in([b'{"kind": "en']).unreadable == ""  # the runner was killed while it wrote


def test_numbers_that_no_clock_gives_are_unknown() -> None:
    for seconds in (-1, 1e12, "7", True, None, float("nan"), float("inf")):
        result = live_result(json.dumps({"kind": "end", "id": "a", "verdict": "passed", "seconds": seconds}).encode())
        assert result is not None
        assert result.seconds is None


def test_a_kind_is_read_off_the_message() -> None:
    for message, kind in [
        ("TimeoutError: x", "TimeoutError"),
        ("a.b.FooError", "a.b.FooError"),
        ("it failed: Error", ""),
    ]:
        result = live_result(json.dumps({"kind": "end", "id": "a", "verdict": "failed", "message": message}).encode())
        assert result is not None
        assert result.kind == kind
