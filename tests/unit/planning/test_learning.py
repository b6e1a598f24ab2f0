"""Ten noisy runs in a row, each planned with what the ones before it taught: speeds are found, and then they rest."""

from __future__ import annotations

from itertools import pairwise
from statistics import mean

import pytest

from tests.learnt_runs import TRUE, relative, runs_in_a_row


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_speeds_converge_within_a_tenth_and_do_not_oscillate(seed: int) -> None:
    runs = runs_in_a_row(10, seed=seed)
    true = relative(TRUE)
    for name in TRUE:
        found = [run.relative()[name] / true[name] for run in runs]
        assert all(0.9 < each < 1.1 for each in found[4:]), (name, found)
        assert max(abs(later / earlier - 1) for earlier, later in pairwise(found[4:])) < 0.05, (name, found)
        assert runs[-1].speeds[name].error < 0.05
        errors = [run.speeds[name].error for run in runs]
        assert errors[-1] < errors[2] < errors[0], "more runs are more certain"


def test_what_was_learnt_makes_runs_shorter() -> None:
    learnt, plain = (runs_in_a_row(6, seed=1, learn=learn) for learn in (True, False))
    assert mean(run.ratio for run in learnt[3:]) < 0.85 * mean(run.ratio for run in plain[3:])
    assert learnt[-1].ratio < learnt[0].ratio
