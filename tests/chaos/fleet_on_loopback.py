"""Tier 1 (no rights needed): each machine is an sshd on a loopback port behind a relay, with a folder for a disk.

Its disk cannot be full, its memory cannot be used up and its line cannot be slow: such a fault does not happen here.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from functools import partial
from pathlib import Path

from tests.chaos.fleet import Fleet, nothing
from tests.chaos.plan import Kind, Plan
from tests.fleet.relay import Relay
from tests.fleet.servers import Keys, Server, SshConfig


class LoopbackFleet(Fleet):
    """What needs no root can happen to these."""

    def __init__(self, plan: Plan, folder: Path, keys: Keys) -> None:
        super().__init__(plan, folder)
        self._keys = keys
        self._off: set[str] = set()
        config = SshConfig(folder)
        self.ssh_config = config.path
        self._servers = {name: Server(folder / "lab" / name, keys).start() for name in self.far}
        self._relays = {name: Relay(server.port) for name, server in self._servers.items()}
        for name, relay in self._relays.items():
            self.work(name).mkdir()
            config.add(name, relay.port, key=keys.user, known=keys.host)
        silence = (lambda name: self._relays[name].freeze(), lambda name: self._relays[name].thaw())
        self.acts |= {
            Kind.POWER_OFF: (self._power_off, self._power_on),
            Kind.HOLE: silence,
            Kind.HOLE_IN: silence,
            Kind.HOLE_OUT: silence,
            Kind.SSHD_KILLED: (lambda name: self._servers[name].stop(), self._sshd),
            Kind.CUT: (lambda name: self._relays[name].cut(), nothing),
            Kind.HOST_KEY: (partial(self._sshd, line=f"HostKey {keys.other_host}"), self._sshd),
            Kind.MAX_SESSIONS: (partial(self._sshd, line="MaxSessions 1"), self._sshd),
        }

    def work(self, name: str) -> Path:
        return self.folder / "lab" / name / "work"

    def is_on(self, name: str) -> bool:
        return name not in self._off

    def stop(self) -> None:
        for relay in self._relays.values():
            relay.stop()
        for server in self._servers.values():
            server.stop()

    def _power_off(self, name: str) -> None:
        self._off.add(name)
        self._relays[name].freeze()
        self._servers[name].stop()
        mine = str(self.work(name))
        for pid, words in self.processes().items():
            if mine in words or mine in _environment(pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _power_on(self, name: str) -> None:
        self._off.discard(name)
        self._relays[name].thaw()
        self._relays[name].cut()
        self._sshd(name)

    def _sshd(self, name: str, *, line: str = "") -> None:
        """Another sshd in place of the one there is, on the same port: every connection ends."""
        old = self._servers[name]
        old.stop()
        self._servers[name] = Server(old.folder, self._keys, *filter(None, [line]), port=old.port).start()


def _environment(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    return ""
