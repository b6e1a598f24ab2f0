"""Other tools' ways to share a suite: who runs what is as their sources say, and nothing is lost unseen."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_dispatch.core.model import MachineName
from ci_dispatch.planning.policies import SHARING_POLICIES, SharedRun, SharedUnit, SharingWorker

A, B = MachineName("a"), MachineName("b")
GIVES_ON = {"worksteal", "parallel"}  # what a machine had that goes


def shared(policy: str, seconds: Sequence[float], *, files: str = "", gone: float = 1e9) -> SharedRun:
    """Units over two workers, of which the second is gone after so many seconds; a runner starts in one."""
    units = [SharedUnit(file, known) for file, known in zip(files or "f" * len(seconds), seconds, strict=True)]
    workers = [SharingWorker(A, 0.0, 1.0), SharingWorker(B, 0.0, 1.0)]

    def lasts(worker: int, unit: int, at: float) -> tuple[float, bool]:
        left = gone - at if worker else 1e9
        return (seconds[unit], True) if seconds[unit] <= left else (max(0.0, left), False)

    return SHARING_POLICIES[policy][1](units, workers, lasts)


@pytest.mark.parametrize(
    ("policy", "makespan"),
    [
        ("shard", 10.0),  # 5 4 | 1 1
        ("pytest-split", 7.0),  # 5 | 4 1 1: the cut is where half of the time is over
        ("least-duration", 7.0),  # 5 1 | 4 1, and one start each
        ("lpt-file", 10.0),  # x is 9 long
        ("worksteal", 10.0),  # two of each: nobody has enough left to be robbed of
        ("parallel", 8.0),  # 1+5 | 1+4, then 1+1 each
    ],
)
def test_each_shares_as_its_source_says(policy: str, makespan: float) -> None:
    run = shared(policy, [5.0, 4.0, 1.0, 1.0], files="xxyz")
    assert run.makespan == makespan
    assert not run.lost
    assert sum(run.busy.values()) == 11.0


def test_worksteal_takes_half_of_the_longest_queue() -> None:
    run = shared("worksteal", [5.0, 5.0, 5.0, 5.0, 1.0, 1.0, 1.0, 1.0])
    assert run.busy == {A: 15.0, B: 9.0}


@pytest.mark.parametrize("policy", SHARING_POLICIES)
def test_what_a_machine_had_that_goes_is_lost_unless_the_tool_gives_it_on(policy: str) -> None:
    run = shared(policy, [2.0] * 8, files="abcdefgh", gone=4.0)
    assert bool(run.lost) is (policy not in GIVES_ON)
    assert run.busy[A] + run.busy[B] + 2.0 * len(run.lost) == 16.0


@pytest.mark.parametrize("policy", SHARING_POLICIES)
@given(
    seconds=st.lists(st.floats(0.001, 100), min_size=1, max_size=40),
    files=st.text("abc", min_size=40, max_size=40),
    gone=st.floats(0, 500),
)
def test_every_unit_ran_once_or_is_named_as_lost(policy: str, seconds: list[float], files: str, gone: float) -> None:
    run = shared(policy, seconds, files=files[: len(seconds)], gone=gone)
    assert len(run.lost) == len(set(run.lost))
    ran = sum(seconds) - sum(seconds[unit] for unit in run.lost)
    assert sum(run.busy.values()) == pytest.approx(ran)
    assert run.makespan >= ran / 2
    assert not run.lost or policy not in GIVES_ON
