"""Runners that are started ahead: at most one on a machine, each taken once, none left when the run is over."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path

import pytest

from ci_dispatch.core.codec import replace
from ci_dispatch.core.model import Ended
from ci_dispatch.fleets.machines.standby import Standbys
from ci_dispatch.run.ports import Invocation, Job, JobEnd, JobListener
from ci_dispatch.run.worker_threads import WorkerThreads
from tests.executor_room import BROKEN, EXITED, FAR, FakeMachine, Room
from tests.simulation import VirtualClock

SECONDS = 10.0


class WaitingMachine(FakeMachine):
    """Its jobs that wait do so until they are taken over or killed."""

    def __init__(self) -> None:
        super().__init__(FAR)
        self.over: dict[str, threading.Event] = {}
        self.there = threading.Event()
        self.runs = self._run
        self.broken = False

    def _run(self, job: Job, listener: JobListener) -> JobEnd:
        if not job.waits:
            listener.started()
            if job.standby:
                self.over[job.standby].set()
            return EXITED
        if self.broken:
            raise BROKEN
        over = self.over[job.id] = threading.Event()
        listener.started()
        self.there.set()
        assert over.wait(SECONDS)
        return JobEnd(ended=Ended.CANCELLED)

    def kill(self, job_id: str) -> None:
        super().kill(job_id)
        self.over[job_id].set()


def room_with(machine: WaitingMachine, folder: Path, *, late: bool = True) -> Room:
    room = Room(folder, machine)
    room.suite.late = ("tests",) if late else ()
    return room


def waiting(machine: WaitingMachine) -> list[Job]:
    return [job for job in machine.jobs if job.waits]


def test_the_next_lease_takes_over_what_was_started_while_the_last_one_ran(tmp_path: Path) -> None:
    machine = WaitingMachine()
    room = room_with(machine, tmp_path)
    room.start(1, more=True)
    assert machine.there.wait(SECONDS)
    room.work(2)
    [standby] = waiting(machine)
    assert standby.id == "r-1-standby"
    assert [job.standby for job in machine.jobs if not job.waits] == ["", standby.id]
    room.executor.close()
    assert f"kill {standby.id}" not in machine.asked


def test_one_that_nobody_takes_ends_with_the_run(tmp_path: Path) -> None:
    machine = WaitingMachine()
    room = room_with(machine, tmp_path)
    room.start(1, more=True)
    assert machine.there.wait(SECONDS)
    room.executor.close()
    assert "kill r-1-standby" in machine.asked
    assert room.threads.wait(SECONDS)


def test_a_machine_has_one_at_most(tmp_path: Path) -> None:
    machine, begun = WaitingMachine(), threading.Event()
    begun.set()
    threads = WorkerThreads(lambda _message: None, VirtualClock())
    standbys = Standbys({FAR: machine}, threads, SECONDS)
    invocation = Invocation(argv=("x",), cwd="/", late=("tests",))
    for name in ("a", "b"):
        job = Job(id=name, invocation=invocation, lease_seconds=5.0, timeout=5.0, waits=True)
        standbys.start(FAR, 3, partial(replace, job), begun)
        assert machine.there.wait(SECONDS)
    assert standbys.take(FAR, 1) == "", "a lease of one worker would get three"
    standbys.close()
    assert threads.wait(SECONDS)
    assert [job.id for job in machine.jobs] == ["a"]


@pytest.mark.parametrize(("late", "more"), [(False, True), (True, False)], ids=str)
def test_none_is_started_that_cannot_wait_or_has_nothing_to_wait_for(tmp_path: Path, *, late: bool, more: bool) -> None:
    machine = WaitingMachine()
    room = room_with(machine, tmp_path, late=late)
    room.start(1, more=more)
    assert room.threads.wait(SECONDS)
    assert waiting(machine) == []


def test_one_that_cannot_be_started_costs_nothing(tmp_path: Path) -> None:
    machine = WaitingMachine()
    machine.broken = True
    room = room_with(machine, tmp_path)
    room.start(1, more=True)
    assert room.ends(1).result.ended is Ended.EXITED
    assert room.work(2).result.ended is Ended.EXITED
    assert [job.standby for job in machine.jobs if not job.waits] == ["", ""]
    assert room.noticed() == []
