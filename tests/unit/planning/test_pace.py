"""A machine's pace today: only what other machines do not share, believed the more the more it has run."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_dispatch.core.model import MachineName
from ci_dispatch.planning.pace import MOST, RECENT, Pace

A, B, C = (MachineName(name) for name in "abc")


def pace(slower: dict[MachineName, float], *, results: int = 40, noise: float = 0.25, files: float = 0.0) -> Pace:
    """Results of four files that take 10 s, `noise` by `noise`, and misjudged by `files`; `slower`: times slower."""
    random = Random(7)
    seen = Pace()
    for machine, times in slower.items():
        misjudged = [random.lognormvariate(0, files) for _ in range(4)]
        for number in range(results):
            took = 10.0 * times * misjudged[number % 4] * random.lognormvariate(0, noise)
            seen.took(machine, took, 10.0, f"{machine}{number % 4}")
    return seen


def test_a_machine_that_takes_twice_as_long_is_half_as_fast() -> None:
    factors = pace({A: 1.0, B: 1.0, C: 2.0}).factors()
    assert factors[C] / factors[A] == pytest.approx(0.5, rel=0.15)
    assert factors[A] == pytest.approx(factors[B], rel=0.15)


def test_what_all_machines_share_is_said_of_none() -> None:
    assert pace({A: 60.0, B: 60.0}, noise=0.0).factors() == pytest.approx({A: 1.0, B: 1.0})


def test_one_machine_has_nobody_to_be_compared_with() -> None:
    assert pace({A: 3.0}).factors() == {}
    assert Pace().factors() == {}


def test_a_first_result_changes_little_and_many_change_what_they_show() -> None:
    few, many = (pace({A: 1.0, B: 2.0}, results=results).factors() for results in (1, 40))
    assert many[B] / many[A] < few[B] / few[A] < 1.0


def test_where_files_are_misjudged_a_machine_is_less_to_blame() -> None:
    sure, unsure = (pace({A: 1.0, B: 1.6}, files=files).factors() for files in (0.0, 1.0))
    assert abs(unsure[B] / unsure[A] - 1) < abs(sure[B] / sure[A] - 1)


def test_a_machine_with_one_file_is_not_taken_for_its_file() -> None:
    seen = Pace()
    for _ in range(30):
        seen.took(A, 10.0, 10.0, "one")
        seen.took(B, 40.0, 10.0, "other")
    factors = seen.factors()
    assert 0.4 < factors[B] / factors[A] < 0.8, "a part of the 1/4 may be the file's"


def test_the_last_results_count_for_a_machine_may_become_slow_in_the_middle() -> None:
    seen = pace({A: 1.0, B: 1.0}, noise=0.0)
    for number in range(RECENT):
        seen.took(A, 10.0, 10.0, number % 4)
        seen.took(B, 20.0, 10.0, number % 4)
    factors = seen.factors()
    assert factors[B] / factors[A] == pytest.approx(0.5, rel=0.15)


durations = st.floats(0, 1e6)
results = st.lists(st.tuples(st.sampled_from([A, B, C]), durations, durations, st.sampled_from("xyz")), max_size=60)


@given(results)
def test_whatever_was_measured_factors_are_bounded_and_deterministic(
    measured: list[tuple[MachineName, float, float, str]],
) -> None:
    def factors() -> dict[MachineName, float]:
        seen = Pace()
        for machine, took, expected, group in measured:
            seen.took(machine, took, expected, group)
        return seen.factors()

    found = factors()
    assert found == factors()
    assert found.keys() <= {machine for machine, *_ in measured}
    assert all(1 / MOST <= factor <= MOST for factor in found.values())
