"""SSH connections: from nothing to an authenticated one, and commands over it. Every call ends by its deadline.

paramiko's own timeouts are not relied on: exec_command, recv_exit_status and writes can hang for ever in spite of them
(measured; paramiko issues 1815, 1787). The work is done on a thread of its own; at the deadline the socket
below is shut down, which wakes whatever is stuck, and the thread is left to end.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import paramiko

from ci_dispatch.machines.ssh import failures, pipelining
from ci_dispatch.machines.ssh.authentication import KeyRing, KnownKeys, fingerprint, known_keys
from ci_dispatch.machines.ssh.settings import SshSettings, ask_openssh, jump_hops
from ci_dispatch.machines.ssh.transport import (
    TcpConnect,
    TransportResources,
    bounded,
    connect_tcp,
    proxy_command,
)
from ci_dispatch.machines.supervisor_client import ConnectionLost, Stream
from ci_dispatch.run.ports import MachineError

logging.getLogger("paramiko").setLevel(logging.CRITICAL)  # what it logs it also raises, and we explain it

T = TypeVar("T")

_STDERR_BYTES = 2000
_READY_SECONDS = 10.0
_RSA = ("rsa-sha2-512", "rsa-sha2-256")  # signatures made with a key listed as ssh-rsa


class SshConnection:
    """One authenticated connection, used from any thread; `connect` makes one."""

    def __init__(self, settings: SshSettings, transport: paramiko.Transport, resources: TransportResources) -> None:
        self.settings = settings
        self._resources = resources
        self._transport = transport
        self._lock = threading.Lock()
        self._sessions = 0
        self._ready: list[paramiko.Channel] = []
        self._making_ready = False

    @property
    def alive(self) -> bool:
        return self._transport.is_active()

    @property
    def sessions(self) -> int:
        """How many commands run over it."""
        return self._sessions

    def count_sessions(self, change: int) -> None:
        with self._lock:
            self._sessions += change

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
        with self._lock:
            if self._ready or self._making_ready:
                return
            self._making_ready = True

        def work() -> None:
            channel = None
            with contextlib.suppress(Exception):  # then the next command opens its own, and says what is wrong
                channel = self._transport.open_session(timeout=_READY_SECONDS)
            with self._lock:
                self._ready += [channel] if channel else []
                self._making_ready = False

        try:
            threading.Thread(target=work, daemon=True, name="ssh").start()
        except RuntimeError:  # no thread to be had; the next command opens its own
            with self._lock:
                self._making_ready = False

    def _ready_channel(self) -> paramiko.Channel | None:
        with self._lock:
            channel = self._ready.pop() if self._ready else None
        return None if channel is None or channel.closed else channel

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

    def shutdown(self) -> None:
        """Wake whatever is stuck on it."""
        self._resources.shutdown()

    def close(self) -> None:
        self._resources.shutdown()
        with contextlib.suppress(Exception):  # it may be broken already
            self._transport.close()
        self._resources.close()


class ChannelStream:
    """The pipes of one command."""

    def __init__(self, channel: paramiko.Channel, connection: SshConnection) -> None:
        self._channel, self._connection = channel, connection
        self._stderr = b""
        self._open = True
        connection.count_sessions(1)

    def send(self, data: bytes, seconds: float) -> None:
        self._channel.settimeout(seconds)
        try:
            self._channel.sendall(data)
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise self._lost(error) from error

    def receive(self, seconds: float) -> bytes | None:
        self._channel.settimeout(seconds)
        try:
            return self._channel.recv(64 * 1024)
        except TimeoutError:
            return None
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise self._lost(error) from error
        finally:
            self._read_stderr()

    def stderr_tail(self) -> str:
        self._read_stderr()
        return self._stderr.decode("utf-8", "replace").strip()

    def close(self) -> None:
        if self._open:
            self._open = False
            self._connection.count_sessions(-1)
        with contextlib.suppress(Exception):  # the connection may be gone
            self._channel.close()

    def _read_stderr(self) -> None:
        """Unread standard error would fill the channel's window and stop its output."""
        while self._channel.recv_stderr_ready():
            self._stderr = (self._stderr + self._channel.recv_stderr(64 * 1024))[-_STDERR_BYTES:]

    def _lost(self, error: Exception) -> MachineError:
        why = self.stderr_tail() or str(error) or type(error).__name__
        return ConnectionLost(f"{self._connection.settings.alias}: the connection broke", stage="command", why=why)


def connect(
    settings: SshSettings, command: str | None, seconds: float, tcp: TcpConnect | None = None
) -> tuple[SshConnection, Stream | None]:
    """A connection, and the pipes of its first command when there is one; `tcp` when it is being connected already.

    Raises MachineError, at the latest at the deadline, with the stage it is stuck in.
    """
    attempt = _Attempt(settings, time.monotonic() + seconds, tcp)

    def give_up() -> MachineError:
        attempt.abandon()
        return failures.no_answer(settings, attempt.stage, seconds)

    return bounded(lambda: attempt.connect(command), seconds, give_up)


class _Attempt:
    """The stages of a connection, with the name of the one that is under way."""

    def __init__(self, settings: SshSettings, deadline: float, tcp: TcpConnect | None = None) -> None:
        self.settings = settings
        self.stage = "tcp"
        self._tcp = tcp
        self._resources = TransportResources()
        self._hop: _Attempt | None = None  # at the jump host
        self._abandoned = False
        self._lock = threading.Lock()
        self._deadline = deadline
        self._known = known_keys(settings.known_as, settings.known_hosts)

    def abandon(self) -> None:
        """The deadline has passed: wake the thread that connects; it can begin nothing anew. From any thread."""
        with self._lock:
            self._abandoned = True
            tcp, hop, resources = self._tcp, self._hop, self._resources
        if tcp:
            tcp.close()
        if hop:
            hop.abandon()
        resources.shutdown()

    def _begin(self) -> TransportResources:
        with self._lock:
            if self._abandoned:
                raise TimeoutError("no answer")
            self._resources = TransportResources()
            return self._resources

    def connect(self, command: str | None) -> tuple[SshConnection, Stream | None]:
        try:
            return self._authenticate(command)
        except Exception as error:
            peer = self._resources.socket
            self._resources.close()
            raise failures.explain(
                error, self.stage, self.settings, first_bytes=peer.first_bytes if peer else ""
            ) from error

    def _left(self) -> float:
        return max(0.1, self._deadline - time.monotonic())

    def _authenticate(self, command: str | None) -> tuple[SshConnection, Stream | None]:
        """Key by key; the first one takes the command with it."""
        ring = KeyRing(self.settings)
        tried: list[str] = []
        transport = self._secure(pipelined=pipelining.usable())
        self.stage = "authentication"
        for name, key in ring.candidates():
            channel = None
            try:
                if isinstance(transport, pipelining.PipeliningTransport):
                    channel = transport.authenticate(self.settings.user, key, command)
                else:
                    transport.auth_publickey(self.settings.user, key)
            except paramiko.SSHException:
                tried.append(name)
                if isinstance(transport, pipelining.PipeliningTransport) or not transport.is_active():
                    self._resources.close()  # commands for a session that never was may be on their way: begin anew
                    transport = self._secure(pipelined=False)
                    self.stage = "authentication"
                continue
            connection = SshConnection(self.settings, transport, self._resources)
            if channel is not None:
                connection.make_ready()
                return connection, ChannelStream(channel, connection)
            return connection, connection.open(command, self._left()) if command else None
        raise failures.refused(self.settings, tried, ring.notes)

    def _secure(self, *, pipelined: bool) -> paramiko.Transport:
        """Key exchange with a verified host. Raises paramiko's exceptions, OSError and MachineError."""
        resources = self._begin()
        guarded = resources.add_socket(self._peer(resources))
        self.stage = "identification"
        peer: Any = guarded
        transport = (pipelining.PipeliningTransport if pipelined else paramiko.Transport)(peer)
        transport.daemon = True
        transport.banner_timeout = transport.handshake_timeout = transport.auth_timeout = self._left()
        if self._known.types:
            _prefer(transport, self._known)
        done = threading.Event()
        transport.start_client(event=done)
        while not done.wait(0.05):
            if guarded.identified:
                self.stage = "key exchange"
        if guarded.identified:
            self.stage = "key exchange"
        if not transport.is_active():
            raise transport.get_exception() or EOFError("closed by the machine")
        self.stage = "host key"
        self._verify(transport.get_remote_server_key())
        return transport

    def _peer(self, resources: TransportResources) -> Any:
        """Something to talk through: a socket, or a channel through a jump host."""
        if self.settings.proxy_jump:
            self.stage = "jump host"
            jump = self._jump()
            resources.add_jump(jump)
            return jump.tunnel(self.settings.hostname, self.settings.port, self._left())
        if self.settings.proxy_command:
            self.stage = "proxy"
            peer, process = proxy_command(self.settings)
            resources.add_process(process)
            return peer
        self.stage = "tcp"
        tcp, self._tcp = self._tcp, None
        return tcp.socket() if tcp else connect_tcp(self.settings, self._deadline)

    def _jump(self) -> SshConnection:
        """The last jump host, reached over the ones before it."""
        *before, (host, options) = jump_hops(self.settings.proxy_jump)
        hop = ask_openssh(host, options, config_file=self.settings.config_file, seconds=self._left())
        if before:
            hop = hop.over(self.settings.proxy_jump.rpartition(",")[0])
        attempt = _Attempt(hop, self._deadline)
        with self._lock:
            self._hop = attempt
        connection, _ = attempt.connect(None)
        return connection

    def _verify(self, key: paramiko.PKey) -> None:
        kind, blob = key.get_name(), key.asbytes()
        if blob in self._known.revoked:
            raise failures.revoked_host_key(self.settings, kind, fingerprint(blob))
        if (kind, blob) in self._known.trusted:
            return
        if self._known.trusted:
            raise failures.changed_host_key(self.settings, kind, fingerprint(blob), self._known.file)
        if self._known.authorities:
            raise failures.authorities_only(self.settings)
        raise failures.unknown_host(self.settings, kind, fingerprint(blob))


def _prefer(transport: paramiko.Transport, known: KnownKeys) -> None:
    """Ask for a host key of a type we know: paramiko would take another and call the host changed (its issue 2411)."""
    options = transport.get_security_options()
    known_types = set(known.types) | (set(_RSA) if "ssh-rsa" in known.types else set())
    wanted = [kind for kind in options.key_types if kind in known_types]
    if wanted:
        options.key_types = wanted
