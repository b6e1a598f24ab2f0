"""Peers that misbehave: every check ends by its deadline, names the stage, and leaves no thread behind."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path

import pytest

from ci_dispatch.core.model import MachineName, MachineSpec
from ci_dispatch.machines.ssh.machine import SshMachine
from tests.fleet import hostile
from tests.fleet.fixtures import Loopback
from tests.fleet.recorder import until
from tests.fleet.servers import SshConfig

pytestmark = pytest.mark.needs("sshd")

DEADLINE = 1.5
SLACK = 2.0  # for a busy computer; a missed deadline hangs for tens of seconds


def check(loopback: Loopback, folder: Path, port: int, seconds: float = DEADLINE) -> str:
    config = SshConfig(folder)
    config.add("m", port, key=loopback.keys.user, known=loopback.keys.host)
    machine = SshMachine(MachineSpec(name=MachineName("m")), config_file=str(config.path))
    threads = _threads()
    began = time.monotonic()
    report = machine.examine(seconds)
    assert time.monotonic() - began < seconds + SLACK
    assert not report.reachable
    machine.close()
    until(lambda: _threads() <= threads)
    return report.dimensions[0].text


def _threads() -> int:
    return sum(thread.name != "hostile" for thread in threading.enumerate())


@pytest.mark.parametrize(
    ("behaviour", "stage", "words"),
    [
        (hostile.silent, "identification", "stuck at"),
        (hostile.drip, "identification", "stuck at"),
        (hostile.drip_lines, "identification", "stuck at"),
        (hostile.flood, "identification", "is not SSH; it says 'AAA"),
        (hostile.close, "identification", "before SSH began"),
        (hostile.reset, "identification", "before SSH began"),
        (hostile.http, "identification", "is not SSH; it says 'HTTP/1.1 400 Bad Request"),
        (hostile.busy, "identification", "sshd is busy or holds us off"),
        (hostile.identified_then_silent, "key exchange", "stuck at"),
        (hostile.garbage_after_identification, "key exchange", ""),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_hostile_peer_costs_no_more_than_the_deadline(
    loopback: Loopback, tmp_path: Path, behaviour: hostile.Behaviour, stage: str, words: str
) -> None:
    with hostile.peer(behaviour) as port:
        text = check(loopback, tmp_path, port)
    assert text.startswith(f"{stage}: ")
    assert words in text


def test_a_peer_that_never_accepts(loopback: Loopback, tmp_path: Path) -> None:
    with hostile.peer(hostile.silent, accept=False) as port:
        assert check(loopback, tmp_path, port).startswith("identification: ")


def test_a_frozen_server(loopback: Loopback, tmp_path: Path) -> None:
    server = loopback.server("frozen")
    server.signal(signal.SIGSTOP)
    try:
        assert check(loopback, tmp_path, server.port).startswith("identification: ")
    finally:
        server.signal(signal.SIGCONT)


def test_a_slow_shell(loopback: Loopback, tmp_path: Path) -> None:
    server = loopback.server("slow", 'ForceCommand sleep 30; eval "$SSH_ORIGINAL_COMMAND"')
    assert check(loopback, tmp_path, server.port) == "command: no answer"


def test_an_endless_answer_is_not_swallowed(loopback: Loopback, tmp_path: Path) -> None:
    server = loopback.server("endless", "ForceCommand exec cat /dev/zero")
    assert check(loopback, tmp_path, server.port, 5).startswith("command: the answer is not complete")
