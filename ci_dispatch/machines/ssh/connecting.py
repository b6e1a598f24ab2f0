"""From nothing to an authenticated connection, stage by stage, within one deadline for all of them."""

from __future__ import annotations

import threading
import time
from typing import Any

import paramiko

from ci_dispatch.machines.ssh import failures, pipelining, sockets
from ci_dispatch.machines.ssh.connection import ChannelStream, Connection, Ground, bounded
from ci_dispatch.machines.ssh.keys import KeyRing
from ci_dispatch.machines.ssh.known_hosts import KnownKeys, fingerprint, known_keys
from ci_dispatch.machines.ssh.settings import Settings, ask_openssh, jump_hops
from ci_dispatch.machines.supervisor_client import Stream
from ci_dispatch.run.ports import MachineError

_RSA = ("rsa-sha2-512", "rsa-sha2-256")  # signatures made with a key listed as ssh-rsa


def connect(
    settings: Settings, command: str | None, seconds: float, opening: sockets.Opening | None = None
) -> tuple[Connection, Stream | None]:
    """A connection, and the pipes of its first command when there is one; `opening` when TCP is under way already.

    Raises MachineError, at the latest at the deadline, with the stage it is stuck in.
    """
    attempt = _Attempt(settings, time.monotonic() + seconds, opening)

    def give_up() -> MachineError:
        attempt.ground.shutdown()
        return failures.no_answer(settings, attempt.stage, seconds)

    return bounded(lambda: attempt.connect(command), seconds, give_up)


class _Attempt:
    """The stages of a connection, with the name of the one that is under way."""

    def __init__(self, settings: Settings, deadline: float, opening: sockets.Opening | None = None) -> None:
        self.settings = settings
        self._opening = opening
        self.stage = "tcp"
        self.ground = Ground()
        self._deadline = deadline
        self._known = known_keys(settings.known_as, settings.known_hosts)

    def connect(self, command: str | None) -> tuple[Connection, Stream | None]:
        try:
            return self._authenticate(command)
        except Exception as error:
            opening = self.ground.socket.opening if self.ground.socket else ""
            self.ground.close()
            raise failures.explain(error, self.stage, self.settings, opening=opening) from error

    def _left(self) -> float:
        return max(0.1, self._deadline - time.monotonic())

    def _authenticate(self, command: str | None) -> tuple[Connection, Stream | None]:
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
                    self.ground.close()  # commands for a session that never was may be on their way: begin anew
                    transport = self._secure(pipelined=False)
                    self.stage = "authentication"
                continue
            connection = Connection(self.settings, transport, self.ground)
            if channel is not None:
                connection.make_ready()
                return connection, ChannelStream(channel, connection)
            return connection, connection.open(command, self._left()) if command else None
        raise failures.refused(self.settings, tried, ring.notes)

    def _secure(self, *, pipelined: bool) -> paramiko.Transport:
        """Key exchange with a verified host. Raises paramiko's exceptions, OSError and MachineError."""
        self.ground = Ground()
        self.ground.socket = guarded = sockets.GuardedSocket(self._plain())
        self.stage = "identification"
        plain: Any = guarded
        transport = (pipelining.PipeliningTransport if pipelined else paramiko.Transport)(plain)
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

    def _plain(self) -> Any:
        """Something to talk through: a socket, or a channel through a jump host."""
        if self.settings.proxy_jump:
            self.stage = "jump host"
            self.ground.jump = self._jump()
            return self.ground.jump.tunnel(self.settings.hostname, self.settings.port, self._left())
        if self.settings.proxy_command:
            self.stage = "proxy"
            peer, self.ground.process = sockets.proxy_command(self.settings)
            return peer
        self.stage = "tcp"
        opening, self._opening = self._opening, None
        return opening.socket() if opening else sockets.connect(self.settings, self._deadline)

    def _jump(self) -> Connection:
        """The last jump host, reached over the ones before it."""
        *before, (host, options) = jump_hops(self.settings.proxy_jump)
        hop = ask_openssh(host, options, config_file=self.settings.config_file, seconds=self._left())
        if before:
            hop = hop.over(self.settings.proxy_jump.rpartition(",")[0])
        connection, _ = _Attempt(hop, self._deadline).connect(None)
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
