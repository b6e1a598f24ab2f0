"""The rules of joining executions: order, collisions, matching of duplicates, and that nothing is hidden or lost."""

from __future__ import annotations

import itertools
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from report_merge.merge.attempts import FileExecutions, collided, matched

RANKS = {"S": 0, "P": 1, "F": 2}


def rank(execution: str) -> int:
    return RANKS[execution[0]]


def batch(attempt: int, *executions: str, place: str = "", began: str = "") -> FileExecutions[str]:
    file = f"attempt-{attempt}/{place}"
    return FileExecutions(attempt, file, place, executions, datetime.fromisoformat(began) if began else None)


def test_attempt_order_decides_not_the_order_given() -> None:
    assert matched([batch(2, "P2"), batch(1, "F1")], rank) == [["F1", "P2"]]
    assert matched([batch(1, "P1"), batch(2, "F2")], rank) == [["P1", "F2"]]


def test_in_one_attempt_the_worst_outcome_comes_last() -> None:
    assert matched([batch(1, "F", place="a"), batch(1, "P", place="b")], rank) == [["P", "F"]]
    assert matched([batch(1, "P", place="a"), batch(1, "S", place="b")], rank) == [["S", "P"]]
    both = [batch(1, "F", "P", place="a"), batch(1, "P", place="b")]
    assert matched(both, rank) == [["P", "F"], ["P"]]


RETRIES = [
    (["b"], ["Pb", "Pb2", "Fa"]),  # of the one that had passed
    (["a"], ["Pb", "Fa", "Pa2"]),
    (["a", "b"], ["Pb", "Fa", "Pa2", "Pb2"]),
    (["c"], ["Pb", "Pc2", "Fa"]),  # of nobody knows which
    (["c", "d"], ["Pb", "Fa", "Pc2", "Pd2"]),  # of both, in other shards
]


@pytest.mark.parametrize(("places", "tries"), RETRIES)
def test_a_pass_clears_the_failure_of_a_collision_only_when_it_is_its_retry(
    places: list[str], tries: list[str]
) -> None:
    first = [batch(1, "Fa", place="a"), batch(1, "Pb", place="b")]
    assert matched([*first, *(batch(2, f"P{place}2", place=place) for place in places)], rank) == [tries]


def test_files_of_one_attempt_that_tell_of_one_test_are_named() -> None:
    assert collided([batch(1, "P", place="a"), batch(2, "P", place="b")]) == ()
    assert collided([batch(1, "P", place="a"), batch(1, "P", place="b")]) == ("attempt-1/a", "attempt-1/b")


TIMES = [
    (("2026-01-01T12:00Z", "2026-01-01T09:00Z"), ["F", "P"]),
    (("2026-01-01T12:00", "2026-01-01T09:00"), ["F", "P"]),
    (("2026-01-01T12:00+02:00", "2026-01-01T11:00Z"), ["P", "F"]),
    (("2026-01-01T12:00", "2026-01-01T09:00Z"), ["P", "F"]),  # nobody knows
    (("2026-01-01T12:00Z", "2026-01-01T12:00Z"), ["P", "F"]),
    (("2026-01-01T12:00Z", ""), ["P", "F"]),
]


@pytest.mark.parametrize(("times", "tries"), TIMES)
def test_times_order_files_of_one_attempt_when_they_can_be_compared_and_only_when_asked(
    times: tuple[str, str], tries: list[str]
) -> None:
    passed, failed = times
    both = [batch(1, "P", place="a", began=passed), batch(1, "F", place="b", began=failed)]
    assert matched(both, rank) == [["P", "F"]]
    assert matched(both, rank, by_time=True) == [tries]


def test_duplicates_in_one_file_are_different_tests() -> None:
    assert matched([batch(1, "P", "F", "P")], rank) == [["P"], ["F"], ["P"]]


def test_a_rerun_of_the_failed_duplicates_is_matched_to_those_that_failed() -> None:
    assert matched([batch(1, "Pa", "Fb", "Fc"), batch(2, "Pb", "Fc2")], rank) == [["Pa"], ["Fb", "Pb"], ["Fc", "Fc2"]]


def test_a_full_rerun_is_matched_by_position() -> None:
    assert matched([batch(1, "Pa", "Fb"), batch(2, "Pa2", "Pb2")], rank) == [["Pa", "Pa2"], ["Fb", "Pb2"]]


def test_more_duplicates_than_before_are_new_tests() -> None:
    assert matched([batch(1, "Pa"), batch(2, "Pa2", "Fb2")], rank) == [["Pa", "Pa2"], ["Fb2"]]


batches = st.lists(
    st.builds(
        lambda attempt, place, executions: batch(attempt, *executions, place=place),
        st.integers(1, 3),
        st.sampled_from("abc"),
        st.lists(st.sampled_from(["P", "F", "S"]), min_size=1, max_size=4),
    ),
    min_size=1,
    max_size=4,
)


@given(batches)
def test_no_execution_is_lost_and_no_count_falls(given_batches: list[FileExecutions[str]]) -> None:
    tests = matched(given_batches, rank)
    assert sum(map(len, tests)) == sum(len(one.executions) for one in given_batches)
    assert len(tests) >= max(len(one.executions) for one in given_batches)


@given(batches)
def test_the_order_of_files_changes_no_verdict(given_batches: list[FileExecutions[str]]) -> None:
    def verdicts(order: tuple[FileExecutions[str], ...]) -> list[tuple[str, bool]]:
        return sorted((test[-1], "F" in test) for test in matched(order, rank))

    first = verdicts(tuple(given_batches))
    assert all(verdicts(order) == first for order in itertools.permutations(given_batches))


@given(batches)
def test_the_failures_of_the_last_attempt_decide(given_batches: list[FileExecutions[str]]) -> None:
    last = max(one.attempt for one in given_batches)
    failed = max(sum(e == "F" for e in one.executions) for one in given_batches if one.attempt == last)
    assert sum(test[-1] == "F" for test in matched(given_batches, rank)) >= failed
