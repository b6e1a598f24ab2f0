"""The bytes below SSH: TCP with options that make a dead peer noticed, or a ProxyCommand's pipes."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from typing import Any

from ci_dispatch.machines.ssh.settings import Settings

_IDENTIFICATION_LIMIT = 16 * 1024  # bytes of lines before the version line, RFC 4253 section 4.2
_OPENING_BYTES = 300  # of what the peer said first, kept for an error message


def connect(settings: Settings, deadline: float) -> socket.socket:
    """A TCP connection to the first address that takes one. Raises OSError; TimeoutError at the deadline."""
    trouble: OSError = OSError("the name has no address")
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
            trouble = error
            continue
        tune(peer)
        return peer
    raise trouble


def _look_up(host: str, port: int, deadline: float) -> list[Any]:
    """getaddrinfo cannot be interrupted: it runs aside and is left alone at the deadline."""
    answer: list[Any] = []

    def ask() -> None:
        try:
            answer.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except OSError as error:
            answer.append(error)
        except UnicodeError as error:  # a label that is empty or too long
            answer.append(socket.gaierror(socket.EAI_NONAME, str(error)))

    asking = threading.Thread(target=ask, daemon=True, name=f"look-up {host}")
    asking.start()
    asking.join(max(0.0, deadline - time.monotonic()))
    if not answer:
        raise socket.gaierror(socket.EAI_AGAIN, "no answer from the name service")
    if isinstance(answer[0], OSError):
        raise answer[0]
    found: list[Any] = answer[0]
    return found


def tune(peer: socket.socket) -> None:
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


def proxy_command(settings: Settings) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """The other end of a ProxyCommand as a socket; `ssh -G` has filled in %h, %p and %r in. Raises OSError."""
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
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
    return ours, process


class GuardedSocket:
    """A socket for paramiko that remembers what the peer said first and takes no endless text for a greeting."""

    def __init__(self, peer: Any) -> None:
        self._peer = peer
        self._opening = bytearray()
        self.identified = False
        self._refused = False

    @property
    def opening(self) -> str:
        """What came instead of an SSH identification, "" when one came."""
        return "" if self.identified else self._opening[:_OPENING_BYTES].decode("utf-8", "replace").strip()

    def recv(self, size: int) -> bytes:
        if self._refused:
            return b""
        data: bytes = self._peer.recv(size)
        if not self.identified:
            self._opening += data
            self.identified = self._opening.startswith(b"SSH-") or b"\nSSH-" in self._opening
            if not self.identified and len(self._opening) > _IDENTIFICATION_LIMIT:
                self._refused = True
                return b""
        return data

    def shutdown(self) -> None:
        """Wake everybody who waits on it; from any thread."""
        try:
            self._peer.shutdown(socket.SHUT_RDWR)
        except (OSError, EOFError):
            return

    def __getattr__(self, name: str) -> Any:
        return getattr(self._peer, name)


class Opening:
    """A TCP connection under way while the caller loads what it needs to use it."""

    def __init__(self, settings: Settings, deadline: float) -> None:
        self._deadline = deadline
        self._peer: socket.socket | None = None
        self._trouble: OSError | None = None
        self._thread = threading.Thread(target=self._open, args=(settings,), daemon=True, name="tcp")
        self._thread.start()

    def _open(self, settings: Settings) -> None:
        try:
            self._peer = connect(settings, self._deadline)
        except OSError as error:
            self._trouble = error

    def socket(self) -> socket.socket:
        """Wait for it. Raises OSError."""
        self._thread.join(max(0.0, self._deadline - time.monotonic()))
        if self._trouble:
            raise self._trouble
        if self._peer is None:
            raise TimeoutError("no answer")
        return self._peer
