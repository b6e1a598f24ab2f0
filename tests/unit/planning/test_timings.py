"""Durations learnt: the median of the last ones counts, and the unknown are not free."""

from __future__ import annotations

from ci_dispatch.core.model import MachineName, RunId, TestId, Verdict
from ci_dispatch.planning.samples import DurationSample
from ci_dispatch.planning.timings import SAMPLES_KEPT, UNKNOWN_SECONDS, Timings

A, B, C, NEW = (TestId(name) for name in ("a", "b", "c", "new"))


def test_the_median_counts_so_that_one_slow_day_does_not() -> None:
    known = Timings({A: (1.0, 90.0, 2.0)})
    assert known.expected([A]) == {A: 2.0}


def test_what_nobody_has_seen_takes_as_long_as_the_slow_ones() -> None:
    known = Timings({A: (1.0,), B: (2.0,), C: (3.0,), TestId("d"): (4.0,), TestId("gone"): (900.0,)})
    expected = known.expected([A, B, C, TestId("d"), NEW])
    assert expected[NEW] == 4.0, "the upper quarter of those that are asked about"
    assert expected[A] == 1.0


def test_with_nothing_known_all_are_alike() -> None:
    assert Timings().expected([A, B]) == {A: UNKNOWN_SECONDS, B: UNKNOWN_SECONDS}
    assert Timings({A: ()}).expected([A]) == {A: UNKNOWN_SECONDS}


def sample(test: TestId, seconds: float, verdict: Verdict = Verdict.PASSED, speed: float = 1.0) -> DurationSample:
    return DurationSample(test=test, file="", project="", machine=MachineName("m"), run=RunId("r"), at=0.0,
                          seconds=seconds, verdict=verdict, speed=speed)  # fmt: skip


def test_the_last_passes_count_on_a_core_of_speed_1() -> None:
    measured = [sample(A, float(n)) for n in range(SAMPLES_KEPT + 1)] + [sample(B, 4.0, speed=0.5)]
    measured += [sample(A, 900.0, verdict) for verdict in Verdict if verdict is not Verdict.PASSED]
    measured += [sample(NEW, 0.12345), sample(NEW, -1.0)]
    known = Timings.of(measured)
    assert known.samples[A] == tuple(float(n) for n in range(1, SAMPLES_KEPT + 1)), "no sample but a pass"
    assert known.samples[B] == (2.0,)
    assert known.samples[NEW] == (0.123, 0.0), "milliseconds, and no clock runs backwards"
