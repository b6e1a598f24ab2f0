"""A machine over SSH: the Machine port on top of connections that are kept for the next command."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

from ci_dispatch.core.model import MachineSpec
from ci_dispatch.machines.ssh.settings import Settings, resolve
from ci_dispatch.machines.ssh.sockets import Opening
from ci_dispatch.machines.supervised import SupervisedMachine
from ci_dispatch.machines.supervisor_client import ConnectionLost, Stream
from ci_dispatch.run.health import HealthPolicy
from ci_dispatch.run.ports import MachineError

if TYPE_CHECKING:
    from ci_dispatch.machines.ssh.connection import Connection

CONFIG_VARIABLE = "CI_DISPATCH_SSH_CONFIG"  # a file instead of ~/.ssh/config, as `ssh -F` takes it

_SHARE_OF_LIVE = 0.6  # of the time for an answer, for a connection that may be dead
_SESSIONS_A_CONNECTION = 8  # sshd's MaxSessions is 10 unless its owner says otherwise


class SshMachine(SupervisedMachine):
    """Connections are made when a command needs one and used again while they live; from any thread."""

    def __init__(
        self, spec: MachineSpec, policy: HealthPolicy | None = None, *, config_file: str | None = None
    ) -> None:
        super().__init__(spec, policy)
        self._config_file = os.environ.get(CONFIG_VARIABLE, "") if config_file is None else config_file
        self._settings: Settings | None = None
        self._connections: list[Connection] = []
        self._connecting = threading.Lock()

    def _open(self, command: str, seconds: float) -> Stream:
        until = time.monotonic() + seconds
        live = self._live()
        if live is None:
            with self._connecting:  # one at a time: sshd turns floods of connections away (MaxStartups)
                live = self._live()
                if live is None:
                    return self._connect(command, until - time.monotonic())
        try:
            return live.open(command, until - time.monotonic())
        except MachineError:
            if not live.alive:
                raise
            return self._connect(command, until - time.monotonic())  # no more sessions on it: MaxSessions is lower

    def _ask(self, command: str, end_mark: str, seconds: float) -> tuple[str, float]:
        """Over a live connection when there is one; when that is dead, over a new one in the time that is left."""
        live = self._live()
        if live is None:
            return super()._ask(command, end_mark, seconds)
        until = time.monotonic() + seconds
        try:
            return super()._ask(command, end_mark, seconds * _SHARE_OF_LIVE)
        except ConnectionLost:
            live.close()
            return super()._ask(command, end_mark, until - time.monotonic())

    def _live(self) -> Connection | None:
        self._connections = [connection for connection in self._connections if connection.alive]
        usable = [connection for connection in self._connections if connection.sessions < _SESSIONS_A_CONNECTION]
        return usable[-1] if usable else None

    def _connect(self, command: str, seconds: float) -> Stream:
        until = time.monotonic() + max(0.1, seconds)
        if self._settings is None:
            self._settings = resolve(self.spec, config_file=self._config_file, seconds=seconds)
        direct = not (self._settings.proxy_jump or self._settings.proxy_command)
        opening = Opening(self._settings, until) if direct else None
        from ci_dispatch.machines.ssh.connecting import connect  # noqa: PLC0415  # paramiko: 0.1 s, while TCP connects

        connection, stream = connect(self._settings, command, until - time.monotonic(), opening)
        assert stream is not None  # there was a command
        self._connections.append(connection)
        return stream

    def close(self) -> None:
        for connection in self._connections:
            connection.close()
        self._connections = []
