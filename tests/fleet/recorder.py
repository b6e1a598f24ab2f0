"""A listener that remembers, and the words to make jobs with."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ci_dispatch.run.ports import Invocation, Job, JobEnd, Machine


class Recorder:
    """What a running job reported."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.out = b""
        self.live_bytes = b""
        self.heartbeats = 0

    def started(self) -> None:
        self.calls.append("started")

    def beat(self) -> None:
        self.heartbeats += 1

    def output(self, data: bytes) -> None:
        self.calls.append("output")
        self.out += data

    def live(self, data: bytes) -> None:
        self.live_bytes += data


def job(
    identity: str,
    *argv: str,
    cwd: str,
    env: Mapping[str, str] | None = None,
    lease: float = 10.0,
    timeout: float = 60.0,
    **rest: Any,
) -> Job:
    """A job with short patience; `rest` goes to Job and Invocation by name."""
    offsets = {name: rest.pop(name) for name in ("output_offset", "live_offset") if name in rest}
    rest.setdefault("interrupt_grace", 2.0)
    rest.setdefault("terminate_grace", 0.5)
    invocation = Invocation(argv=argv, cwd=cwd, env=env or {}, **rest)
    return Job(id=identity, invocation=invocation, lease_seconds=lease, timeout=timeout, **offsets)


class Running:
    """A job followed on a thread of its own."""

    def __init__(self, machine: Machine, job: Job) -> None:
        self.recorder = Recorder()
        self._ends: list[JobEnd] = []
        self._thread = threading.Thread(target=lambda: self._ends.append(machine.run(job, self.recorder)), daemon=True)
        self._thread.start()

    def end(self, seconds: float = 30.0) -> JobEnd:
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "run() did not return"
        return self._ends[0]

    @property
    def over(self) -> bool:
        return not self._thread.is_alive()


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Not even a zombie counts, which only waits for its parent to look."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in {b"Z", b"X"}
    except OSError:
        return False


def marked(folder: Path | str) -> list[int]:
    """Living processes whose environment names the folder: what a job of a machine with this workdir has running."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if f"CI_DISPATCH_JOB={folder}".encode() in entry.joinpath("environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return [pid for pid in found if pid != os.getpid() and alive(pid)]


def supervising(folder: Path | str) -> list[int]:
    """Living processes that hold the lock of a job of a machine with this workdir: watchdogs before supervisors."""
    pattern = re.compile(re.escape(str(folder)) + r"/\w+/[^/]+/lock( \(deleted\))?")
    holders = [pid for pid in _all_pids() if any(map(pattern.fullmatch, _open_files(pid))) and alive(pid)]
    return sorted(holders, key=lambda pid: _parent(pid) in holders)


def _all_pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _open_files(pid: int) -> list[str]:
    found = []
    with suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                found.append(str(link.readlink()))
    return found


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    except OSError:
        return 0


STUBBORN = """
import os, signal, subprocess, sys, time
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
subprocess.Popen(["sleep", "300"])
subprocess.Popen(["sleep", "301"], start_new_session=True)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(302)
    os._exit(0)
print("ready", flush=True)
time.sleep(303)
"""
"""A program that ends for nothing but KILL and spreads over sessions: `python3 -c STUBBORN`."""
