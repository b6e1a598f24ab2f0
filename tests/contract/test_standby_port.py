"""What every machine promises of a job that waits: it is taken over once, or ended; never both, and never left."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_dispatch.core.codec import replace
from ci_dispatch.core.model import Ended
from ci_dispatch.machines.supervised import SupervisedMachine
from ci_dispatch.run.ports import Job, WorkTree
from tests.fleet.recorder import STUBBORN, Recorder, Running, job, marked, supervising, until

KINDS = ["local_machine", pytest.param("ssh_machine", marks=pytest.mark.needs("sshd"))]
WAIT = """
import os, sys, time
print("ready", flush=True)
while not os.path.exists(os.environ.get("CI_DISPATCH_BEGIN", __file__)):
    time.sleep(0.01)
tests = open(os.path.join(os.path.dirname(__file__), "tests")).read()
open(os.path.join(os.path.dirname(__file__), "live.jsonl"), "w").write(tests + chr(10))
exec(tests)
"""


@pytest.fixture(params=KINDS)
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SupervisedMachine]:
    """Synced, and at the end of the test nothing of it may be running."""
    machine: SupervisedMachine = request.getfixturevalue(request.param)
    (tmp_path / "tree").mkdir()
    machine.sync(WorkTree(root=tmp_path / "tree"), 20)
    yield machine
    left = marked(machine.spec.workdir)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, "processes were left behind"


def lease(
    machine: SupervisedMachine, name: str, tests: str = "", *, seconds: float = 10.0, timeout: float = 60.0
) -> Job:
    """A job whose runner can be started without its tests, a program."""
    place = machine.place(name)
    return job(
        name,
        sys.executable,
        f"{place.attempt}/runner.py",
        cwd=place.tree,
        timeout=timeout,
        files={"runner.py": WAIT.encode(), "tests": tests.encode()},
        late=("tests",),
    )


def waiting(
    machine: SupervisedMachine, name: str = "ahead", *, seconds: float = 10.0, timeout: float = 60.0
) -> Running:
    """A runner that has been started ahead, and is there."""
    running = Running(machine, replace(lease(machine, name, timeout=timeout), waits=True))
    until(lambda: running.recorder.out == b"ready\n")
    return running


def pid_of(output: bytes) -> int:
    return int(output.split()[-1])


def test_a_job_takes_over_what_was_started_ahead(machine: SupervisedMachine) -> None:
    ahead = waiting(machine)
    [runner] = marked(machine.spec.workdir)
    recorder = Recorder()
    tests = "print(os.getpid()); sys.exit(3)"
    end = machine.run(replace(lease(machine, "one", tests), standby="ahead"), recorder)
    assert (end.ended, end.exit_code) == (Ended.EXITED, 3)
    assert pid_of(recorder.out) == runner
    assert recorder.out.startswith(b"ready\n")
    assert recorder.live_bytes == tests.encode() + b"\n"
    assert recorder.calls[0] == "started"
    assert ahead.end().ended is Ended.CANCELLED
    again = Recorder()
    assert machine.run(lease(machine, "one", tests), again) == end
    assert again.out == recorder.out
    into = Path(machine.spec.workdir).parent / "collected"
    machine.collect("one", into, 10)
    assert (into / "tests").read_text() == tests


def test_it_is_taken_over_by_one_job_only(machine: SupervisedMachine) -> None:
    ahead = waiting(machine)
    takers = [
        Running(machine, replace(lease(machine, name, f"print({name!r})"), standby="ahead")) for name in ("one", "two")
    ]
    assert [each.end().exit_code for each in takers] == [0, 0]
    assert [each.recorder.out.split()[-1] for each in takers] == [b"one", b"two"]
    assert ahead.end().ended is Ended.CANCELLED


@pytest.mark.parametrize("signalled", ["the runner", "its supervisors"])
def test_a_job_that_finds_its_standby_dead_starts_by_itself(machine: SupervisedMachine, signalled: str) -> None:
    ahead = waiting(machine)
    dead = marked(machine.spec.workdir) if signalled == "the runner" else supervising(machine.spec.workdir)
    for pid in dead:
        os.kill(pid, signal.SIGKILL)
    ahead.end()
    recorder = Recorder()
    end = machine.run(replace(lease(machine, "one", "print(os.getpid())"), standby="ahead"), recorder)
    assert (end.ended, end.exit_code) == (Ended.EXITED, 0)
    assert pid_of(recorder.out) not in dead


def test_a_standby_that_was_never_started_is_no_loss(machine: SupervisedMachine) -> None:
    recorder = Recorder()
    end = machine.run(replace(lease(machine, "one", "print(1)"), standby="ahead"), recorder)
    assert (end.ended, end.exit_code) == (Ended.EXITED, 0)


def test_one_that_begins_without_having_been_taken_over_is_nobodys(machine: SupervisedMachine) -> None:
    """A test knows where the files of a standby are."""
    ahead = waiting(machine)
    Path(machine.place("ahead").attempt, "begin").touch()
    recorder = Recorder()
    end = machine.run(replace(lease(machine, "one", "print('own')"), standby="ahead"), recorder)
    assert (end.ended, end.exit_code) == (Ended.EXITED, 0)
    assert recorder.out == b"ready\nown\n"
    ahead.end()


def test_it_ends_when_nobody_needs_it(machine: SupervisedMachine) -> None:
    ahead = waiting(machine)
    machine.kill("ahead")
    assert ahead.end().ended is Ended.CANCELLED
    recorder = Recorder()
    end = machine.run(replace(lease(machine, "one", "print(1)"), standby="ahead"), recorder)
    assert (end.ended, end.exit_code) == (Ended.EXITED, 0)


def test_the_time_limit_counts_from_the_lease(machine: SupervisedMachine) -> None:
    ahead = waiting(machine, timeout=1.0)
    threading.Event().wait(1.5)
    end = machine.run(replace(lease(machine, "one", "time.sleep(0.2)", timeout=1.0), standby="ahead"), Recorder())
    assert (end.ended, end.exit_code) == (Ended.EXITED, 0)
    assert ahead.end().ended is Ended.CANCELLED
    waiting(machine, "next", timeout=1.0)
    end = machine.run(replace(lease(machine, "two", "time.sleep(60)", timeout=1.0), standby="next"), Recorder())
    assert end.ended is Ended.TIMED_OUT


def test_a_lease_that_took_a_standby_over_is_killed_with_all_it_started(machine: SupervisedMachine) -> None:
    waiting(machine)
    running = Running(machine, replace(lease(machine, "one", STUBBORN), standby="ahead"))
    until(lambda: running.recorder.out.endswith(b"ready\nready\n"))
    assert len(marked(machine.spec.workdir)) >= 4
    machine.kill("one")
    assert running.end().ended is Ended.CANCELLED
    assert not marked(machine.spec.workdir)


def test_an_ended_supervisor_takes_the_job_with_it_that_had_taken_over(machine: SupervisedMachine) -> None:
    waiting(machine)
    running = Running(machine, replace(lease(machine, "one", STUBBORN), standby="ahead"))
    until(lambda: running.recorder.out.endswith(b"ready\nready\n"))
    for pid in supervising(machine.spec.workdir):
        os.kill(pid, signal.SIGKILL)
    assert running.end().ended is Ended.LOST
    assert not marked(machine.spec.workdir)
