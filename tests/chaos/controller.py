"""The controller of a seed as a process: it is killed, stopped, signalled, resumed; its journal is counted by lines."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from ci_dispatch.machines.ssh.machine import CONFIG_VARIABLE
from tests.chaos.fleet import ORDINARY
from tests.chaos.plan import Tear
from tests.components import ROOT

CLOCK_SHIM = """\
import os, time
real = time.time
def stepped():
    try:
        with open(os.environ["CHAOS_CLOCK"]) as file:
            return real() + float(file.read() or 0)
    except (OSError, ValueError, KeyError):
        return real()
time.time = stepped
"""
"""sitecustomize.py of the controller: its wall clock can be stepped."""


class Journal:
    """Lines of a growing file, counted as they come."""

    def __init__(self, runs: Path) -> None:
        self._runs = runs
        self.folder: Path | None = None  # of the first run that began, once there is one
        self.lines = 0
        self._size = 0

    def look(self, *, ignore: frozenset[Path] = frozenset()) -> int:
        """How many whole lines the journal has now."""
        if self.folder is None:
            begun = [path for path in sorted(self._runs.glob("*/events.jsonl")) if path.parent not in ignore]
            if not begun or b"\n" not in begun[0].read_bytes():
                return 0
            self.folder = begun[0].parent
        file = self.folder / "events.jsonl"
        size = file.stat().st_size
        if size != self._size:
            self._size, self.lines = size, file.read_bytes().count(b"\n")
        return self.lines

    def tear(self, how: Tear) -> None:
        """What a crash of the whole computer may do to the last line."""
        if self.folder is None or how is Tear.NONE:
            return
        file = self.folder / "events.jsonl"
        data = file.read_bytes()
        if data.count(b"\n") < 3:
            return
        last = data.rstrip(b"\n").rfind(b"\n") + 1
        match how:
            case Tear.NEWLINE:
                data = data.rstrip(b"\n")
            case Tear.HALF:
                data = data[: last + (len(data) - last) // 2]
            case Tear.DAMAGED:
                data = data[: last + 5] + b"\0" * (len(data) - last - 6) + b"\n"
        file.write_bytes(data)


class Controller:
    """Starts `ci-dispatch` in `root` again and again. Output of all of them is in one log."""

    def __init__(self, root: Path, log: Path, ssh_config: Path) -> None:
        self.root, self.log, self._ssh_config = root, log, ssh_config
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0
        self.clock = log.parent / "clock" / "offset"
        self.clock.parent.mkdir()
        (self.clock.parent / "sitecustomize.py").write_text(CLOCK_SHIM)
        self.clock.write_text("0")

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """A command of its own, `run` or `resume`."""
        self.starts += 1
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        home = self.log.parent / "home"
        environ = {
            **kept,
            "HOME": str(home),
            "TMPDIR": str(home),
            "PYTHONPATH": f"{self.clock.parent}:{ROOT}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONWARNINGS": "error",
            "CHAOS_CLOCK": str(self.clock),
            CONFIG_VARIABLE: str(self._ssh_config),
        }
        with self.log.open("ab") as log:
            log.write(f"--- {' '.join(words)}\n".encode())
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*ORDINARY, sys.executable, "-m", "ci_dispatch", *words, "--progress", "plain"],
                cwd=self.root,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self.process

    def signal(self, number: int) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def kill(self) -> None:
        """-9, and gone."""
        self.signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()

    def say_again(self, run: str, seconds: float = 60.0) -> tuple[int, str]:
        """`resume` of a run that is over: exit code and last line of its standard output."""
        before = self.log.stat().st_size
        process = self.start("resume", run)
        end = time.monotonic() + seconds
        while process.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        self.kill()
        return process.returncode, last_line(self.log.read_bytes()[before:].decode(errors="replace"))


def last_line(text: str) -> str:
    """The line of the result, whose form is kept from version to version."""
    lines = [line for line in text.splitlines() if line.startswith("ci-dispatch: ")]
    return lines[-1] if lines else ""
