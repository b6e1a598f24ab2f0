"""The reporters in a process of their own, on a real pseudo-terminal and on real pipes, played at high speed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from pathlib import Path

import pyte
import pytest

ROOT = Path(__file__).parents[2]
PLAYER = """
import os, sys, time
from ci_dispatch.run.event_bus import EventBus
from ci_dispatch.core.events import TRANSIENT
from ci_dispatch.run.state import RunState
from ci_dispatch.demo.recording import demo_events
from ci_dispatch.reporters.terminal import progress
mode, speed, follow = sys.argv[1], float(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else ""
state, now = RunState(), 0.0
reporter = progress(mode, stdout=sys.stdout, stderr=sys.stderr, environ=os.environ, follow=follow)
for stamped in demo_events():
    while stamped.at - now > 1e-9:
        step = min(0.5, stamped.at - now)
        now += step
        time.sleep(step / speed)
        reporter.tick(now, state)
    if not isinstance(stamped.event, TRANSIENT):
        state.apply(stamped)
    reporter.handle(stamped, state)
print("handled", file=sys.stderr, flush=True)
reporter.close()
"""
BARE = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8", "PYTHONUTF8": "1"}


def command(mode: str, *more: str, speed: float = 400) -> list[str]:
    return [sys.executable, "-c", PLAYER, mode, str(speed), *more]


def resize(fd: int, columns: int, rows: int) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


class OnTerminal:
    """A process whose standard output is a pseudo-terminal that pyte draws."""

    def __init__(self, argv: list[str], columns: int, rows: int, environ: Mapping[str, str]) -> None:
        self.fd, child = pty.openpty()
        resize(self.fd, columns, rows)
        self.screen = pyte.HistoryScreen(columns, rows, history=5000)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self.errors = ""
        self.process = subprocess.Popen(
            argv, stdin=child, stdout=child, stderr=subprocess.PIPE, env={**BARE, "TERM": "xterm-256color", **environ}
        )
        os.close(child)

    def read(self, seconds: float) -> bool:
        """Draw what comes within `seconds`; False when the process has closed its terminal."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if not select.select([self.fd], [], [], left)[0]:
                return True
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                return False
            self.raw += data
            self._stream.feed(data)
        return True

    def finish(self, seconds: float = 60) -> list[str]:
        end = time.monotonic() + seconds
        while self.read(0.2) and time.monotonic() < end:
            pass
        self.errors = self.process.communicate(timeout=10)[1].decode()
        os.close(self.fd)
        assert self.process.returncode == 0, self.errors
        past = ["".join(row[x].data for x in range(self.screen.columns)) for row in self.screen.history.top]
        return [line.rstrip() for line in (*past, *self.screen.display) if line.strip()]


@pytest.mark.parametrize(("columns", "rows"), [(40, 12), (80, 24), (200, 50)])
def test_on_a_terminal_auto_is_live(columns: int, rows: int) -> None:
    terminal = OnTerminal(command("auto"), columns, rows, {})
    lines = terminal.finish()
    assert b"\x1b[?2026h" in terminal.raw
    assert sum(line.startswith("total ") for line in lines) == 1
    assert "ci-dispatch: FAILED 198 tests"[: columns - 2] in "\n".join(lines)


def test_a_terminal_too_narrow_for_bars_gets_lines_and_is_told_why() -> None:
    terminal = OnTerminal(command("live"), 20, 30, {})
    lines = terminal.finish()
    assert b"\x1b[?2026h" not in terminal.raw
    assert terminal.errors.startswith("20 columns are too few for bars, lines are shown: make the terminal 40 wide\n")
    assert "ci-dispatch: FAILED" in "".join(lines)


@pytest.mark.parametrize(
    "environ", [{"CI": "true"}, {"TERM": "dumb"}, {"CI": "true", "FORCE_COLOR": "1"}, {"GITHUB_ACTIONS": "true"}]
)
def test_where_lines_cannot_move_they_do_not(environ: dict[str, str]) -> None:
    terminal = OnTerminal(command("auto"), 100, 30, environ)
    lines = terminal.finish()
    moves = [part for part in terminal.raw.split(b"\x1b")[1:] if part.split(b"m")[0].strip(b"[0123456789;")]
    assert not moves
    assert any("198/198 100%" in line for line in lines)


@pytest.mark.parametrize(
    ("environ", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"FORCE_COLOR": "0"}, False)]
)
def test_colour_is_a_switch_of_its_own(environ: dict[str, str], coloured: bool) -> None:
    terminal = OnTerminal(command("live"), 100, 30, environ)
    terminal.finish()
    assert (b"\x1b[32m" in terminal.raw) is coloured


def test_the_window_becomes_narrow_while_it_runs() -> None:
    terminal = OnTerminal(command("live", speed=6), 120, 30, {"XTERM_VERSION": "XTerm(390)"})
    terminal.read(2.0)
    resize(terminal.fd, 60, 30)
    terminal.screen.resize(30, 60)
    lines = terminal.finish()
    bars = [line for line in lines if line.startswith("moruk  [")]
    assert bars == ["moruk  [██████████] 102/102 ✗2"]
    assert sum("ilko2 lost" in line for line in lines) == 1


def test_an_ascii_stream_gets_ascii_and_survives_every_name() -> None:
    run = subprocess.run(
        command("plain"), env={**BARE, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}, capture_output=True, timeout=60,
        check=True,
    )  # fmt: skip
    assert run.stdout.isascii()
    assert b"FAIL local  search.spec.ts ? waits" in run.stdout


def test_a_pipe_gets_lines_and_json_gets_events() -> None:
    plain = subprocess.run(command("auto"), env=BARE, capture_output=True, timeout=60, check=True)
    assert b"\x1b" not in plain.stdout
    assert plain.stdout.count(b"ci-dispatch: FAILED") == 1
    json = subprocess.run(command("json"), env=BARE, capture_output=True, timeout=60, check=True)
    assert all(line.startswith(b'{"v":2,"seq":') for line in json.stdout.splitlines())
    assert json.stderr.decode().splitlines()[-1].startswith("ci-dispatch: FAILED 198 tests")


def test_a_machine_is_followed() -> None:
    run = subprocess.run(command("plain", "ilko2"), env=BARE, capture_output=True, timeout=60, check=True)
    followed = [line for line in run.stdout.decode().splitlines() if line.startswith("ilko2 │")]
    assert len(followed) == 11
    assert followed[0].startswith("ilko2 │   ✓  ")


def test_a_closed_pipe_is_an_error_for_the_bus_and_no_traceback() -> None:
    read, write = os.pipe()
    process = subprocess.Popen(command("plain"), env=BARE, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    os.close(read)
    _, errors = process.communicate(timeout=60)
    assert b"BrokenPipeError" in errors.splitlines()[-1] or b"Broken pipe" in errors
    assert process.returncode != 0


def test_a_terminal_that_takes_nothing_does_not_hold_up_the_run() -> None:
    """Ctrl-S, or a pager nobody scrolls: the events are handled all the same, and closing has a deadline."""
    read, write = os.pipe()
    process = subprocess.Popen(command("json", speed=100_000), env=BARE, stdout=write, stderr=subprocess.PIPE)
    os.close(write)  # nobody reads the other end: 64 KiB fit into a pipe, the run is larger
    try:
        assert process.stderr is not None
        with process.stderr as stderr:
            assert stderr.readline().strip() == b"handled"
            errors = stderr.read()
        assert b"TimeoutError: the terminal took nothing for 5 s" in errors
        assert b"Fatal Python error" not in errors
        assert process.wait(timeout=10) == 1
    finally:
        os.close(read)
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        process.wait(timeout=10)
