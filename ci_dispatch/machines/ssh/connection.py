"""One authenticated SSH connection, and commands over it. Every call ends by its deadline.

paramiko's own timeouts are not relied on: exec_command, recv_exit_status and writes can hang for ever in spite of them
(measured in issue 2; paramiko issues 1815, 1787). The work is done on a thread of its own; at the deadline the socket
below is shut down, which wakes whatever is stuck, and the thread is left to end.
"""

from __future__ import annotations

import contextlib
import logging
import subprocess
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import paramiko

from ci_dispatch.machines.ssh import failures, pipelining, sockets
from ci_dispatch.machines.ssh.settings import Settings
from ci_dispatch.machines.supervisor_client import ConnectionLost, Stream
from ci_dispatch.run.ports import MachineError

logging.getLogger("paramiko").setLevel(logging.CRITICAL)  # what it logs it also raises, and we explain it

T = TypeVar("T")

_COMPLAINTS = 2000
_READY_SECONDS = 10.0


class Ground:
    """What a connection stands on: a socket, perhaps a proxy's process or a jump host's connection."""

    def __init__(self) -> None:
        self.socket: sockets.GuardedSocket | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self.jump: Connection | None = None

    def shutdown(self) -> None:
        """Wake whatever is stuck on it; from any thread."""
        if self.jump:
            self.jump.ground.shutdown()
        if self.socket:
            self.socket.shutdown()

    def close(self) -> None:
        self.shutdown()
        if self.socket:
            with contextlib.suppress(OSError, EOFError):
                self.socket.close()
        if self.process:
            self.process.kill()
            self.process.wait()
        if self.jump:
            self.jump.close()


class Connection:
    """Use `connecting.connect` to make one."""

    def __init__(self, settings: Settings, transport: paramiko.Transport, ground: Ground) -> None:
        self.settings = settings
        self.ground = ground
        self.sessions = 0
        self._transport = transport
        self._ready: list[paramiko.Channel] = []

    @property
    def alive(self) -> bool:
        return self._transport.is_active()

    def open(self, command: str, seconds: float) -> Stream:
        """Run a command: one round trip, and another for the channel when none is ready. Raises MachineError."""

        def work() -> Stream:
            channel = self._ready_channel() or self._transport.open_session(timeout=seconds)
            pipelining.run(channel, command)
            self.make_ready()
            return ChannelStream(channel, self)

        return self._bounded(work, "session", seconds)

    def make_ready(self) -> None:
        """Open a channel for the next command while nobody waits for it."""

        def work() -> None:
            with contextlib.suppress(Exception):  # then the next command opens its own, and tells what is wrong
                self._ready.append(self._transport.open_session(timeout=_READY_SECONDS))

        if not self._ready:
            threading.Thread(target=work, daemon=True, name="ssh").start()

    def _ready_channel(self) -> paramiko.Channel | None:
        with contextlib.suppress(IndexError):
            channel = self._ready.pop()
            return None if channel.closed else channel
        return None

    def tunnel(self, host: str, port: int, seconds: float) -> Any:
        """A socket-like channel to a host that this one reaches. Raises MachineError."""
        return self._bounded(
            lambda: self._transport.open_channel("direct-tcpip", (host, port), ("127.0.0.1", 0), timeout=seconds),
            "jump host",
            seconds,
        )

    def _bounded(self, work: Callable[[], T], stage: str, seconds: float) -> T:
        def explained() -> T:
            try:
                return work()
            except Exception as error:
                raise failures.explain(error, stage, self.settings) from error

        def give_up() -> MachineError:
            self.close()
            return failures.no_answer(self.settings, stage, seconds)

        return bounded(explained, seconds, give_up)

    def close(self) -> None:
        self.ground.shutdown()
        with contextlib.suppress(Exception):  # it may be broken already
            self._transport.close()
        self.ground.close()


class ChannelStream:
    """The pipes of one command."""

    def __init__(self, channel: paramiko.Channel, connection: Connection) -> None:
        self._channel, self._connection = channel, connection
        self._complaints = b""
        connection.sessions += 1

    def send(self, data: bytes, seconds: float) -> None:
        self._channel.settimeout(seconds)
        try:
            self._channel.sendall(data)
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise self._lost(error) from error

    def end_input(self) -> None:
        with contextlib.suppress(OSError, EOFError):
            self._channel.shutdown_write()

    def receive(self, seconds: float) -> bytes | None:
        self._channel.settimeout(seconds)
        try:
            return self._channel.recv(64 * 1024)
        except TimeoutError:
            return None
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise self._lost(error) from error
        finally:
            self._take_complaints()

    def complaints(self) -> str:
        self._take_complaints()
        return self._complaints.decode("utf-8", "replace").strip()

    def close(self) -> None:
        self._connection.sessions -= 1
        with contextlib.suppress(Exception):  # the connection may be gone
            self._channel.close()

    def _take_complaints(self) -> None:
        """Unread standard error would fill the channel's window and stop its output."""
        while self._channel.recv_stderr_ready():
            self._complaints = (self._complaints + self._channel.recv_stderr(64 * 1024))[-_COMPLAINTS:]

    def _lost(self, error: Exception) -> MachineError:
        why = self.complaints() or str(error) or type(error).__name__
        return ConnectionLost(f"{self._connection.settings.alias}: the connection broke", stage="command", why=why)


def bounded(work: Callable[[], T], seconds: float, give_up: Callable[[], MachineError]) -> T:
    """What `work` gives or raises, or the error of `give_up` after `seconds`: the work's thread is then left behind."""
    outcome: list[T] = []
    trouble: list[Exception] = []
    done = threading.Event()

    def run() -> None:
        try:
            outcome.append(work())
        except Exception as error:  # noqa: BLE001  # carried to the caller's thread
            trouble.append(error)
        finally:
            done.set()

    threading.Thread(target=run, daemon=True, name="ssh").start()
    if not done.wait(seconds):
        raise give_up()
    if trouble:
        raise trouble[0]
    return outcome[0]
