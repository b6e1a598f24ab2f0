"""The hands: one thread for each running job and each check; they carry out effects and only enqueue what they hear.

Nothing here decides. Whatever happens to a job, exactly one `Finished` message tells its end.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from ci_dispatch.core.model import AttemptResult, Connection, Ended, FailureCause, LeaseNumber, MachineName, RunId, Test
from ci_dispatch.run import messages as m
from ci_dispatch.run.ports import Clock, Invocation, Job, JobEnd, Machine, MachineError, Suite, WorkTree
from report_merge.plain import one_line

COLLECT_SECONDS = 120.0
SHOWN_OUTPUT = 4096  # bytes of output a watcher gets in one piece
FOLLOWED_OUTPUT = 1 << 20  # bytes of one attempt's output shown live; the file has all of it


class Crew:
    """Carries out the engine's effects on real machines."""

    def __init__(
        self,
        *,
        run: RunId,
        machines: Mapping[MachineName, Machine],
        suite: Suite,
        tree: WorkTree,
        folder: Path,
        post: Callable[[m.Message], None],
        lease_seconds: float,
        shard_timeout: float,
        sync_timeout: float,
        check_timeout: float,
        clock: Clock,
        prepare: str = "",
        extra: Sequence[str] = (),
    ) -> None:
        """`folder` gets one folder for each attempt; `post` must be safe to call from any thread.

        `prepare` is a shell command that makes a work tree ready where it was brought to.
        """
        self._run = run
        self._machines = machines
        self._suite = suite
        self._tree = tree
        self._folder = folder
        self._post = post
        self._lease_seconds = lease_seconds
        self._shard_timeout = shard_timeout
        self._sync_timeout = sync_timeout
        self._check_timeout = check_timeout
        self._clock = clock
        self._prepare = prepare
        self._extra = tuple(extra)
        self._synced: set[MachineName] = set()  # these have worked for this run
        self._lone = [machine.spec.connection for machine in machines.values()] == [Connection.LOCAL]
        self._sync_locks = {name: threading.Lock() for name in machines}
        self._cancelled: dict[LeaseNumber, threading.Event] = {}
        self._threads: list[threading.Thread] = []

    def carry_out(self, effect: m.Effect) -> None:
        """Begin what the engine asked for; returns at once."""
        match effect:
            case m.Check(machine=name):
                self._thread(f"check-{name}", lambda: self._check(self._machines[name]))
            case m.Start():
                self._cancelled[effect.lease.number] = threading.Event()
                self._thread(f"lease-{effect.lease.number}", lambda: self._work(effect))
            case m.Cancel(lease=number, machine=name, now=now):
                self._cancelled[number].set()
                self._thread(f"cancel-{number}", lambda: self._cancel(number, name, now=now))

    def wait(self, deadline: float) -> bool:
        """Wait for what still runs, at most `deadline` seconds; whether everything has ended."""
        end = self._clock.now() + deadline
        for thread in self._threads:
            thread.join(max(0.0, end - self._clock.now()))
        return not any(thread.is_alive() for thread in self._threads)

    def _thread(self, name: str, target: Callable[[], None]) -> None:
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(target=target, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    # -- on worker threads ------------------------------------------------------------------------------------------

    def _check(self, machine: Machine) -> None:
        # Load that our own tests make is no reason to give a machine nothing; nor is any where there is no other.
        busy = machine.spec.name in self._synced or self._lone
        self._post(m.Checked(machine.check(self._check_timeout, busy=busy)))

    def _cancel(self, number: LeaseNumber, name: MachineName, *, now: bool) -> None:
        machine = self._machines[name]
        with suppress(MachineError):  # it cannot be reached: its own dead-man's switch ends the job
            (machine.kill if now else machine.cancel)(self._job_id(number))

    def _job_id(self, number: LeaseNumber) -> str:
        return f"{self._run}-{number}"

    def _work(self, start: m.Start) -> None:
        number = start.lease.number
        try:
            result = self._attempt(start)
        except MachineError as error:
            result = AttemptResult(ended=Ended.NOT_STARTED, cause=FailureCause.MACHINE, reason=str(error))
        except Exception as error:  # noqa: BLE001  a defect here must not leave a lease without an end
            trace = traceback.format_exc(limit=-3)
            result = AttemptResult(
                ended=Ended.NOT_STARTED, cause=FailureCause.MACHINE, reason=f"internal error: {error}"
            )
            self._post(m.Noticed("ci-dispatch", f"internal error in lease {number}: {trace}"))
        self._post(m.Finished(number, result))

    def _attempt(self, start: m.Start) -> AttemptResult:
        lease, machine = start.lease, self._machines[start.lease.machine]
        cancelled = self._cancelled[lease.number]
        self._sync(machine)
        if cancelled.is_set():
            return AttemptResult(ended=Ended.CANCELLED, reason="cancelled before it started")
        folder = self._folder / str(lease.number)
        folder.mkdir(parents=True, exist_ok=True)
        job_id = self._job_id(lease.number)
        invocation = self._suite.invocation(
            start.tests,
            machine.place(job_id),
            workers=start.workers,
            shard=lease.number,
            extra=self._extra,
        )
        with (folder / "output.log").open("ab", buffering=0) as output, (folder / "live.jsonl").open("ab", 0) as live:
            listener = _Listener(lease.number, self._post, self._suite, output, live)
            job = Job(
                id=job_id,
                invocation=invocation,
                lease_seconds=self._lease_seconds,
                timeout=self._shard_timeout,
                output_offset=output.tell(),
                live_offset=live.tell(),
            )
            end = machine.run(job, listener)
        self._post(m.Collecting(lease.number))
        return self._read(machine, job_id, start.tests, folder, end)

    def _sync(self, machine: Machine) -> None:
        """Once a run on each machine: end what earlier runs left behind, bring the work tree, make it ready."""
        name = machine.spec.name
        with self._sync_locks[name]:
            if name in self._synced:
                return
            if ended := machine.sweep(self._check_timeout):
                self._post(m.Noticed(name, f"{ended} processes that an earlier run had left behind were ended"))
            machine.sync(self._tree, self._sync_timeout)
            if self._prepare and machine.spec.connection is not Connection.LOCAL:
                self._make_ready(machine)
            self._synced.add(name)

    def _make_ready(self, machine: Machine) -> None:
        job_id = f"{self._run}-prepare-{machine.spec.name}"
        invocation = Invocation(argv=("/bin/sh", "-c", self._prepare), cwd=machine.place(job_id).tree)
        listener = _Tail()
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
        """What the attempt brought home; with no machine left to ask, the live news already here must do."""
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
        )


class _Tail:
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


class _Listener:
    """Hears one job: bytes go to the attempt's files, news to the engine."""

    def __init__(
        self, lease: LeaseNumber, post: Callable[[m.Message], None], suite: Suite, output: IO[bytes], live: IO[bytes]
    ) -> None:
        self._lease = lease
        self._post = post
        self._suite = suite
        self._output = output
        self._live = live
        self._line = b""
        self._shown = 0

    def started(self) -> None:
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
