"""Workers: tried in careful steps, kept when clearly better, undone when worse, and then left alone."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_dispatch.core.codec import replace
from ci_dispatch.core.model import MachineName, MachineSpec, TestId, Verdict
from ci_dispatch.planning.durations import DurationEstimate
from ci_dispatch.planning.workers import (
    REMEMBERED,
    SETTLED,
    TRIAL,
    WorkersRun,
    next_workers,
    runs_with_workers,
    tuned_workers,
)
from tests.duration_samples import sample

Curve = Callable[[int], float]


def steady(workers: int, rate: float, runs: int) -> list[WorkersRun]:
    return [WorkersRun(workers, rate)] * runs


def played(
    curve: Curve, runs: int, *, usual: int = 16, most: int = 32, noise: float = 0.05, seed: int = 1
) -> list[int]:
    """The numbers used in runs of a machine that does `curve(workers)`."""
    random = Random(seed)
    history: list[WorkersRun] = []
    for _ in range(runs):
        workers = next_workers(history, usual, most)
        history.append(WorkersRun(workers, curve(workers) * random.lognormvariate(0, noise)))
    return [run.workers for run in history]


def test_a_machine_keeps_its_number_until_it_is_settled_and_then_tries_more() -> None:
    assert next_workers([], 16, 32) == 16
    assert next_workers(steady(16, 10.0, SETTLED - 1), 16, 32) == 16
    assert next_workers(steady(16, 10.0, SETTLED), 16, 32) == 20


def test_what_is_clearly_worse_is_undone_after_one_run_and_not_tried_again() -> None:
    history = steady(16, 10.0, SETTLED) + steady(20, 5.0, 1)
    assert next_workers(history, 16, 32) == 16
    history += steady(16, 10.0, SETTLED)
    assert next_workers(history, 16, 32) == 12, "now fewer are tried"


def test_what_is_better_is_kept_and_what_is_alike_is_not() -> None:
    before = steady(16, 10.0, SETTLED)
    assert next_workers(before + steady(20, 12.5, TRIAL - 1), 16, 32) == 20, "still tried"
    assert next_workers(before + steady(20, 12.5, TRIAL), 16, 32) == 20
    assert next_workers(before + steady(20, 10.1, TRIAL), 16, 32) == 16


def test_after_many_runs_with_a_better_number_it_is_still_the_better_one() -> None:
    assert next_workers(steady(16, 10.0, 5) + steady(20, 12.5, REMEMBERED), 16, 32) in (20, 25)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("peak", "found"), [(8, range(7, 13)), (16, range(12, 21)), (40, range(31, 41))])
def test_it_ends_near_the_best_number_and_stays(peak: int, found: range, seed: int) -> None:
    """What a machine does grows with its workers up to `peak`, and falls beyond it: memory, disk, heat."""

    def curve(workers: int) -> float:
        return float(workers) if workers <= peak else peak * (peak / workers)

    used = played(curve, 60, most=40, seed=seed)
    best = max(curve(workers) for workers in range(1, 41))
    late = used[-20:]
    assert sum(workers in found for workers in late) >= 15
    assert sum(map(curve, late)) / len(late) >= 0.85 * best
    assert sum(a != b for a, b in pairwise(late)) <= 4, "no swinging"


def test_trials_on_a_flat_curve_are_rare_and_change_nothing() -> None:
    used = played(lambda _: 10.0, 60)
    assert sum(workers == 16 for workers in used) >= 45


def test_what_was_tried_long_ago_is_tried_again() -> None:
    used = played(lambda workers: 10.0 if workers == 16 else 5.0, 100)
    tries = [number for number, workers in enumerate(used) if workers == 20]
    assert len(tries) >= 3
    assert all(later - earlier >= REMEMBERED for earlier, later in pairwise(tries))


def test_a_run_counts_by_what_was_done_at_full_work_and_failures_count_against_it() -> None:
    durations = {TestId(f"t{n}"): DurationEstimate(10.0, 0.2, 3) for n in range(10)}
    names = list(map(str, durations))
    quick = [sample(name, 0, 5.0, workers=4) for name in names]
    slow = [sample(name, 1, 20.0, workers=4) for name in names]
    half = [
        sample(name, 2, 10.0, workers=8, verdict=Verdict.FAILED if n < 5 else Verdict.PASSED)
        for n, name in enumerate(names)
    ]
    idle = [sample(name, 3, 1.0, workers=4, busy=0.1) for name in names]
    unknown = [sample("new", 4, 1.0, workers=4)] * 10
    found = runs_with_workers([*quick, *slow, *half, *idle, *unknown], durations)
    assert found == {"a": [WorkersRun(4, 8.0), WorkersRun(4, 2.0), WorkersRun(8, 4.0)]}


def test_only_machines_that_are_tuned_get_a_number_within_what_may_be_used() -> None:
    durations = {TestId(f"t{n}"): DurationEstimate(10.0, 0.2, 3) for n in range(10)}
    samples = [sample(f"t{n}", run, 10.0, workers=16) for run in range(SETTLED) for n in range(10)]
    tuned = MachineSpec(name=MachineName("a"), cores=16, tune_workers=True)
    assert tuned_workers(samples, durations, [tuned]) == {"a": 20}
    assert tuned_workers(samples, durations, [tuned], most=18) == {"a": 18}
    assert tuned_workers(samples[:-1], durations, [replace(tuned, workers=8)]) == {"a": 16}, "what it has used"
    assert tuned_workers([], durations, [replace(tuned, workers=8)]) == {"a": 8}
    for other in ({"tune_workers": False}, {"slots": 2}):
        assert tuned_workers(samples, durations, [replace(tuned, **other)]) == {}
    unknown = replace(tuned, cores=0)
    assert tuned_workers([], durations, [unknown]) == {}
    assert tuned_workers(samples, durations, [unknown]) == {"a": 20}


runs = st.lists(st.builds(WorkersRun, st.integers(1, 64), st.floats(0, 1e6)), max_size=50)


@given(runs, st.integers(1, 64), st.integers(1, 64))
def test_the_number_is_always_one_that_may_be_used_and_a_step_is_small(
    history: list[WorkersRun], usual: int, most: int
) -> None:
    number = next_workers(history, usual, most)
    assert 1 <= number <= most
    assert number == next_workers(history, usual, most)
    near = [run.workers for run in history] or [usual]
    assert any(abs(number - known) <= max(1, known // 4) for known in [*near, min(usual, most)])
