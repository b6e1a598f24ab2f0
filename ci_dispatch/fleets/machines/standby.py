"""Runners that are started ahead: while a lease runs, the next one's runner starts, and waits to be taken over.

A standby is a job like any other, with a lease, a supervisor and a watchdog of its own. Nothing of a run depends on it:
a lease that finds none starts its runner itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress

from ci_dispatch.core.model import MachineName
from ci_dispatch.run import messages as m
from ci_dispatch.run.ports import Job, Machine, MachineError
from ci_dispatch.run.worker_threads import WorkerThreads


class Standbys:
    """At most one on each machine."""

    def __init__(self, machines: Mapping[MachineName, Machine], threads: WorkerThreads, seconds: float) -> None:
        """`seconds`: how long a lease may take to begin, before which none is started."""
        self._machines, self._threads, self._seconds = machines, threads, seconds
        self._lock = threading.Lock()
        self._kept: dict[MachineName, str] = {}  # ids of jobs, from before they start
        self._waiting: dict[str, int] = {}  # of them, those that are there, with their workers
        self._closed = False

    def start(self, machine: MachineName, workers: int, make: Callable[[], Job], begun: threading.Event) -> None:
        """Start what `make` gives, for so many workers, as soon as the lease before it has `begun`.

        None when there is one already, or when the runner cannot wait.
        """
        self._threads.start(
            f"standby {machine}", lambda: self._keep(machine, workers, make, begun), lambda _error: m.Tick()
        )

    def take(self, machine: MachineName, workers: int) -> str:
        """The id of the one that waits on `machine` with so many workers, "" for none; it is the caller's now."""
        with self._lock:
            if self._waiting.get(self._kept.get(machine, "")) != workers:
                return ""
            job_id = self._kept.pop(machine)
            del self._waiting[job_id]
            return job_id

    def close(self) -> None:
        """End those that nobody has taken."""
        with self._lock:
            self._closed = True
            left = dict(self._kept)
        for machine, job_id in left.items():
            with suppress(MachineError):  # it cannot be reached: its own lease ends the job
                self._machines[machine].kill(job_id)

    def _keep(self, machine: MachineName, workers: int, make: Callable[[], Job], begun: threading.Event) -> m.Message:
        """Until it is taken over, or has ended. Whatever goes wrong costs nothing but its head start."""
        if not begun.wait(self._seconds):
            return m.Tick()
        with suppress(MachineError):
            job = make()
            if job.invocation.late and self._keeps(machine, job.id):
                try:
                    self._machines[machine].run(job, _Started(lambda: self._waits(machine, job.id, workers)))
                finally:
                    self._is_over(machine, job.id)
        return m.Tick()

    def _keeps(self, machine: MachineName, job_id: str) -> bool:
        with self._lock:
            return not self._closed and self._kept.setdefault(machine, job_id) == job_id

    def _waits(self, machine: MachineName, job_id: str, workers: int) -> None:
        with self._lock:
            if self._kept.get(machine) == job_id:
                self._waiting[job_id] = workers

    def _is_over(self, machine: MachineName, job_id: str) -> None:
        with self._lock:
            self._waiting.pop(job_id, None)
            if self._kept.get(machine) == job_id:
                del self._kept[machine]


class _Started:
    """Hears nothing but that a job is there."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell

    def started(self) -> None:
        self._tell()

    def beat(self) -> None: ...
    def output(self, data: bytes) -> None: ...
    def live(self, data: bytes) -> None: ...
