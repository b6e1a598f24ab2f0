"""A machine that dies in the middle of its work, as seen from outside: it stops answering, and that is all."""

from __future__ import annotations

import threading
from pathlib import Path

from ci_dispatch.core.events import MachineChecked
from ci_dispatch.core.model import Ended, MachineSpec
from ci_dispatch.run.ports import AttemptPaths, Job, JobEnd, JobListener, Machine, MachineError, WorkTree


class MortalMachine:
    """Another machine, until `seconds` after it began to work; from then on nobody hears from it."""

    def __init__(self, machine: Machine, seconds: float) -> None:
        self._machine = machine
        self._seconds = seconds
        self._dead = threading.Event()
        self._running = ""
        self._timer: threading.Timer | None = None

    @property
    def spec(self) -> MachineSpec:
        return self._machine.spec

    def check(self, deadline: float, *, busy: bool = False) -> MachineChecked:
        if self._dead.is_set():
            name = self.spec.name
            return MachineChecked(
                machine=name, healthy=False, reachable=False, problems=("no answer",), text="no answer"
            )
        return self._machine.check(deadline, busy=busy)

    def sync(self, tree: WorkTree, deadline: float) -> None:
        self._alive()
        self._machine.sync(tree, deadline)

    def place(self, job_id: str) -> AttemptPaths:
        return self._machine.place(job_id)

    def run(self, job: Job, listener: JobListener) -> JobEnd:
        self._alive()
        self._running = job.id
        if self._timer is None:
            self._timer = threading.Timer(self._seconds, self._die)
            self._timer.daemon = True
            self._timer.start()
        end = self._machine.run(job, _Mute(listener, self._dead))
        return JobEnd(ended=Ended.LOST, reason="the machine does not answer") if self._dead.is_set() else end

    def cancel(self, job_id: str) -> None:
        self._machine.cancel(job_id)

    def kill(self, job_id: str) -> None:
        self._machine.kill(job_id)

    def collect(self, job_id: str, into: Path, deadline: float) -> None:
        self._alive()
        self._machine.collect(job_id, into, deadline)

    def sweep(self, deadline: float) -> int:
        self._alive()
        return self._machine.sweep(deadline)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._machine.close()

    def _alive(self) -> None:
        if self._dead.is_set():
            raise MachineError(f"{self.spec.name} does not answer", stage="connect")

    def _die(self) -> None:
        self._dead.set()
        self._machine.kill(self._running)


class _Mute:
    """Passes on what a job tells, until the machine is dead."""

    def __init__(self, listener: JobListener, dead: threading.Event) -> None:
        self._listener = listener
        self._dead = dead

    def started(self) -> None:
        if not self._dead.is_set():
            self._listener.started()

    def beat(self) -> None:
        if not self._dead.is_set():
            self._listener.beat()

    def output(self, data: bytes) -> None:
        if not self._dead.is_set():
            self._listener.output(data)

    def live(self, data: bytes) -> None:
        if not self._dead.is_set():
            self._listener.live(data)
