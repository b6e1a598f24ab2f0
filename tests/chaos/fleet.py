"""The machines of one seed, what can happen to one, and every process that a run has there."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self, TypeAlias
from urllib.parse import quote

from tests.chaos.plan import Kind, Plan, PlannedMachine

_OVERRIDES = "-dac_override,-dac_read_search"
ORDINARY = ("setpriv", f"--bounding-set={_OVERRIDES}", f"--inh-caps={_OVERRIDES}") if os.geteuid() == 0 else ()
"""Starts a command for which permissions hold, also when it belongs to root: a folder with mode 000 is closed to it."""

Act: TypeAlias = Callable[[str], None]  # on the machine of that name


def nothing(_name: str) -> None:
    """For what is over at once."""


class Fleet:
    """Real machines for a plan; the controller's own computer can be one of them. Enter it as a context."""

    ssh_config: Path

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan, self.folder = plan, folder
        self.far = {machine.name: machine for machine in plan.machines if not machine.local}
        self.acts: dict[Kind, tuple[Act, Act]] = {
            Kind.SUPERVISOR_KILLED: (self._signals(self._supervisors, signal.SIGKILL), nothing),
            Kind.SUPERVISOR_STOPPED: (
                self._signals(self._supervisors, signal.SIGSTOP),
                self._signals(self._supervisors, signal.SIGCONT),
            ),
            Kind.RUNNER_KILLED: (self._signals(self._runners, signal.SIGKILL), nothing),
            Kind.JOBS_REMOVED: (lambda name: self.shell(name, f"rm -rf {self._jobs(name)}; true"), nothing),
            Kind.JOBS_UNREADABLE: (
                lambda name: self.shell(name, f"chmod 000 {self._jobs(name)}; true"),
                lambda name: self.shell(name, f"chmod 700 {self._jobs(name)}; true"),
            ),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def begin(self, kind: Kind, name: str) -> None:
        """Let it happen now; what cannot be made to happen here does not."""
        if self.is_on(name) and kind in self.acts:
            self.acts[kind][0](name)

    def end(self, kind: Kind, name: str) -> None:
        """Undo it."""
        if (self.is_on(name) or kind is Kind.POWER_OFF) and kind in self.acts:
            self.acts[kind][1](name)

    # -- of a tier --------------------------------------------------------------------------------------------------

    def work(self, name: str) -> Path:
        """Its disk."""
        raise NotImplementedError

    def is_on(self, name: str) -> bool:
        """A machine that is off has no further trouble."""
        raise NotImplementedError

    def shell(self, name: str, script: str) -> None:
        """Run a script on it, whatever its permissions are."""
        subprocess.run(["/bin/sh", "-c", script], check=False, capture_output=True)

    def stop(self) -> None:
        """End every machine."""

    # -- processes --------------------------------------------------------------------------------------------------

    def workdir(self, machine: PlannedMachine) -> Path:
        """Where ci-dispatch keeps its files on it."""
        return self.folder / "near" if machine.local else self.work(machine.name) / "ci"

    def processes(self) -> dict[int, str]:
        """What still runs of any job or supervisor of this seed: pid here -> command line."""
        mark = str(self.folder).encode()
        jobs = b"CI_DISPATCH_JOB=" + quote(str(self.folder)).encode()
        found = {}
        for pid, words, environ in _processes():
            if jobs in environ or (b".pyz" in words and mark in words):
                found[pid] = words.replace(b"\0", b" ").decode(errors="replace")[:200]
        return found

    def _supervisors(self, name: str) -> list[int]:
        """Of jobs on this machine: detached, so the leader of their session has ended."""
        workdir = str(self.workdir(self._machine(name))).encode()
        return [
            pid
            for pid, words, _ in _processes()
            if b".pyz" in words and workdir in words and (session := _session(pid)) != pid and not _leads(session)
        ]

    def _runners(self, name: str) -> list[int]:
        jobs = b"CI_DISPATCH_JOB=" + quote(f"{self.workdir(self._machine(name))}/").encode()
        return [pid for pid, _, environ in _processes() if jobs in environ and _session(pid) == pid]

    def _machine(self, name: str) -> PlannedMachine:
        return next(machine for machine in self.plan.machines if machine.name == name)

    def _jobs(self, name: str) -> Path:
        return self.workdir(self._machine(name)) / "jobs"

    @staticmethod
    def _signals(whom: Callable[[str], list[int]], number: int) -> Act:
        def act(name: str) -> None:
            for pid in whom(name):
                with suppress(ProcessLookupError):
                    os.kill(pid, number)

        return act


def _processes() -> Iterator[tuple[int, bytes, bytes]]:
    """Every process: pid, command line, environment."""
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            yield int(entry.name), (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()


def _session(pid: int) -> int:
    with suppress(OSError):
        return os.getsid(pid)
    return pid


def _leads(session: int) -> bool:
    return session > 0 and Path(f"/proc/{session}").exists()
