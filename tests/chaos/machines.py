"""The fleet of one seed: real sshd machines in namespaces, and everything that can happen to one.

Nobody on them, and no controller, may pass over permissions: a folder with mode 000 is closed to root too. The
controller's own computer can be one of them.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from tests.chaos.plan import Kind, Plan, PlannedMachine
from tests.fleet.lab import Lab
from tests.fleet.servers import SSHD, Keys

_OVERRIDES = "-dac_override,-dac_read_search"
ORDINARY = ("setpriv", f"--bounding-set={_OVERRIDES}", f"--inh-caps={_OVERRIDES}")
"""Starts a command for which permissions hold, whoever it belongs to."""


class Fleet:
    """Real machines for a plan. Enter it as a context."""

    def __init__(self, plan: Plan, folder: Path, keys: Keys) -> None:
        self.plan, self.folder = plan, folder
        self._keys = keys
        self._far = {machine.name: machine for machine in plan.machines if not machine.local}
        trips = {machine.name: machine.round_trip for machine in self._far.values()}
        with _one_at_a_time():  # networks are looked for, then taken
            self._lab = Lab(folder / "lab", keys, trips)
            for host in self._lab.hosts.values():
                host.starts_by = ORDINARY
            self._lab.start()

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        self._lab.stop()
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    @property
    def ssh_config(self) -> Path:
        return self._lab.config.path

    def workdir(self, machine: PlannedMachine) -> Path:
        """Where ci-dispatch keeps its files on it."""
        return self.folder / "near" if machine.local else self._lab.hosts[machine.name].work / "ci"

    # -- what can happen to a machine -------------------------------------------------------------------------------

    def begin(self, kind: Kind, name: str) -> None:
        """Let it happen now. A machine that is off has no further trouble."""
        if name in self._far and not self._lab.hosts[name].on:
            return
        match kind:
            case Kind.POWER_OFF:
                self._lab.power_off(name)
            case Kind.HOLE:
                self._lab.wire("hole", name, "on")
            case Kind.HOLE_IN:
                self._lab.wire("hole", name, "in")
            case Kind.HOLE_OUT:
                self._lab.wire("hole", name, "out")
            case Kind.SLOW_LINE:
                self._lab.wire("rtt", name, "900")
            case Kind.SSHD_KILLED:
                self._inside(name, "kill -KILL $(pidof sshd); true")
            case Kind.CUT:
                self._cut(name)
            case Kind.HOST_KEY:
                self._restart_sshd(name, host_key=self._keys.other_host)
            case Kind.MAX_SESSIONS:
                self._restart_sshd(name, max_sessions=1)
            case Kind.SUPERVISOR_KILLED:
                self._signal(self._supervisors(name), signal.SIGKILL)
            case Kind.SUPERVISOR_STOPPED:
                self._signal(self._supervisors(name), signal.SIGSTOP)
            case Kind.RUNNER_KILLED:
                self._signal(self._runners(name), signal.SIGKILL)
            case Kind.JOBS_REMOVED:
                self._shell(name, f"rm -rf {self._jobs(name)}; true")
            case Kind.JOBS_UNREADABLE:
                self._shell(name, f"chmod 000 {self._jobs(name)}; true")
            case Kind.DISK_FULL:
                self._inside(name, f"dd if=/dev/zero of={self._work(name)}/fill bs=1M 2>/dev/null; true")
            case Kind.MEMORY:
                used_up = "MemTotal: 1000000 kB\nMemFree: 1000 kB\nMemAvailable: 1000 kB\n"
                self._lab.hosts[name].pretend("/proc/meminfo", used_up)
            case _:
                raise AssertionError(kind)

    def end(self, kind: Kind, name: str) -> None:
        """Undo it."""
        if kind is not Kind.POWER_OFF and name in self._far and not self._lab.hosts[name].on:
            return
        match kind:
            case Kind.POWER_OFF:
                self._lab.power_on(name)
                self._lab.hosts[name].wait_until_up()
            case Kind.HOLE | Kind.HOLE_IN | Kind.HOLE_OUT:
                self._lab.wire("hole", name, "off")
            case Kind.SLOW_LINE:
                self._lab.wire("rtt", name, str(self._far[name].round_trip))
            case Kind.SSHD_KILLED | Kind.HOST_KEY | Kind.MAX_SESSIONS:
                self._restart_sshd(name)
            case Kind.SUPERVISOR_STOPPED:
                self._signal(self._supervisors(name), signal.SIGCONT)
            case Kind.JOBS_UNREADABLE:
                self._shell(name, f"chmod 700 {self._jobs(name)}; true")
            case Kind.DISK_FULL:
                self._inside(name, f"rm -f {self._work(name)}/fill")
            case Kind.MEMORY:
                self._lab.hosts[name].stop_pretending("/proc/meminfo")
            case _:
                pass

    # -- processes --------------------------------------------------------------------------------------------------

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

    @staticmethod
    def _signal(pids: list[int], number: int) -> None:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    # -- inside -----------------------------------------------------------------------------------------------------

    def _machine(self, name: str) -> PlannedMachine:
        return next(machine for machine in self.plan.machines if machine.name == name)

    def _work(self, name: str) -> Path:
        return self._lab.hosts[name].work

    def _jobs(self, name: str) -> Path:
        return self.workdir(self._machine(name)) / "jobs"

    def _inside(self, name: str, script: str) -> None:
        self._lab.hosts[name].inside(script)

    def _shell(self, name: str, script: str) -> None:
        if name in self._far:
            self._inside(name, script)
        else:
            os.system(script)

    def _cut(self, name: str) -> None:
        pid = self._lab.hosts[name].folder / "sshd.pid"
        self._inside(name, f'm=$(cat {pid}); for p in $(pidof sshd); do [ "$p" = "$m" ] || kill -KILL "$p"; done; true')

    def _restart_sshd(self, name: str, *, host_key: Path | None = None, max_sessions: int = 100) -> None:
        """Every connection ends."""
        folder = self._lab.hosts[name].folder
        lines = (folder / "sshd_config").read_text().splitlines()
        kept = [line for line in lines if not line.startswith(("HostKey ", "MaxSessions "))]
        own = [f"HostKey {host_key or self._keys.host}", f"MaxSessions {max_sessions}"]
        (folder / "sshd_config").write_text("\n".join([*own, *kept]) + "\n")
        self._inside(name, f"kill -KILL $(pidof sshd); {SSHD} -f {folder}/sshd_config -E {folder}/log")


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


class _one_at_a_time:
    """Of all campaigns on this computer, one takes networks."""

    def __enter__(self) -> None:
        self._file = open("/tmp/ci-dispatch-chaos.lock", "w")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self._file.close()


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
