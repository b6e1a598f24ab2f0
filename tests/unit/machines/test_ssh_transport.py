"""What a connection is made over: whoever gives up gets everything back, whenever it comes."""

from __future__ import annotations

import threading
import time
from typing import Any, cast

import pytest

from ci_dispatch.machines.ssh import connection, transport
from ci_dispatch.machines.ssh.settings import SshSettings
from ci_dispatch.machines.ssh.transport import GuardedSocket, TcpConnect, TransportResources, bounded
from ci_dispatch.run.ports import MachineError

SETTINGS = SshSettings(alias="m", hostname="h", port=22, user="u")


class FakeSocket:
    def __init__(self) -> None:
        self.shut_down = False
        self.closed = False

    def shutdown(self, *_how: int) -> None:
        self.shut_down = True

    def close(self) -> None:
        self.closed = True


class FakeProcess:
    killed = waited = False

    def kill(self) -> None:
        self.killed = True

    def wait(self) -> None:
        self.waited = True


def test_what_comes_after_the_end_is_ended_at_once() -> None:
    resources = TransportResources()
    resources.shutdown()
    peer, jump = FakeSocket(), FakeSocket()
    resources.add_socket(peer)
    resources.add_jump(cast("Any", jump))
    assert peer.shut_down
    assert jump.shut_down


@pytest.mark.parametrize("error", [EOFError(), OSError("closed")], ids=repr)
def test_closing_what_is_gone_raises_nothing(error: Exception) -> None:
    """paramiko closes it in a thread of its own: a traceback appeared between the results."""

    class Gone:
        def shutdown(self, *_how: int) -> None:
            raise error

        def close(self) -> None:
            raise error

    guarded = GuardedSocket(Gone())
    guarded.shutdown()
    guarded.close()


def test_everything_is_given_back() -> None:
    resources, peer, jump, process = TransportResources(), FakeSocket(), FakeSocket(), FakeProcess()
    resources.add_process(cast("Any", process))
    resources.add_jump(cast("Any", jump))
    resources.add_socket(peer)
    resources.close()
    assert (peer.closed, jump.closed, process.killed, process.waited) == (True, True, True, True)


def test_a_connection_that_comes_when_nobody_waits_any_more_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    peer, go = FakeSocket(), threading.Event()

    def connect(*_args: object) -> FakeSocket:
        go.wait(10)
        return peer

    monkeypatch.setattr(transport, "connect_tcp", connect)
    tcp = TcpConnect(SETTINGS, time.monotonic())
    with pytest.raises(TimeoutError):
        tcp.socket()
    go.set()
    tcp._thread.join(10)
    assert peer.closed


def test_a_connection_that_nobody_takes_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    peer = FakeSocket()
    monkeypatch.setattr(transport, "connect_tcp", lambda *_args: peer)
    tcp = TcpConnect(SETTINGS, time.monotonic() + 10)
    tcp._thread.join(10)
    tcp.close()
    assert peer.closed


@pytest.mark.parametrize("error", [OSError("no route"), OverflowError("port must be 0-65535"), ValueError("null")])
def test_no_error_of_its_thread_is_lost(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def connect(*_args: object) -> None:
        raise error

    monkeypatch.setattr(transport, "connect_tcp", connect)
    with pytest.raises(type(error), match=str(error)):
        TcpConnect(SETTINGS, time.monotonic() + 10).socket()


def test_an_attempt_that_was_given_up_begins_nothing_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two keys it used to make another connection, which nobody owned."""
    monkeypatch.setattr(connection, "connect_tcp", lambda *_args: pytest.fail("it connects"))
    attempt = connection._Attempt(SETTINGS, time.monotonic() + 10)
    attempt.abandon()
    with pytest.raises(MachineError):
        attempt.connect("true")


def test_without_threads_there_is_an_error_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(MachineError, match="no thread"):
        bounded(lambda: None, 1.0, lambda: AssertionError("given up"))
