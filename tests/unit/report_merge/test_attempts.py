"""The rules of joining executions: order, matching of duplicates, and that nothing is ever hidden or lost."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from report_merge.merge.attempts import FileExecutions, in_order, matched


def bad(execution: str) -> bool:
    return execution[0] == "F"


def batch(attempt: int, *executions: str, began: float | None = None) -> FileExecutions[str]:
    return FileExecutions(attempt, began, executions)


def test_attempt_order_decides_not_the_order_given() -> None:
    assert matched([batch(2, "P2"), batch(1, "F1")], bad) == [["F1", "P2"]]
    assert matched([batch(1, "P1"), batch(2, "F2")], bad) == [["P1", "F2"]]


def test_equal_attempts_are_ordered_by_start_and_else_a_failure_comes_last() -> None:
    assert matched([batch(1, "P", began=12.0), batch(1, "F", began=9.0)], bad) == [["F", "P"]]
    assert matched([batch(1, "F"), batch(1, "P")], bad) == [["P", "F"]]
    assert matched([batch(1, "F", began=9.0), batch(1, "P")], bad) == [["P", "F"]]
    assert matched([batch(1, "F", began=9.0), batch(1, "P", began=9.0)], bad) == [["P", "F"]]


def test_duplicates_in_one_file_are_different_tests() -> None:
    assert matched([batch(1, "P", "F", "P")], bad) == [["P"], ["F"], ["P"]]


def test_a_rerun_of_the_failed_duplicates_is_matched_to_those_that_failed() -> None:
    assert matched([batch(1, "Pa", "Fb", "Fc"), batch(2, "Pb", "Fc2")], bad) == [["Pa"], ["Fb", "Pb"], ["Fc", "Fc2"]]


def test_a_full_rerun_is_matched_by_position() -> None:
    assert matched([batch(1, "Pa", "Fb"), batch(2, "Pa2", "Pb2")], bad) == [["Pa", "Pa2"], ["Fb", "Pb2"]]


def test_more_duplicates_than_before_are_new_tests() -> None:
    assert matched([batch(1, "Pa"), batch(2, "Pa2", "Fb2")], bad) == [["Pa", "Pa2"], ["Fb2"]]


batches = st.lists(
    st.builds(
        FileExecutions,
        st.integers(1, 3),
        st.none() | st.sampled_from([1.0, 2.0, 3.0]),
        st.lists(st.sampled_from(["P", "F"]), min_size=1, max_size=4),
    ),
    min_size=1,
    max_size=4,
)


@given(batches)
def test_no_execution_is_lost_and_no_count_falls(given_batches: list[FileExecutions[str]]) -> None:
    tests = matched(given_batches, bad)
    assert sum(map(len, tests)) == sum(len(one.executions) for one in given_batches)
    assert len(tests) >= max(len(one.executions) for one in given_batches)


@given(batches)
def test_the_order_of_files_changes_no_verdict(given_batches: list[FileExecutions[str]]) -> None:
    def verdicts(order: tuple[FileExecutions[str], ...]) -> list[tuple[str, bool]]:
        return sorted((test[-1], "F" in test) for test in matched(order, bad))

    first = verdicts(tuple(given_batches))
    if all(sum(bad(e) for e in one.executions) in (0, len(one.executions)) for one in given_batches):
        assert all(verdicts(order) == first for order in itertools.permutations(given_batches))


@given(batches)
def test_attempts_rise(given_batches: list[FileExecutions[str]]) -> None:
    ordered = [one.attempt for one in in_order(given_batches, bad)]
    assert ordered == sorted(ordered)
