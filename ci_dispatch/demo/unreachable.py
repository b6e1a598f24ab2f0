"""A machine that becomes unreachable in the middle of its work: it stops answering, and nothing says why."""

from __future__ import annotations

import threading
from pathlib import Path

from ci_dispatch.core.events import MachineChecked
from ci_dispatch.core.model import Ended, MachineSpec
from ci_dispatch.run.ports import AttemptPaths, Job, JobEnd, JobListener, Machine, MachineError, WorkTree


class UnreachableMachine:
    """Works as `machine` does until `seconds` after it began its first job; from then on it never answers."""

    def __init__(self, machine: Machine, seconds: float) -> None:
        self._machine = machine
        self._seconds = seconds
        self._unreachable = threading.Event()
        self._running = ""
        self._timer: threading.Timer | None = None

    @property
    def spec(self) -> MachineSpec:
        return self._machine.spec

    def check(self, deadline: float, *, busy: bool = False) -> MachineChecked:
        if self._unreachable.is_set():
            name = self.spec.name
            return MachineChecked(
                machine=name, healthy=False, reachable=False, problems=("no answer",), text="no answer"
            )
        return self._machine.check(deadline, busy=busy)

    def sync(self, tree: WorkTree, deadline: float) -> str:
        self._require_reachable()
        return self._machine.sync(tree, deadline)

    def release(self, deadline: float) -> None:
        self._require_reachable()
        self._machine.release(deadline)

    def place(self, job_id: str) -> AttemptPaths:
        return self._machine.place(job_id)

    def run(self, job: Job, listener: JobListener) -> JobEnd:
        self._require_reachable()
        self._running = job.id
        if self._timer is None:
            self._timer = threading.Timer(self._seconds, self._stop_answering)
            self._timer.daemon = True
            self._timer.start()
        end = self._machine.run(job, _UntilUnreachable(listener, self._unreachable))
        return JobEnd(ended=Ended.LOST, reason="the machine does not answer") if self._unreachable.is_set() else end

    def cancel(self, job_id: str) -> None:
        self._machine.cancel(job_id)

    def kill(self, job_id: str) -> None:
        self._machine.kill(job_id)

    def collect(self, job_id: str, into: Path, deadline: float) -> None:
        self._require_reachable()
        self._machine.collect(job_id, into, deadline)

    def sweep(self, deadline: float) -> int:
        self._require_reachable()
        return self._machine.sweep(deadline)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._machine.close()

    def _require_reachable(self) -> None:
        if self._unreachable.is_set():
            raise MachineError(f"{self.spec.name} does not answer", stage="connect")

    def _stop_answering(self) -> None:
        self._unreachable.set()
        self._machine.kill(self._running)


class _UntilUnreachable:
    """Passes on what a job reports, until its machine is unreachable."""

    def __init__(self, listener: JobListener, unreachable: threading.Event) -> None:
        self._listener = listener
        self._unreachable = unreachable

    def started(self) -> None:
        if not self._unreachable.is_set():
            self._listener.started()

    def beat(self) -> None:
        if not self._unreachable.is_set():
            self._listener.beat()

    def output(self, data: bytes) -> None:
        if not self._unreachable.is_set():
            self._listener.output(data)

    def live(self, data: bytes) -> None:
        if not self._unreachable.is_set():
            self._listener.live(data)
