"""Thirty seeds of the campaign with every test run. `make chaos SEED=N` repeats one, and keeps it when it fails."""

from __future__ import annotations

import pytest

from tests.chaos.campaign import any_plan_of, carry_out
from tests.chaos.plan import Kind

OVER_SSH = (0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 16, 17, 18)
THROUGH_GITHUB = (3, 7, 11, 15, 19, 23, 27, 31, 35, 39, 43, 47, 51, 55, 59)


@pytest.mark.needs("sshd")
@pytest.mark.slow
@pytest.mark.parametrize("seed", OVER_SSH)
def test_over_real_machines_every_promise_holds(seed: int) -> None:
    assert carry_out(seed).violations == (), f"repeat it with: make chaos SEED={seed}"


@pytest.mark.parametrize("seed", THROUGH_GITHUB)
def test_through_github_every_promise_holds(seed: int) -> None:
    assert carry_out(seed).violations == (), f"repeat it with: make chaos SEED={seed}"


def test_these_seeds_have_most_of_what_can_happen() -> None:
    kinds = {fault.kind for seed in OVER_SSH for fault in any_plan_of(seed).faults}
    assert len(kinds) >= 15
    assert Kind.KILLED in kinds
