"""Every expected test gets exactly one result, and a reason where it did not run, whatever a runner left behind."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_dispatch.core.codec import replace
from ci_dispatch.core.model import Ended, FailureCause, Test, TestId, UnitId, Verdict
from ci_dispatch.run.ports import AttemptReading, JobEnd
from ci_dispatch.suites.attempts import assemble
from ci_dispatch.suites.live_events import events_in, live_result

NAMES = ("a", "b", "c")
TESTS = tuple(Test(id=TestId(name), unit=UnitId(name), title=(name,), runner_id=name) for name in NAMES)
PLAN = {"kind": "plan", "tests": [{"id": name} for name in NAMES]}
ALL_PASSED = [{"kind": "end", "id": name, "verdict": "passed"} for name in NAMES]


def exited(code: int) -> JobEnd:
    return JobEnd(ended=Ended.EXITED, exit_code=code)


def lines(events: Iterable[object]) -> list[bytes]:
    return [json.dumps(event).encode() for event in events]


def read(*events: object, end: JobEnd | None = None) -> AttemptReading:
    end = end or exited(0)
    return assemble(TESTS, events_in(lines(events), end.undisturbed_lines), end)


def words(reading: AttemptReading) -> str:
    return " ".join(result.verdict for result in reading.results)


def test_all_is_well_only_when_all_is_well() -> None:
    reading = read(PLAN, *ALL_PASSED)
    assert (words(reading), reading.cause, reading.reason) == ("passed passed passed", FailureCause.NONE, "")


@pytest.mark.parametrize(
    ("events", "end", "verdicts", "cause", "says"),
    [
        ([], exited(0), "not run not run not run", FailureCause.USAGE, "exited 0 and reported none of the 3"),
        ([], exited(1), "not run not run not run", FailureCause.CRASH, "exited 1 before the first test ended"),
        ([PLAN], exited(1), "not run not run not run", FailureCause.CRASH, "before the first test"),
        ([{"kind": "plan", "tests": []}], exited(5), "not run not run not run", FailureCause.LOAD, "knows none"),
        ([PLAN, *ALL_PASSED[:2]], exited(0), "passed passed not run", FailureCause.NONE, ""),
        ([PLAN, *ALL_PASSED[:2]], exited(1), "passed passed not run", FailureCause.CRASH, "with 1 tests to go"),
        ([PLAN, *ALL_PASSED], exited(1), "not run not run not run", FailureCause.CRASH, "although no test failed"),
        ([PLAN, *ALL_PASSED[:1]], exited(137), "passed not run not run", FailureCause.CRASH, "SIGKILL"),
        ([PLAN], JobEnd(ended=Ended.EXITED, signal=11), "not run not run not run", FailureCause.CRASH, "SIGSEGV"),
        ([PLAN], exited(128 + 99), "not run not run not run", FailureCause.CRASH, "signal 99"),
        ([PLAN, *ALL_PASSED[:1]], JobEnd(ended=Ended.TIMED_OUT), "passed not run not run", FailureCause.NONE, ""),
        (
            [{"kind": "problem", "cause": "load error", "message": "\x1b[31mSyntaxError\x1b[0m: no"}],
            exited(1),
            "not run not run not run",
            FailureCause.LOAD,
            "SyntaxError: no",
        ),
        ([{"kind": "problem"}, PLAN, *ALL_PASSED], exited(0), "not run not run not run", FailureCause.CRASH, ""),
        ([PLAN, *ALL_PASSED], exited(137), "not run not run not run", FailureCause.CRASH, "SIGKILL"),
        ([PLAN, *ALL_PASSED], JobEnd(ended=Ended.EXITED, signal=9), "not run not run not run", FailureCause.CRASH, ""),
        ([PLAN, *ALL_PASSED], JobEnd(ended=Ended.TIMED_OUT), "not run not run not run", FailureCause.NONE, ""),
        ([PLAN, *ALL_PASSED], JobEnd(ended=Ended.LOST), "passed passed passed", FailureCause.NONE, ""),
    ],
)
def test_what_an_end_means(events: list[object], end: JobEnd, verdicts: str, cause: FailureCause, says: str) -> None:
    reading = read(*events, end=end)
    assert (words(reading), reading.cause) == (verdicts, cause)
    assert says in reading.reason
    assert all(result.reason for result in reading.results if result.verdict is Verdict.NOT_RUN)


def test_a_failed_test_explains_an_exit_code_but_not_an_error_outside_of_tests() -> None:
    reported = [PLAN, *ALL_PASSED[:2], {"kind": "end", "id": "c", "verdict": "failed"}]
    reading = read(*reported, end=exited(1))
    assert (words(reading), reading.cause) == ("passed passed failed", FailureCause.NONE)
    reading = read(*reported, {"kind": "problem", "cause": "crash", "message": "the teardown broke"}, end=exited(1))
    assert (words(reading), reading.cause) == ("not run not run failed", FailureCause.CRASH)
    assert reading.results[0].reason == "it passed, but the teardown broke"
    load = {"kind": "problem", "cause": "load error", "message": "c cannot be loaded"}
    assert words(read(PLAN, load, *ALL_PASSED[:2], end=exited(1))) == "passed passed not run"
    gone = {"kind": "plan", "tests": [{"id": "a"}, {"id": "b"}]}
    assert words(read(gone, *ALL_PASSED[:2], end=exited(1))) == "not run not run not run"  # c explains nothing


def test_a_flaky_test_explains_an_exit_code_only_where_the_runner_minds_it() -> None:
    flaky = {"kind": "end", "id": "c", "verdict": "flaky", "message": "at first"}
    reading = read(PLAN, *ALL_PASSED[:2], flaky, end=exited(1))
    assert (words(reading), reading.cause) == ("not run not run failed", FailureCause.CRASH)
    assert reading.results[2].reason.startswith("it failed, then passed, but the runner exited 1 although")
    minded = read({**PLAN, "flaky_is_failure": True}, *ALL_PASSED[:2], flaky, end=exited(1))
    assert (words(minded), minded.cause) == ("passed passed flaky", FailureCause.NONE)


def test_a_test_the_runner_does_not_know_says_so_and_is_no_suspect() -> None:
    plan = {"kind": "plan", "tests": [{"id": "a"}, {"id": "b"}]}
    reading = read(plan, *ALL_PASSED[:2])
    assert "deleted or renamed" in reading.results[2].reason
    assert reading.cause is FailureCause.NONE


def test_what_had_begun_when_the_runner_died_is_suspect() -> None:
    begun = [{"kind": "begin", "id": name} for name in "ab"]
    reading = read(PLAN, *begun, *ALL_PASSED[:1], end=exited(139))
    assert reading.suspects == ("b",)
    assert "it had begun when the runner was ended by SIGSEGV" in reading.results[1].reason
    assert read(PLAN, *begun, end=JobEnd(ended=Ended.CANCELLED)).suspects == ()
    assert read(PLAN, *begun, end=JobEnd(ended=Ended.LOST)).suspects == ("a", "b")


def test_the_last_end_of_a_test_that_is_repeated_counts() -> None:
    retried = [
        {"kind": "end", "id": "a", "verdict": "failed", "final": False},
        {"kind": "end", "id": "a", "verdict": "flaky"},
    ]
    assert words(read(PLAN, *retried, *ALL_PASSED[1:])) == "flaky passed passed"
    assert live_result(lines(retried)[0]) is None
    assert words(read(PLAN, retried[0], *ALL_PASSED[1:], end=exited(137))) == "failed passed passed"


def test_what_nobody_asked_for_is_named_but_setup_is_expected() -> None:
    plan = {
        "kind": "plan",
        "tests": [*PLAN["tests"], {"id": "x", "project": "p", "title": ["t"]}, {"id": "s", "setup": True}],
    }
    others = [{"kind": "end", "id": name, "verdict": "passed"} for name in "xsy"]
    assert read(plan, *ALL_PASSED, *others).unexpected == ("t [p]", "y")


def test_a_failure_that_nobody_asked_for_is_one_of_the_run_and_explains_an_exit_code() -> None:
    stranger = {"kind": "end", "id": "x", "verdict": "failed", "message": "boom"}
    for code in (0, 1):
        reading = read(PLAN, *ALL_PASSED, stranger, end=exited(code))
        assert (words(reading), reading.cause) == ("passed passed passed", FailureCause.NONE)
        assert [(other.test.id, other.result.message) for other in reading.unlisted] == [("x", "boom")]
    assert read(PLAN, *ALL_PASSED, {**stranger, "verdict": "passed"}).unlisted == ()
    assert words(read(PLAN, *ALL_PASSED, {**stranger, "verdict": "passed"}, end=exited(1))) == "not run not run not run"


def test_a_runner_that_exits_0_in_the_middle_of_a_test_has_crashed() -> None:
    begun = [{"kind": "begin", "id": name} for name in "ab"]
    reading = read(PLAN, *begun, *ALL_PASSED[:1], end=exited(0))
    assert (words(reading), reading.cause, reading.suspects) == ("passed not run not run", FailureCause.CRASH, ("b",))
    assert reading.reason == "the runner exited 0 while it ran b"
    assert "it had begun when the runner exited 0 while it ran b" in reading.results[1].reason
    assert read(PLAN, *begun, end=exited(137)).reason == "the runner was ended by SIGKILL while it ran a and b"


def test_tests_of_one_name_are_the_worst_of_them_and_nothing_before_all_have_ended() -> None:
    plan = {"kind": "plan", "tests": [*PLAN["tests"], {"id": "a"}]}
    failed = {"kind": "end", "id": "a", "verdict": "failed"}
    assert words(read(plan, *ALL_PASSED)) == "not run passed passed"
    assert words(read(plan, *ALL_PASSED, ALL_PASSED[0])) == "passed passed passed"
    for ends in ([failed, *ALL_PASSED], [*ALL_PASSED, failed], [failed, *ALL_PASSED[1:]]):
        assert words(read(plan, *ends)) == "failed passed passed"
    assert words(read(plan, {**failed, "final": False}, {**failed, "verdict": "flaky"}, *ALL_PASSED)) == (
        "flaky passed passed"
    )
    assert words(read(plan, *ALL_PASSED, {**failed, "verdict": "not run"})) == "not run passed passed"


def test_what_the_runner_says_about_a_file_is_the_reason_of_its_tests() -> None:
    tests = tuple(replace(test, file=f"e2e/{test.id}.py") for test in TESTS)
    broken = {"kind": "problem", "cause": "load error", "message": "no module x", "file": "e2e/b.py"}
    some = {"kind": "plan", "tests": [{"id": "a"}]}
    reading = assemble(tests, events_in(lines([broken, some, ALL_PASSED[0]])), exited(1))
    assert words(reading) == "passed not run not run"
    assert reading.results[1].reason == "no module x"
    assert "deleted or renamed" in reading.results[2].reason
    for events in ([{**broken, "file": "e2e"}, some], [{**broken, "file": ""}, {"kind": "plan", "tests": []}]):
        reading = assemble(tests, events_in(lines(events)), exited(1))
        assert {result.reason for result in reading.results[1:]} == {"no module x"}


def test_what_one_machine_deselects_another_may_run() -> None:
    deselected = {"kind": "deselected", "tests": [{"id": name} for name in NAMES]}
    reading = read(deselected, {"kind": "plan", "tests": []}, end=exited(5))
    assert (words(reading), reading.cause) == ("not run not run not run", FailureCause.SETUP)
    assert "deselects it on this machine" in reading.results[0].reason


def test_a_failed_setup_explains_an_exit_code() -> None:
    plan = {"kind": "plan", "tests": [*PLAN["tests"], {"id": "s", "setup": True}]}
    setup = {"kind": "end", "id": "s", "verdict": "failed"}
    skipped = [{"kind": "end", "id": name, "verdict": "not run", "reason": "its setup failed"} for name in NAMES]
    reading = read(plan, setup, *skipped, end=exited(1))
    assert (words(reading), reading.cause) == ("not run not run not run", FailureCause.NONE)
    assert read(PLAN, *skipped, end=exited(1)).cause is FailureCause.CRASH


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
strange_events = st.fixed_dictionaries(
    {"kind": st.sampled_from(["plan", "begin", "end", "problem", "done", "?"])},
    optional={
        "id": st.sampled_from(NAMES) | json_values,
        "verdict": st.sampled_from(list(Verdict)) | json_values,
        "tests": st.lists(st.fixed_dictionaries({"id": st.sampled_from(NAMES) | json_values}), max_size=4)
        | json_values,
        "cause": st.sampled_from(list(FailureCause)) | json_values,
        "seconds": json_values,
        "retries": json_values,
        "message": json_values,
    },
)
ends = st.builds(
    JobEnd,
    ended=st.sampled_from(Ended),
    exit_code=st.none() | st.integers(0, 255),
    signal=st.none() | st.integers(1, 200),
    reason=st.text(max_size=5),
)


@given(st.lists(strange_events | json_values, max_size=12), ends, st.binary(max_size=40))
def test_any_events_and_any_end_give_one_result_each_and_never_a_silent_pass(
    events: list[object], end: JobEnd, junk: bytes
) -> None:
    cut = b"\n".join([*lines(events), junk]).split(b"\n")
    reading = assemble(TESTS, events_in(cut), end)
    assert [result.test for result in reading.results] == list(NAMES)
    assert all(
        result.reason
        for result in reading.results
        if result.verdict is Verdict.NOT_RUN and not reports(events, result.test)
    )
    passed = {result.test for result in reading.results if result.verdict is Verdict.PASSED}
    assert passed <= {name for name in NAMES if reports(events, name)}
    assert set(reading.suspects) <= set(NAMES)
    if not any(reports(events, name) for name in NAMES) and end.ended is Ended.EXITED:
        assert reading.cause is not FailureCause.NONE


def reports(events: list[object], name: str) -> bool:
    return any(isinstance(entry, dict) and entry.get("kind") == "end" and entry.get("id") == name for entry in events)


INTERRUPTED = [
    PLAN,
    {"kind": "end", "id": "a", "verdict": "failed"},
    {"kind": "end", "id": "b", "verdict": "failed"},  # its browser was ended under it
    {"kind": "end", "id": "c", "verdict": "passed"},
]


@pytest.mark.parametrize(
    ("ended", "verdicts"),
    [
        (Ended.CANCELLED, "failed not run passed"),
        (Ended.LEASE_ENDED, "failed not run passed"),
        (Ended.LOST, "failed not run passed"),
        (Ended.TIMED_OUT, "failed failed passed"),  # that one may be the reason
        (Ended.EXITED, "failed failed passed"),
    ],
)
def test_what_fails_while_it_is_interrupted_for_no_fault_of_its_own_says_nothing(ended: Ended, verdicts: str) -> None:
    assert words(read(*INTERRUPTED, end=JobEnd(ended=ended, live_lines=2))) == verdicts


def test_a_retry_of_the_runner_that_passes_meanwhile_is_not_flaky() -> None:
    tries = [{"kind": "end", "id": "a", "verdict": "flaky"}]
    assert words(read(PLAN, *tries, end=JobEnd(ended=Ended.CANCELLED, live_lines=1))) == "not run not run not run"


def test_an_end_that_nobody_counted_is_read_whole() -> None:
    assert words(read(*INTERRUPTED, end=JobEnd(ended=Ended.CANCELLED))) == "failed failed passed"


def test_a_failure_that_nobody_asked_for_counts_whenever_it_comes() -> None:
    """Nobody can ask for it again."""
    other = {"kind": "end", "id": "other", "verdict": "failed"}
    reading = read(PLAN, other, end=JobEnd(ended=Ended.CANCELLED, live_lines=1))
    assert [unlisted.test.id for unlisted in reading.unlisted] == ["other"]


def test_a_failure_from_before_the_interruption_stays_one() -> None:
    twice = [
        {"kind": "plan", "tests": [{"id": "a"}, {"id": "a"}]},
        *[{"kind": "end", "id": "a", "verdict": "failed"}] * 2,
    ]
    assert words(read(*twice, end=JobEnd(ended=Ended.CANCELLED, live_lines=2))) == "failed not run not run"
