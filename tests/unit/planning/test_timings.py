"""Durations learnt: the median of the last ones counts, the unknown are not free, and a strange file is refused."""

from __future__ import annotations

import pytest

from ci_dispatch.core.model import TestId
from ci_dispatch.planning import timings
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


def test_new_samples_push_out_the_oldest() -> None:
    known = Timings({A: tuple(float(n) for n in range(SAMPLES_KEPT)), B: (5.0,)})
    more = known.with_samples([(A, 100.0), (NEW, 0.12345), (NEW, -1.0)])
    assert more.samples[A] == (*(float(n) for n in range(1, SAMPLES_KEPT)), 100.0)
    assert more.samples[NEW] == (0.123, 0.0), "milliseconds, and no clock runs backwards"
    assert more.samples[B] == (5.0,), "what did not run is not forgotten"
    assert len(known.samples[A]) == SAMPLES_KEPT, "the old timings are as they were"


def test_what_is_written_is_what_is_read() -> None:
    known = Timings({A: (1.0, 2.5), TestId("名前 › x"): (0.001,)})
    assert timings.loads(timings.dumps(known)) == known


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[" * 100_000,
        "7",
        "[]",
        "{}",
        '{"version": 99, "samples": {}}',
        '{"version": 1}',
        '{"version": 1, "samples": {"a": ["x"]}}',
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  json's own error is one too
        timings.loads(text)


@pytest.mark.parametrize(
    "samples", ["7", '{"a": 7}', '{"a": null}', '{"a": [[]]}', '{"a": [NaN]}', '{"a": [Infinity]}', '{"a": [-1]}']
)
def test_samples_of_a_strange_shape_are_refused_and_never_crash(samples: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        timings.loads(f'{{"version": 1, "samples": {samples}}}')
