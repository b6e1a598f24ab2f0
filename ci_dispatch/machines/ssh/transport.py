"""What an SSH connection is made over: TCP with options that make a dead peer noticed, or a ProxyCommand's pipes.

Without paramiko, so that TCP can connect while paramiko is imported.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from ci_dispatch.machines.ssh.settings import SshSettings
from ci_dispatch.run.ports import MachineError

if TYPE_CHECKING:
    from ci_dispatch.machines.ssh.connection import SshConnection

T = TypeVar("T")

_IDENTIFICATION_LIMIT = 16 * 1024  # bytes of lines before the version line, RFC 4253 section 4.2
_FIRST_BYTES = 300  # of what the peer sent first, kept for an error message


def connect_tcp(settings: SshSettings, deadline: float) -> socket.socket:
    """A TCP connection to the first address that takes one. Raises OSError; TimeoutError at the deadline."""
    last: OSError = OSError("the name has no address")
    addresses = _look_up(settings.hostname, settings.port, deadline)
    for number, (family, kind, protocol, _, address) in enumerate(addresses):
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("no answer")
        peer = socket.socket(family, kind, protocol)
        try:
            peer.settimeout(left / (len(addresses) - number))  # a black hole behind one address must not cost all
            peer.connect(address)
        except OSError as error:
            peer.close()
            last = error
            continue
        _tune(peer)
        return peer
    raise last


def _look_up(host: str, port: int, deadline: float) -> list[Any]:
    """getaddrinfo cannot be interrupted: it runs on a thread that is left behind at the deadline."""

    def ask() -> list[Any]:
        try:
            return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except UnicodeError as error:  # a label that is empty or too long
            raise socket.gaierror(socket.EAI_NONAME, str(error)) from None

    return bounded(
        ask,
        deadline - time.monotonic(),
        lambda: socket.gaierror(socket.EAI_AGAIN, "no answer from the name service"),
        name=f"look-up {host}",
    )


def _tune(peer: socket.socket) -> None:
    """No delay for small packets; a silent peer is dead after 11 s, idle (keepalive) or not (user timeout)."""
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", 5),
        ("TCP_KEEPALIVE", 5),  # macOS: its name for the idle time
        ("TCP_KEEPINTVL", 2),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", 10_000),
        ("TCP_CONNECTION_DROP_TIME", 10),
    ):
        option = getattr(socket, name, None)
        if option is not None:
            try:
                peer.setsockopt(socket.IPPROTO_TCP, option, value)
            except OSError:
                continue


class TcpConnect:
    """A TCP connection being made while the caller loads what it needs to use it."""

    def __init__(self, settings: SshSettings, deadline: float) -> None:
        self._deadline = deadline
        self._lock = threading.Lock()
        self._peer: socket.socket | None = None
        self._error: Exception | None = None
        self._abandoned = False
        self._thread = threading.Thread(target=self._connect, args=(settings,), daemon=True, name="tcp")
        self._thread.start()

    def _connect(self, settings: SshSettings) -> None:
        try:
            peer = connect_tcp(settings, self._deadline)
        except Exception as error:  # noqa: BLE001  # carried to the caller's thread
            self._error = error
            return
        with self._lock:
            if self._abandoned:
                peer.close()
            else:
                self._peer = peer

    def socket(self) -> socket.socket:
        """Wait for it; it is the caller's to close then. Raises OSError."""
        self._thread.join(max(0.0, self._deadline - time.monotonic()))
        if self._error:
            raise self._error
        with self._lock:
            peer, self._peer, self._abandoned = self._peer, None, True
        if peer is None:
            raise TimeoutError("no answer")
        return peer

    def close(self) -> None:
        """Give up a connection that nobody has taken."""
        with self._lock:
            peer, self._peer, self._abandoned = self._peer, None, True
        if peer is not None:
            peer.close()


def proxy_command(settings: SshSettings) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """The other end of a ProxyCommand as a socket; `ssh -G` has filled in %h, %p and %r. Raises OSError."""
    ours, theirs = socket.socketpair()
    try:
        command = settings.proxy_command.replace("%h", settings.hostname).replace("%p", str(settings.port))
        command = command.replace("%r", settings.user).replace("%n", settings.alias).replace("%%", "%")
        process = subprocess.Popen(
            ["/bin/sh", "-c", f"exec {command}"],
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return ours, process


class GuardedSocket:
    """A socket for paramiko that remembers what the peer sent first and takes no endless text for an identification."""

    def __init__(self, peer: Any) -> None:
        self._peer = peer
        self._first = bytearray()
        self.identified = False
        self._refused = False

    @property
    def first_bytes(self) -> str:
        """What came instead of an SSH identification, "" when one came."""
        return "" if self.identified else self._first[:_FIRST_BYTES].decode("utf-8", "replace").strip()

    def recv(self, size: int) -> bytes:
        if self._refused:
            return b""
        data: bytes = self._peer.recv(size)
        if not self.identified:
            self._first += data
            self.identified = self._first.startswith(b"SSH-") or b"\nSSH-" in self._first
            if not self.identified and len(self._first) > _IDENTIFICATION_LIMIT:
                self._refused = True
                return b""
        return data

    def shutdown(self) -> None:
        """Wake everybody who waits on it; from any thread."""
        with contextlib.suppress(OSError, EOFError):
            self._peer.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Raises nothing: over a jump host that is gone it would, in paramiko's thread, with a traceback."""
        with contextlib.suppress(OSError, EOFError):
            self._peer.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._peer, name)


class TransportResources:
    """What has to be given back: a socket, perhaps a proxy's process or a jump host's connection. From any thread.

    After `shutdown`, whatever is added is shut down at once: a thread that was left behind cannot go on with it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shut_down = False
        self._process: subprocess.Popen[bytes] | None = None
        self._jump: SshConnection | None = None
        self.socket: GuardedSocket | None = None

    def add_process(self, process: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._process = process

    def add_jump(self, jump: SshConnection) -> None:
        with self._lock:
            self._jump = jump
            late = self._shut_down
        if late:
            self.shutdown()

    def add_socket(self, peer: Any) -> GuardedSocket:
        guarded = GuardedSocket(peer)
        with self._lock:
            self.socket = guarded
            late = self._shut_down
        if late:
            self.shutdown()
        return guarded

    def shutdown(self) -> None:
        """Wake whatever is stuck on it."""
        with self._lock:
            self._shut_down = True
            jump, peer = self._jump, self.socket
        if jump:
            jump.shutdown()
        if peer:
            peer.shutdown()

    def close(self) -> None:
        self.shutdown()
        with self._lock:
            jump, peer, process = self._jump, self.socket, self._process
        if peer:
            peer.close()
        if process:
            process.kill()
            process.wait()
        if jump:
            jump.close()


def bounded(work: Callable[[], T], seconds: float, give_up: Callable[[], Exception], *, name: str = "ssh") -> T:
    """What `work` gives or raises, or the error of `give_up` after `seconds`: the work's thread is then left behind."""
    results: list[T] = []
    errors: list[Exception] = []
    done = threading.Event()

    def run() -> None:
        try:
            results.append(work())
        except Exception as error:  # noqa: BLE001  # carried to the caller's thread
            errors.append(error)
        finally:
            done.set()

    try:
        threading.Thread(target=run, daemon=True, name=name).start()
    except RuntimeError as error:
        raise MachineError("no thread can be started here", stage="command", why=str(error)) from error
    if not done.wait(max(0.0, seconds)):
        raise give_up()
    if errors:
        raise errors[0]
    return results[0]
