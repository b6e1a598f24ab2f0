"""Carries out what a `MachineFleet` asks for: one thread for each running job. Nothing here decides.

Whatever happens to a job, exactly one `LeaseEnded` message tells its end.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO

from ci_dispatch.core.errors import ControllerError
from ci_dispatch.core.model import (
    AttemptResult,
    Connection,
    Ended,
    FailureCause,
    Lease,
    LeaseNumber,
    MachineName,
    RunId,
    Test,
)
from ci_dispatch.fleets.machines.fleet import CancelJob, Collecting, StartJob
from ci_dispatch.fleets.machines.standby import Standbys
from ci_dispatch.run import messages as m
from ci_dispatch.run.ports import Invocation, Job, JobEnd, Machine, MachineError, Suite, WorkTree, WorkTreeChanged
from ci_dispatch.run.worker_threads import WorkerThreads
from report_merge.sanitize import one_line

SWEEP_SECONDS = 30.0  # a busy machine gets the supervisor, starts Python, and may have stubborn jobs to end
COLLECT_SECONDS = 120.0
ENDING_SECONDS = 30.0  # for jobs that were cancelled to end; their machines end them anyway
RELEASE_SECONDS = 3.0
SYNCED_SECONDS = 600.0  # until a machine is asked again: it keeps the tree for three times as long
SHOWN_OUTPUT = 4096  # bytes of output a watcher gets in one piece
FOLLOWED_OUTPUT = 1 << 20  # bytes of one attempt's output shown live; the file has all of it


class MachineExecutor:
    """Runs leases' shards on machines (`ports.Executor`)."""

    takes: tuple[type[m.Command], ...] = (StartJob, CancelJob)

    def __init__(
        self,
        *,
        run: RunId,
        machines: Mapping[MachineName, Machine],
        suite: Suite,
        tree: WorkTree,
        folder: Path,
        threads: WorkerThreads,
        lease_seconds: float,
        shard_timeout: float,
        sync_timeout: float,
        prepare: str = "",
        prepare_here: bool = False,
        extra: Sequence[str] = (),
    ) -> None:
        """`folder` gets one folder for each attempt.

        `prepare` is a shell command that makes a work tree ready where it was brought to; also on this computer
        itself when `prepare_here`, because it is a fresh checkout.
        """
        self._run = run
        self._machines = machines
        self._suite = suite
        self._tree = tree
        self._folder = folder
        self._threads = threads
        self._lease_seconds = lease_seconds
        self._shard_timeout = shard_timeout
        self._sync_timeout = sync_timeout
        self._prepare, self._prepare_here = prepare, prepare_here
        self._extra = tuple(extra)
        self._standbys = Standbys(machines, threads, 2 * sync_timeout + SWEEP_SECONDS)
        self._synced: dict[MachineName, float] = {}  # when, on the monotonic clock; each is written under its lock
        self._prepared: dict[MachineName, str] = {}  # for which generation of the tree
        self._sync_locks = {name: threading.Lock() for name in machines}
        self._jobs: dict[LeaseNumber, _RunningJob] = {}  # of the loop's thread alone

    def carry_out(self, command: m.Command) -> None:
        match command:
            case StartJob(lease=lease):
                job = self._jobs[lease.number] = _RunningJob(self._job_id(lease), lease.machine)
                self._threads.start(
                    f"lease {lease.number}",
                    lambda: m.LeaseEnded(lease.number, self._work(command, job)),
                    lambda error: m.LeaseEnded(lease.number, _not_started(f"internal error: {error}")),
                )
                if command.more:
                    make = partial(self._standby, command, job.id)
                    self._standbys.start(lease.machine, command.workers, make, job.begun)
            case CancelJob(lease=number, now=now):
                self._cancel(number, now=now)
            case _:
                raise AssertionError(command)

    def close(self) -> None:
        """End every job that still runs, and wait for that."""
        self._standbys.close()
        for number, job in self._jobs.items():
            if not job.ended.is_set():
                self._cancel(number, now=True)
        for name in list(self._synced):
            self._threads.start(f"release {name}", partial(self._release, name), lambda _error: m.Tick())
        self._threads.wait(ENDING_SECONDS)

    def _release(self, name: MachineName) -> m.Message:
        with suppress(MachineError):  # it cannot be reached: it gives the tree away by itself, later
            self._machines[name].release(RELEASE_SECONDS)
        return m.Tick()

    def _cancel(self, number: LeaseNumber, *, now: bool) -> None:
        if number not in self._jobs:  # granted, and the run ended before it was started
            return
        job = self._jobs[number]
        job.cancelled.set()
        machine = self._machines[job.machine]

        def work() -> m.Message:
            with suppress(MachineError):  # it cannot be reached: its own lease ends the job
                (machine.kill if now else machine.cancel)(job.id)
            return m.Tick()

        self._threads.start(f"cancel {number}", work, lambda _error: m.Tick())

    def _job_id(self, lease: Lease) -> str:
        """What the job is called on its machine: never like another, also when a journal has lost the end of a run."""
        return "-".join(filter(None, (self._run, str(lease.number), lease.epoch)))

    # -- on worker threads ------------------------------------------------------------------------------------------

    def _work(self, start: StartJob, job: _RunningJob) -> AttemptResult:
        try:
            return self._attempt(start, job)
        except WorkTreeChanged as error:
            ended = Ended.EXITED if error.ran else Ended.NOT_STARTED
            return AttemptResult(ended=ended, cause=FailureCause.TREE, reason=f"{error.what}; {error.hint}")
        except MachineError as error:
            return _not_started(str(error))
        except OSError as error:  # a machine's are MachineErrors: this one is of a file here
            hint = "free space, or check who owns it; then `ci-dispatch resume`"
            raise ControllerError("The attempt's files could not be stored", why=str(error), hint=hint) from error
        finally:
            job.begun.set()
            job.ended.set()

    def _attempt(self, start: StartJob, running: _RunningJob) -> AttemptResult:
        lease, machine = start.lease, self._machines[start.lease.machine]
        self._sync(machine, running.id)
        if running.cancelled.is_set():
            return AttemptResult(ended=Ended.CANCELLED, reason="cancelled before it started")
        folder = self._folder / str(lease.number)
        folder.mkdir(parents=True, exist_ok=True)
        invocation = self._invocation(start, running.id)
        with (folder / "output.log").open("ab", buffering=0) as output, (folder / "live.jsonl").open("ab", 0) as live:
            listener = _JobOutput(lease.number, self._threads.post, self._suite, output, live, running.begun)
            job = Job(
                id=running.id,
                invocation=invocation,
                lease_seconds=self._lease_seconds,
                timeout=self._shard_timeout,
                output_offset=output.tell(),
                live_offset=live.tell(),
                standby=self._standbys.take(lease.machine, start.workers),
            )
            end = machine.run(job, listener)
        if end.ended is Ended.NOT_STARTED:  # its tree may be another run's by now
            self._synced.pop(machine.spec.name, None)
        self._threads.post(Collecting(lease.number))
        return self._read(machine, running.id, start.tests, folder, end)

    def _invocation(self, start: StartJob, job_id: str) -> Invocation:
        place = self._machines[start.lease.machine].place(job_id)
        return self._suite.invocation(
            start.tests, place, workers=start.workers, shard=start.lease.number, extra=self._extra
        )

    def _standby(self, start: StartJob, job_id: str) -> Job:
        """What comes after the lease of `start`, on the same machine: its tests are not known yet."""
        name = f"{job_id}-standby"
        return Job(
            id=name,
            invocation=self._invocation(start, name),
            lease_seconds=self._lease_seconds,
            timeout=self._shard_timeout,
            waits=True,
        )

    def _sync(self, machine: Machine, job_id: str) -> None:
        """Once a run on each machine: end what earlier runs left behind, bring the work tree, make it ready.

        Later only see to it that the tree is still there and stays the run's.
        """
        name = machine.spec.name
        with self._sync_locks[name]:
            synced = self._synced.get(name)
            if synced is not None and time.monotonic() - synced < SYNCED_SECONDS:
                return
            if synced is None and (ended := machine.sweep(SWEEP_SECONDS)):
                text = f"{ended} processes that an earlier run had left behind were ended"
                self._threads.post(m.Noticed(name, text))
            began = time.monotonic()
            generation = machine.sync(self._tree, self._sync_timeout)
            unprepared = self._prepared.get(name) != generation
            as_it_is = machine.spec.connection is Connection.LOCAL and not self._prepare_here
            if self._prepare and unprepared and not as_it_is:
                self._make_ready(machine, f"{job_id}-prepare")
                self._prepared[name] = generation
            self._synced[name] = began

    def _make_ready(self, machine: Machine, job_id: str) -> None:
        invocation = Invocation(argv=("/bin/sh", "-c", self._prepare), cwd=machine.place(job_id).tree)
        listener = _OutputTail()
        job = Job(id=job_id, invocation=invocation, lease_seconds=self._lease_seconds, timeout=self._sync_timeout)
        end = machine.run(job, listener)
        if end.ended is not Ended.EXITED or end.exit_code:
            raise MachineError(
                f"the work tree could not be made ready: {one_line(self._prepare, 100)}",
                stage="prepare",
                why=f"{end.reason or f'exit code {end.exit_code}'}: {one_line(listener.text(), 500)}",
                hint="run it by hand on that machine; `prepare` in the section [suite] says what is run",
            )

    def _read(self, machine: Machine, job_id: str, tests: Sequence[Test], folder: Path, end: JobEnd) -> AttemptResult:
        """What the attempt came to; with no machine left to ask, the live results already here must do."""
        note = ""
        if end.ended is not Ended.LOST:
            try:
                machine.collect(job_id, folder, COLLECT_SECONDS)
            except MachineError as error:
                note = f"its reports could not be fetched: {error}"
        reading = self._suite.read(tests, folder, end)
        gone = end.ended in (Ended.LOST, Ended.LEASE_ENDED)
        return AttemptResult(
            ended=end.ended,
            cause=FailureCause.MACHINE if gone else reading.cause,
            reason="; ".join(part for part in (end.reason, reading.reason, note) if part),
            exit_code=end.exit_code,
            seconds=end.seconds,
            results=reading.results,
            suspects=reading.suspects,
            unexpected=reading.unexpected,
            unlisted=reading.unlisted,
        )


@dataclass(frozen=True, slots=True)
class _RunningJob:
    id: str
    machine: MachineName
    cancelled: threading.Event = field(default_factory=threading.Event)
    begun: threading.Event = field(default_factory=threading.Event)  # or ended before
    ended: threading.Event = field(default_factory=threading.Event)


def _not_started(reason: str) -> AttemptResult:
    return AttemptResult(ended=Ended.NOT_STARTED, cause=FailureCause.MACHINE, reason=reason)


class _OutputTail:
    """Remembers the end of a job's output."""

    def __init__(self) -> None:
        self._end = b""

    def started(self) -> None: ...
    def beat(self) -> None: ...
    def live(self, data: bytes) -> None: ...

    def output(self, data: bytes) -> None:
        self._end = (self._end + data)[-SHOWN_OUTPUT:]

    def text(self) -> str:
        return self._end.decode("utf-8", "replace").strip()


class _JobOutput:
    """Hears one job: bytes go to the attempt's files, news to the loop."""

    def __init__(
        self,
        lease: LeaseNumber,
        post: Callable[[m.Message], None],
        suite: Suite,
        output: IO[bytes],
        live: IO[bytes],
        begun: threading.Event,
    ) -> None:
        self._lease = lease
        self._post = post
        self._suite = suite
        self._output = output
        self._live = live
        self._begun = begun
        self._line = b""
        self._shown = 0

    def started(self) -> None:
        self._begun.set()
        self._post(m.Started(self._lease))

    def beat(self) -> None:
        self._post(m.Beat(self._lease))

    def output(self, data: bytes) -> None:
        self._output.write(data)
        if self._shown < FOLLOWED_OUTPUT:
            self._shown += len(data)
            for begin in range(0, len(data), SHOWN_OUTPUT):
                piece = data[begin : begin + SHOWN_OUTPUT].decode("utf-8", "replace")
                self._post(m.Output(self._lease, piece))

    def live(self, data: bytes) -> None:
        self._live.write(data)
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            if (result := self._suite.live_result(line)) is not None:
                self._post(m.Reported(self._lease, result))
