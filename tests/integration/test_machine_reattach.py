"""Connections that break while a job runs: what comes back is every byte once, or LOST with nothing left running."""

from __future__ import annotations

import hashlib
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_dispatch.core.model import Ended, MachineName, MachineSpec
from ci_dispatch.machines.ssh.machine import SshMachine
from ci_dispatch.run.ports import Job, WorkTree
from tests.fleet.fixtures import Loopback
from tests.fleet.recorder import STUBBORN, Recorder, Running, job, marked, until
from tests.fleet.relay import Relay, relay
from tests.fleet.servers import SshConfig

pytestmark = pytest.mark.needs("sshd")

WRITER = """
import hashlib, os, random, sys, time
source, total = random.Random(7), hashlib.sha256()
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    piece = source.randbytes(source.randrange(20_000))
    total.update(piece)
    os.write(1, piece)
    with open(os.environ["A"] + "/live.jsonl", "ab") as live:
        live.write(b"%d\\n" % len(piece))
    time.sleep(0.01)
open(os.environ["A"] + "/sum", "w").write(total.hexdigest())
"""
"""Writes random bytes for a number of seconds, and their SHA-256 into the attempt's folder."""


class Line:
    """A machine behind a relay."""

    def __init__(self, machine: SshMachine, between: Relay) -> None:
        self.machine, self.between = machine, between

    def writer(self, name: str, seconds: float, **rest: float) -> Job:
        place = self.machine.place(name)
        argv = (sys.executable, "-c", WRITER, str(seconds))
        return job(name, *argv, cwd=place.tree, env={"A": place.attempt}, **rest)

    def assert_identical(self, name: str, recorder: Recorder) -> None:
        attempt = Path(self.machine.place(name).attempt)
        assert hashlib.sha256(recorder.out).hexdigest() == (attempt / "sum").read_text()
        assert recorder.live_bytes == (attempt / "live.jsonl").read_bytes()
        assert recorder.calls.count("started") == 1


@pytest.fixture
def line(loopback: Loopback, tmp_path: Path) -> Iterator[Line]:
    (tmp_path / "tree").mkdir()
    with relay(loopback.server().port) as between:
        config = SshConfig(tmp_path / "client")
        config.add("m", between.port, key=loopback.keys.user, known=loopback.keys.host)
        spec = MachineSpec(name=MachineName("m"), workdir=str(tmp_path / "work"))
        machine = SshMachine(spec, config_file=str(config.path))
        machine.sync(WorkTree(root=tmp_path / "tree"), 20)
        yield Line(machine, between)
        machine.close()
        assert not marked(spec.workdir), "processes were left behind"


def test_a_connection_that_is_cut_again_and_again_loses_no_byte(line: Line) -> None:
    running = Running(line.machine, line.writer("cut", 4.0))
    until(lambda: running.recorder.out)
    dice = random.Random(3)
    for _ in range(5):
        time.sleep(dice.uniform(0.1, 0.6))
        line.between.cut()
    assert running.end().exit_code == 0
    line.assert_identical("cut", running.recorder)
    assert line.between.connections >= 3


def test_a_line_that_freezes_for_less_than_the_lease_loses_no_byte(line: Line) -> None:
    running = Running(line.machine, line.writer("freeze", 4.0, lease=8.0))
    until(lambda: running.recorder.out)
    line.between.freeze()
    time.sleep(5.0)  # longer than the silence that makes us give a connection up, shorter than the lease
    line.between.thaw()
    assert running.end().exit_code == 0
    line.assert_identical("freeze", running.recorder)


def test_a_machine_that_refuses_for_a_while_is_come_back_to(line: Line) -> None:
    running = Running(line.machine, line.writer("refused", 3.0))
    until(lambda: running.recorder.out)
    line.between.refusing = True
    line.between.cut()
    time.sleep(2.0)
    line.between.refusing = False
    assert running.end().exit_code == 0
    line.assert_identical("refused", running.recorder)


def test_beyond_the_lease_the_job_is_lost_and_all_of_it_ended(line: Line) -> None:
    place = line.machine.place("lost")
    stubborn = job("lost", sys.executable, "-c", STUBBORN, cwd=place.tree, lease=2.0, interrupt_grace=0.2)
    running = Running(line.machine, stubborn)
    until(lambda: running.recorder.out == b"ready\n")
    assert marked(line.machine.spec.workdir)
    line.between.refusing = True
    line.between.cut()
    assert running.end().ended is Ended.LOST
    until(lambda: not marked(line.machine.spec.workdir))
    line.between.refusing = False
    again = line.machine.run(stubborn, Recorder())  # a resume finds what became of it
    assert again.ended is Ended.LEASE_ENDED


def test_a_job_on_a_machine_that_never_answers_was_not_started(line: Line) -> None:
    line.machine.close()
    line.between.refusing = True
    end = line.machine.run(line.writer("never", 1.0, lease=1.5), Recorder())
    assert end.ended is Ended.NOT_STARTED
    assert "before SSH began" in end.reason


def test_cancel_reaches_a_job_whose_connection_has_just_been_cut(line: Line) -> None:
    place = line.machine.place("cancelled")
    running = Running(
        line.machine, job("cancelled", sys.executable, "-c", STUBBORN, cwd=place.tree, interrupt_grace=0.2)
    )
    until(lambda: running.recorder.out == b"ready\n")
    line.between.cut()
    line.machine.cancel("cancelled")
    assert running.end().ended is Ended.CANCELLED


def test_a_check_finds_a_dead_connection_dead_and_makes_another(line: Line) -> None:
    assert line.machine.examine(10).reachable
    line.between.cut()
    assert line.machine.examine(10).reachable
    assert line.between.connections == 2
