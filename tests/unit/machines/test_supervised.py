"""What every supervised machine does whatever goes wrong below it."""

from __future__ import annotations

import errno
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ci_dispatch.app.health import examine_all
from ci_dispatch.core.errors import ControllerError
from ci_dispatch.core.model import MachineName, MachineSpec
from ci_dispatch.machines.ssh.machine import SshMachine
from ci_dispatch.machines.ssh.settings import ask_openssh
from ci_dispatch.machines.supervised import SupervisedMachine
from ci_dispatch.machines.supervisor import protocol
from ci_dispatch.machines.supervisor_client import Frame, Stream
from ci_dispatch.run.ports import MachineError

OURS: list[Exception] = [
    OSError(errno.EMFILE, "Too many open files"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    RuntimeError("can't start new thread"),
    MemoryError(),
]
KINDS: list[Exception] = [
    PermissionError(errno.EACCES, "Permission denied", "ssh"),
    ValueError("filedescriptor out of range in select()"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    EOFError(),
    KeyError("key"),
    Exception("whatever"),
]


class Broken(SupervisedMachine):
    """A machine that fails in opening, reading or closing its pipes."""

    def __init__(self, where: str, error: Exception) -> None:
        super().__init__(MachineSpec(name=MachineName("broken")))
        self._where, self._error = where, error

    def _open(self, command: str, seconds: float) -> Stream:
        self._fail("open")
        return self

    def _fail(self, where: str) -> None:
        if where == self._where:
            raise self._error

    def send(self, data: bytes, seconds: float) -> None:
        self._fail("send")

    def receive(self, seconds: float) -> bytes | None:
        self._fail("receive")
        return b""

    def stderr_tail(self) -> str:
        return ""

    def close(self) -> None:
        self._fail("close")


@pytest.mark.parametrize("where", ["open", "receive", "close"])
@pytest.mark.parametrize("error", KINDS, ids=repr)
def test_a_check_raises_nothing_of_the_machines(error: Exception, where: str) -> None:
    report = Broken(where, error).check(1.0)
    assert not report.healthy
    assert not report.reachable
    assert report.problems
    if where == "open":
        assert (str(error) or type(error).__name__).splitlines()[0] in report.text


@pytest.mark.parametrize("where", ["open", "send", "receive"])
@pytest.mark.parametrize("error", KINDS[:2], ids=repr)
def test_what_the_system_refuses_is_a_machine_error(error: Exception, where: str) -> None:
    with pytest.raises(MachineError) as refused:
        Broken(where, error).sweep(1.0)
    if where == "open":
        assert str(error) in refused.value.why


@pytest.mark.parametrize("where", ["open", "receive"])
@pytest.mark.parametrize("error", OURS, ids=repr)
def test_what_this_computer_lacks_is_not_the_machines_trouble(error: Exception, where: str) -> None:
    with pytest.raises(ControllerError, match="This computer could not go on") as refused:
        Broken(where, error).sweep(1.0)
    assert refused.value.hint
    with pytest.raises(ControllerError):
        Broken(where, error).check(1.0)


class Endless(SupervisedMachine):
    """Answers every request with an archive that does not end."""

    def ask(self, *_args: Any, **_kwargs: Any) -> Any:
        frames = (Frame(protocol.ARCHIVE, bytes(1000)) for _ in range(1_000_000))
        return nullcontext(SimpleNamespace(frames_until_result=lambda _until: frames))


def test_an_archive_without_end_is_taken_up_to_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ci_dispatch.machines.supervised.MAX_BYTES", 50_000)
    with pytest.raises(MachineError, match="sends more than was asked for"):
        Endless(MachineSpec(name=MachineName("endless"))).collect("job", tmp_path, 10.0)


def test_no_file_descriptors_left_for_ssh_is_said_by_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_args: Any, **_kwargs: Any) -> None:
        raise OSError(errno.EMFILE, "Too many open files", "ssh")

    monkeypatch.setattr("ci_dispatch.machines.ssh.settings.subprocess.run", run)
    with pytest.raises(ControllerError, match="Too many open files") as refused:
        ask_openssh("m", [], config_file="", seconds=1.0)
    assert "ulimit" in refused.value.hint
    machine = SshMachine(MachineSpec(name=MachineName("m")), config_file="")
    with pytest.raises(ControllerError, match="Too many open files"):
        examine_all([machine], 1.0)
