"""Thirty seeds of the campaign with every test run. `make chaos SEED=N` repeats one, and keeps it when it fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.campaign import any_plan_of, carry_out
from tests.chaos.plan import Kind

OVER_SSH = (0, 4, 8, 12, 14, 16, 24, 28, 34, 36, 44, 60)  # short ones, in which most of what can happen does
THROUGH_GITHUB = range(1, 37, 2)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc: Linux only")
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
    assert len(kinds) >= 20
    assert Kind.KILLED in kinds
