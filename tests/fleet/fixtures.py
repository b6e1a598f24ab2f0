"""The fleet as fixtures. Import what a test module uses, or everything:

from tests.fleet.fixtures import *  # noqa: F403
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_dispatch.core.model import Connection, MachineName, MachineSpec
from ci_dispatch.machines.local import LocalMachine
from ci_dispatch.machines.ssh.machine import SshMachine
from tests.fleet.lab import Lab
from tests.fleet.servers import Keys, Server, SshConfig


class Loopback:
    """Tier 1: servers on this machine, started when they are first asked for."""

    def __init__(self, folder: Path, keys: Keys) -> None:
        self.folder = folder
        self.keys = keys
        self.config = SshConfig(folder)
        self._servers: dict[str, Server] = {}

    def server(self, name: str = "plain", *lines: str, host_key: Path | None = None, authorised: bool = True) -> Server:
        """A running server that machine `name` of the configuration leads to; its host key is known."""
        if name not in self._servers:
            server = Server(self.folder / name, self.keys, *lines, host_key=host_key, authorised=authorised).start()
            self._servers[name] = server
            self.config.add(name, server.port, key=self.keys.user, known=self.keys.host)
        return self._servers[name]

    def machine(self, name: str = "plain", *, workdir: Path) -> SshMachine:
        self.server(name)
        spec = MachineSpec(name=MachineName(name), workdir=str(workdir))
        return SshMachine(spec, config_file=str(self.config.path))

    def stop(self) -> None:
        for server in self._servers.values():
            server.stop()


@pytest.fixture(scope="session")
def ssh_keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys.make(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="session")
def loopback(tmp_path_factory: pytest.TempPathFactory, ssh_keys: Keys) -> Iterator[Loopback]:
    servers = Loopback(tmp_path_factory.mktemp("sshd"), ssh_keys)
    yield servers
    servers.stop()


@pytest.fixture(scope="session")
def lab_of_session(tmp_path_factory: pytest.TempPathFactory, ssh_keys: Keys) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("lab"), ssh_keys)
    try:
        yield lab.start()
    finally:
        lab.stop()


@pytest.fixture
def lab(lab_of_session: Lab) -> Lab:
    """Tier 2, whole again after whatever the test before did to it."""
    lab_of_session.heal()
    return lab_of_session


@pytest.fixture
def ssh_machine(loopback: Loopback, tmp_path: Path) -> Iterator[SshMachine]:
    """A machine over a real sshd."""
    machine = loopback.machine(workdir=tmp_path / "far")
    yield machine
    machine.close()


@pytest.fixture
def local_machine(tmp_path: Path) -> Iterator[LocalMachine]:
    spec = MachineSpec(name=MachineName("local"), connection=Connection.LOCAL, workdir=str(tmp_path / "near"))
    machine = LocalMachine(spec)
    yield machine
    machine.close()
