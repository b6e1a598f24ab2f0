"""Connections of a machine over SSH, used from several threads: none is lost, none is left open."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from ci_dispatch.core.events import MachineChecked
from ci_dispatch.core.model import MachineName, MachineSpec
from ci_dispatch.machines.ssh import machine as module
from ci_dispatch.machines.ssh.machine import SshMachine
from ci_dispatch.machines.ssh.settings import SshSettings


class FakeConnection:
    """A connection that allows one session."""

    def __init__(self, on_look: Callable[[], None]) -> None:
        self.sessions = 1_000
        self.closed = self.dead = False
        self._on_look = on_look

    @property
    def alive(self) -> bool:
        self._on_look()
        return not (self.closed or self.dead)

    def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def _resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = SshSettings(alias="m", hostname="h", port=22, user="u", proxy_jump="hop")
    monkeypatch.setattr(module, "resolve", lambda *_args, **_kwargs: settings)


def test_a_connection_made_while_another_thread_looks_for_one_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[FakeConnection] = []
    looked = threading.Event()
    others: list[threading.Thread] = []

    def meanwhile() -> None:
        """While the first thread looks through the connections, another one looks too and adds one."""
        if made and not looked.is_set():
            looked.set()
            other = threading.Thread(target=machine._open, args=("b", 5.0))
            others.append(other)
            other.start()
            other.join(0.5)  # it ends in this time, or waits for the first thread

    def connect(*_args: object, **_kwargs: object) -> tuple[FakeConnection, object]:
        made.append(FakeConnection(meanwhile))
        return made[-1], SimpleNamespace(close=lambda: None)

    monkeypatch.setattr("ci_dispatch.machines.ssh.connection.connect", connect)
    machine = SshMachine(MachineSpec(name=MachineName("m")), config_file="")
    machine._open("a", 5.0)
    machine._open("c", 5.0)
    for other in others:
        other.join(5)
    machine.close()
    assert len(made) == 3
    assert all(connection.closed for connection in made)


def test_a_connection_that_died_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its ProxyCommand and its jump host's connection went on."""
    first, second = FakeConnection(lambda: None), FakeConnection(lambda: None)
    connections = iter([first, second])
    monkeypatch.setattr(
        "ci_dispatch.machines.ssh.connection.connect", lambda *_args: (next(connections), SimpleNamespace())
    )
    machine = SshMachine(MachineSpec(name=MachineName("m")), config_file="")
    machine._open("a", 5.0)
    first.dead = True
    machine._open("b", 5.0)
    assert first.closed
    assert not second.closed


def test_a_check_does_not_wait_for_another_threads_connection_beyond_its_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A sync may take minutes to connect; a check that waited for it as long was no check any more."""
    connecting, go = threading.Event(), threading.Event()

    def connect(*_args: object) -> tuple[FakeConnection, object]:
        connecting.set()
        go.wait(20)
        return FakeConnection(lambda: None), SimpleNamespace()

    monkeypatch.setattr("ci_dispatch.machines.ssh.connection.connect", connect)
    machine = SshMachine(MachineSpec(name=MachineName("m")), config_file="")
    sync = threading.Thread(target=machine._open, args=("sync", 600.0))
    sync.start()
    assert connecting.wait(5)
    checked: list[MachineChecked] = []
    check = threading.Thread(target=lambda: checked.append(machine.check(0.1)))
    check.start()
    check.join(10)
    over = list(checked)
    go.set()
    sync.join(10)
    check.join(10)
    assert over
    assert not over[0].reachable
    assert "no answer" in over[0].text or "under way" in over[0].text
