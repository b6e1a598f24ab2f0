"""Durations learnt: one value a run, the median of the newest, failures by rule, and nothing unknown is free."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_dispatch.core.model import MachineName, MachineSpec, Test, TestId, UnitId, Verdict
from ci_dispatch.planning.durations import (
    FAILING,
    UNKNOWN_SECONDS,
    DurationEstimate,
    learn_durations,
    weighted_median,
)
from ci_dispatch.planning.samples import DurationSample
from ci_dispatch.planning.speeds import LearntSpeeds, learn_speeds
from tests.duration_samples import sample


def case(name: str, file: str = "f", project: str = "") -> Test:
    return Test(id=TestId(name), unit=UnitId(name), file=file, project=project)


T = case("t")


def estimate(samples: Sequence[DurationSample], speeds: LearntSpeeds | None = None) -> DurationEstimate:
    return learn_durations([T], samples, speeds or LearntSpeeds())[T.id]


def test_the_median_of_the_newest_runs_counts_so_that_one_slow_day_does_not() -> None:
    found = estimate([sample(run=run, seconds=s) for run, s in enumerate([10, 11, 9, 10, 90])])
    assert found.seconds == pytest.approx(10, abs=1)
    assert found.runs == 5


def test_a_test_that_was_changed_is_followed_within_a_few_runs() -> None:
    found = estimate([sample(run=run, seconds=s) for run, s in enumerate([10] * 7 + [30] * 3)])
    assert found.seconds in (10, 30)
    assert estimate([sample(run=run, seconds=s) for run, s in enumerate([10] * 6 + [30] * 4)]).seconds == 30


def test_seconds_are_those_of_a_core_of_speed_1() -> None:
    fleet = [MachineSpec(name=MachineName("a"), speed=1.0), MachineSpec(name=MachineName("b"), speed=0.5)]
    speeds = learn_speeds((), fleet)
    assert estimate([sample(machine="b", seconds=20)], speeds).seconds == 10
    assert estimate([sample(machine="a", seconds=20)], speeds).seconds == 20


def test_what_ran_beside_nobody_is_expected_to_take_longer_beside_others() -> None:
    assert estimate([sample(busy=0.25)]).seconds > estimate([sample(busy=1.0)]).seconds


@pytest.mark.parametrize("verdict", [Verdict.SKIPPED, Verdict.NOT_RUN])
def test_skipped_is_no_sample(verdict: Verdict) -> None:
    passed = [sample(run=0), sample(run=1)]
    nothing = [sample(run=run, seconds=0.0, verdict=verdict) for run in range(2, 8)]
    assert estimate([*passed, *nothing]) == estimate(passed)
    assert estimate(nothing).runs == 0


def test_a_failure_counts_only_when_failing_is_what_to_expect() -> None:
    passed = [sample(run=run, seconds=10) for run in range(4)]
    failed = [sample(run=run, seconds=60, verdict=Verdict.FAILED) for run in range(4, 4 + FAILING)]
    assert estimate([*passed, *failed[:-1]]) == estimate(passed)
    assert estimate([*passed, *failed]).seconds == 60
    assert estimate([*passed, *failed, sample(run=9, seconds=10)]).seconds == 10, "it passes again"
    assert estimate(failed[:1]).seconds == 60, "nothing else is known"


def test_attempts_of_one_run_are_one_sample() -> None:
    parts = [sample(run=0, seconds=10), sample(run=0, seconds=12), sample(run=0, seconds=14, machine="b")]
    assert estimate(parts) == estimate([sample(run=0, seconds=12)])
    retried = [sample(run=0, seconds=60, verdict=Verdict.FAILED), sample(run=0, seconds=10)]
    assert estimate(retried) == estimate(retried[1:])


def test_what_nobody_has_seen_takes_as_long_as_the_slow_ones_of_its_file_or_project_or_the_suite() -> None:
    known = [case(f"k{n}", "slow", "p") for n in range(4)] + [case(f"q{n}", "quick", "p") for n in range(4)]
    other = [case("o0", "other", "o")]
    samples = [sample(f"k{n}", seconds=100 + n, project="p") for n in range(4)]
    samples += [sample(f"q{n}", seconds=1 + n, project="p") for n in range(4)]
    samples += [sample("o0", seconds=7, project="o"), sample("gone", seconds=9000)]
    new = [
        case("n1", "slow", "p"),
        case("n2", "quick", "p"),
        case("n3", "x", "p"),
        case("n4", "other", "o"),
    ]
    found = learn_durations([*known, *other, *new], samples, LearntSpeeds())
    assert [found[test.id].seconds for test in new] == [103, 4, 102, 101]
    assert all(found[test.id].runs == 0 for test in new)
    assert found[new[0].id].spread > found[known[0].id].spread, "a guess is less certain than a measurement"


def test_with_nothing_known_all_are_alike() -> None:
    tests = [case(name) for name in ("a", "b")]
    assert [each.seconds for each in learn_durations(tests, (), LearntSpeeds()).values()] == [UNKNOWN_SECONDS] * 2


def test_more_runs_that_agree_are_more_certain_and_runs_that_differ_less() -> None:
    one, many = (estimate([sample(run=run) for run in range(runs)]) for runs in (1, 8))
    wild = estimate([sample(run=run, seconds=s) for run, s in enumerate([1, 100, 10, 3, 30, 10, 1, 100])])
    assert many.spread < one.spread < wild.spread


def test_a_median_without_values_is_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        weighted_median([], [])


@given(st.lists(st.floats(0.01, 1e6), min_size=1, max_size=20))
def test_with_equal_weights_it_is_the_median(values: list[float]) -> None:
    assert weighted_median(values, [1.0] * len(values)) == median(values)


rows = st.lists(
    st.builds(
        sample,
        st.sampled_from(["t", "u", "gone"]),
        st.integers(0, 5),
        st.floats(0, 1e6),
        machine=st.sampled_from("abc"),
        verdict=st.sampled_from(Verdict),
        busy=st.floats(0, 1),
    ),
    max_size=30,
)


@given(rows)
def test_every_test_is_expected_to_take_some_time_and_nothing_else_is_told(
    samples: list[DurationSample],
) -> None:
    tests = [T, case("u", "g", "p"), case("new", "g", "p")]
    found = learn_durations(tests, samples, LearntSpeeds())
    assert list(found) == [test.id for test in tests]
    assert all(0 < each.seconds < 1e9 for each in found.values())
    assert all(0 < each.spread < 100 for each in found.values())
    assert found == learn_durations(tests, samples, LearntSpeeds())
