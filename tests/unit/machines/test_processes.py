"""Which processes belong to a job, and in which order they are ended."""

from __future__ import annotations

import os

import pytest

from ci_dispatch.machines.supervisor import processes
from ci_dispatch.machines.supervisor.processes import Process, belonging, end_members

RUNNER, FIRST, SECOND, GRANDCHILD = 900, 30, 950, 20  # numbers wrap around: a child's may be smaller
MARK = "jobs/1"


@pytest.fixture
def living(monkeypatch: pytest.MonkeyPatch) -> dict[int, Process]:
    """A runner with two workers, one of which has a child, and what does not belong to it."""
    shape = ((RUNNER, 1), (FIRST, RUNNER), (SECOND, RUNNER), (GRANDCHILD, FIRST))
    table = {pid: Process(pid, parent, RUNNER, "python", MARK) for pid, parent in shape}
    table[7] = Process(7, 1, 7, "cron", "")
    table[8] = Process(8, 8, 8, "itself", "")
    monkeypatch.setattr(processes, "processes", lambda: dict(table))
    return table


@pytest.mark.usefixtures("living")
def test_parents_come_before_their_children() -> None:
    assert list(belonging(MARK)) == [RUNNER, FIRST, SECOND, GRANDCHILD]


def test_a_runner_is_ended_before_it_can_see_a_worker_die(
    living: dict[int, Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[int] = []

    def kill(pid: int, _number: int) -> None:
        killed.append(pid)
        del living[pid]

    monkeypatch.setattr(os, "kill", kill)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    assert end_members(MARK, terminate=0) == {}
    assert killed == [RUNNER, FIRST, SECOND, GRANDCHILD]
