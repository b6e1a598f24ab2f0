"""A machine over SSH: the Machine port on top of connections that are kept for the next command."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

from ci_dispatch.core.job_environment import JobEnvironment
from ci_dispatch.core.model import MachineSpec
from ci_dispatch.machines.ssh.settings import SshSettings, resolve
from ci_dispatch.machines.ssh.transport import TcpConnect
from ci_dispatch.machines.supervised import SupervisedMachine
from ci_dispatch.machines.supervisor_client import ConnectionLost, Stream
from ci_dispatch.run.health import HealthPolicy
from ci_dispatch.run.ports import MachineError

if TYPE_CHECKING:
    from ci_dispatch.machines.ssh.connection import SshConnection

CONFIG_VARIABLE = "CI_DISPATCH_SSH_CONFIG"  # a file instead of ~/.ssh/config, as `ssh -F` takes it

_SHARE_OF_LIVE = 0.6  # of the time for an answer, for a connection that may be dead
_SESSIONS_A_CONNECTION = 8  # sshd's MaxSessions is 10 unless its owner says otherwise


class SshMachine(SupervisedMachine):
    """Connections are made when a command needs one and used again while they live; from any thread."""

    def __init__(
        self,
        spec: MachineSpec,
        policy: HealthPolicy | None = None,
        environment: JobEnvironment | None = None,
        *,
        config_file: str | None = None,
    ) -> None:
        super().__init__(spec, policy, environment)
        self._config_file = os.environ.get(CONFIG_VARIABLE, "") if config_file is None else config_file
        self._connecting = threading.Lock()  # one at a time: sshd turns floods of connections away (MaxStartups)
        self._lock = threading.Lock()  # for the two below
        self._settings: SshSettings | None = None
        self._connections: list[SshConnection] = []

    def _open(self, command: str, seconds: float) -> Stream:
        until = time.monotonic() + seconds
        live = self._live()
        if live is None:
            if not self._connecting.acquire(timeout=max(0.0, seconds)):
                raise ConnectionLost(
                    f"{self.spec.name}: no answer within {seconds:g} s",
                    stage="connecting",
                    why="another connection to it has been under way for as long",
                )
            try:
                live = self._live()
                if live is None:
                    return self._connect(command, _left(until))
            finally:
                self._connecting.release()
        try:
            return live.open(command, _left(until))
        except MachineError:
            if not live.alive:
                raise
            return self._connect(command, _left(until))  # no more sessions on it: MaxSessions is lower

    def _run_to_mark(self, command: str, end_mark: str, seconds: float) -> tuple[str, float]:
        """Over a live connection when there is one; when that is dead, over a new one in the time that is left."""
        live = self._live()
        if live is None:
            return super()._run_to_mark(command, end_mark, seconds)
        until = time.monotonic() + seconds
        try:
            return super()._run_to_mark(command, end_mark, seconds * _SHARE_OF_LIVE)
        except ConnectionLost:
            live.close()
            return super()._run_to_mark(command, end_mark, until - time.monotonic())

    def _live(self) -> SshConnection | None:
        """A connection with room for another command. Dead ones are given back."""
        with self._lock:
            dead = [connection for connection in self._connections if not connection.alive]
            self._connections = [connection for connection in self._connections if connection not in dead]
            usable = [each for each in self._connections if each.sessions < _SESSIONS_A_CONNECTION]
        for connection in dead:
            connection.close()
        return usable[-1] if usable else None

    def _connect(self, command: str, seconds: float) -> Stream:
        until = time.monotonic() + max(0.1, seconds)
        settings = self._resolved(seconds)
        direct = not (settings.proxy_jump or settings.proxy_command)
        tcp = TcpConnect(settings, until) if direct else None
        try:
            from ci_dispatch.machines.ssh.connection import connect  # noqa: PLC0415  # paramiko: 0.1 s, as TCP connects

            connection, stream = connect(settings, command, until - time.monotonic(), tcp)
        finally:
            if tcp:
                tcp.close()  # unless it was taken
        assert stream is not None  # there was a command
        with self._lock:
            self._connections.append(connection)
        return stream

    def _resolved(self, seconds: float) -> SshSettings:
        with self._lock:
            known = self._settings
        settings = known or resolve(self.spec, config_file=self._config_file, seconds=seconds)
        with self._lock:
            self._settings = settings
        return settings

    def close(self) -> None:
        with self._lock:
            connections, self._connections = self._connections, []
        for connection in connections:
            connection.close()


def _left(until: float) -> float:
    """Seconds until a moment of the monotonic clock; never none, so that what is too late says so by itself."""
    return max(0.1, until - time.monotonic())
