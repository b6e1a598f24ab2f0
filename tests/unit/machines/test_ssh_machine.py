"""Connections of a machine over SSH, used from several threads: none is lost, none is left open."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from ci_dispatch.core.model import MachineName, MachineSpec
from ci_dispatch.machines.ssh import machine as module
from ci_dispatch.machines.ssh.machine import SshMachine


class FakeConnection:
    """A connection that allows one session."""

    def __init__(self, on_look: Callable[[], None]) -> None:
        self.sessions = 1_000
        self.closed = False
        self._on_look = on_look

    @property
    def alive(self) -> bool:
        self._on_look()
        return not self.closed

    def close(self) -> None:
        self.closed = True


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
    monkeypatch.setattr(module, "resolve", lambda *_args, **_kwargs: SimpleNamespace(proxy_jump="hop"))
    machine = SshMachine(MachineSpec(name=MachineName("m")), config_file="")
    machine._open("a", 5.0)
    machine._open("c", 5.0)
    for other in others:
        other.join(5)
    machine.close()
    assert len(made) == 3
    assert all(connection.closed for connection in made)
