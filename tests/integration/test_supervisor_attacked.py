"""Whatever becomes of its files, its supervisor or its limits: a job ends with its lease, and all of it."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ci_dispatch.core.model import Connection, Ended, MachineName, MachineSpec
from ci_dispatch.machines.local import LocalMachine
from ci_dispatch.run.ports import WorkTree
from tests.fleet.recorder import STUBBORN, Running, alive, job, marked, supervising, until

ROOT = Path(__file__).parents[2]
LEASE = 3.0


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[LocalMachine]:
    """At the end of the test nothing of it may be running: neither jobs nor what watches them."""
    (tmp_path / "tree").mkdir()
    spec = MachineSpec(name=MachineName("local"), connection=Connection.LOCAL, workdir=str(tmp_path / "work"))
    machine = LocalMachine(spec)
    machine.sync(WorkTree(root=tmp_path / "tree"), 5)
    yield machine
    left = marked(spec.workdir)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, "processes were left behind"
    until(lambda: not supervising(spec.workdir))


def stubborn(machine: LocalMachine, timeout: float = 60.0, lease: float = LEASE) -> Running:
    """A job that ends for nothing but KILL, with all it starts; it runs when this returns."""
    cwd = machine.place("a").tree
    work = job("a", sys.executable, "-c", STUBBORN, cwd=cwd, lease=lease, timeout=timeout, interrupt_grace=0.2)
    running = Running(machine, work)
    until(lambda: running.recorder.out == b"ready\n")
    until(lambda: len(marked(machine.spec.workdir)) >= 4)
    return running


def supervisor(machine: LocalMachine) -> int:
    return supervising(machine.spec.workdir)[-1]


# -- its files ---------------------------------------------------------------------------------------------------------


def remove(jobs: Path) -> None:
    shutil.rmtree(jobs)


def replace_by_a_file(jobs: Path) -> None:
    jobs.rename(jobs.with_name("away"))
    jobs.touch()


def remove_what_the_supervisor_reads(jobs: Path) -> None:
    for name in ("lease", "lock"):
        (jobs / "a" / name).unlink()


def remove_the_beat(jobs: Path) -> None:
    (jobs / "a" / "beat").unlink()


def replace_the_lease_by_a_loop(jobs: Path) -> None:
    (jobs / "a" / "lease").unlink()
    (jobs / "a" / "lease").symlink_to("lease")  # ELOOP, as good as EIO


@pytest.mark.parametrize(
    "attack",
    [remove, replace_by_a_file, remove_what_the_supervisor_reads, remove_the_beat, replace_the_lease_by_a_loop],
)
def test_a_job_whose_files_are_gone_ends(machine: LocalMachine, attack: Callable[[Path], None]) -> None:
    running = stubborn(machine)
    attack(Path(machine.spec.workdir) / "jobs")
    assert running.end().ended in (Ended.LOST, Ended.LEASE_ENDED)
    assert not marked(machine.spec.workdir), "it is called ended, and runs"


@pytest.mark.parametrize("attack", [remove, replace_by_a_file, remove_what_the_supervisor_reads])
def test_a_job_whose_files_are_gone_ends_without_a_controller_too(
    machine: LocalMachine, attack: Callable[[Path], None]
) -> None:
    with unfollowed(machine) as started:
        attack(Path(machine.spec.workdir) / "jobs")
        started.kill()
    until(lambda: not marked(machine.spec.workdir))
    until(lambda: not supervising(machine.spec.workdir))


class Nobody(LocalMachine):
    """This machine for another user, whom the modes of files stop."""

    def _open(self, command: str, seconds: float):  # type: ignore[no-untyped-def]
        words = command.replace("/bin/sh -c ", "exec setpriv --reuid=65534 --regid=65534 --clear-groups /bin/sh -c ", 1)
        return super()._open(words, seconds)


@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("setpriv"), reason="needs root and setpriv")
def test_a_job_whose_folder_may_not_be_looked_into_ends(tmp_path_factory: pytest.TempPathFactory) -> None:
    work = Path(subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip())
    try:
        os.chown(work, 65534, 65534)
        machine = Nobody(MachineSpec(name=MachineName("local"), connection=Connection.LOCAL, workdir=str(work)))
        machine.sync(WorkTree(root=work), 5)
        running = Running(machine, job("a", "/usr/bin/python3", "-c", STUBBORN, cwd=str(work), lease=LEASE))
        until(lambda: running.recorder.out == b"ready\n")
        (work / "jobs").chmod(0)
        assert running.end().ended in (Ended.LOST, Ended.LEASE_ENDED)
        assert not marked(work)
        until(lambda: not supervising(work))
    finally:
        shutil.rmtree(work)


FAILING = """
import json, sys
from ci_dispatch.machines.supervisor import folder, job, processes
work, method, error, spec = sys.argv[1:]
calls = 0
def fail(*args, **kwargs):
    global calls
    calls += 1
    if 3 < calls < 10:
        raise eval(error)
    return was(*args, **kwargs)
owner = processes if hasattr(processes, method) else folder.AttemptFolder
was = getattr(owner, method)
setattr(owner, method, fail)
print(job.start(work + "/jobs/a", json.loads(spec), 0o022))
"""


@pytest.mark.parametrize("error", ["OSError(5, 'Input/output error')", "MemoryError()", "KeyboardInterrupt()"])
@pytest.mark.parametrize("method", ["lease_renewals", "cancelled", "cancelled_now", "processes", "write_status"])
def test_whatever_the_supervisor_dies_of_all_of_its_job_ends(tmp_path: Path, method: str, error: str) -> None:
    spec = {
        "argv": [sys.executable, "-c", STUBBORN], "cwd": str(tmp_path), "env": {}, "files": {}, "interrupt_grace": 0.2,
        "terminate_grace": 0.2, "lease": LEASE, "timeout": 60, "tree": "", "state": "", "hidden": [],
        "live": "live",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", FAILING, str(tmp_path), method, error, json.dumps(spec)],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout == "\n", done.stdout
    until(lambda: (tmp_path / "jobs/a/out.log").read_bytes() == b"ready\n" or list(tmp_path.glob("jobs/a/status")))
    until(lambda: not marked(tmp_path))
    until(lambda: not supervising(tmp_path))
    if method not in ("write_status", "cancelled_now"):  # those are asked when the job is being ended
        status = json.loads((tmp_path / "jobs/a/status").read_text())
        assert status["ended"] == "lost"
        assert f"its supervisor failed: {error.partition('(')[0]}" in status["reason"]


# -- its limits --------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux can set the limits of another process")
def test_a_supervisor_that_can_open_no_file_still_ends_its_job(machine: LocalMachine) -> None:
    running = stubborn(machine)
    resource.prlimit(supervisor(machine), resource.RLIMIT_NOFILE, (0, 0))
    machine.cancel("a")
    assert running.end().ended in (Ended.CANCELLED, Ended.LOST)
    assert not marked(machine.spec.workdir)


# -- its supervisor ----------------------------------------------------------------------------------------------------

CONTROLLER = """
import json, sys
from pathlib import Path
from ci_dispatch.core.model import Connection, MachineSpec
from ci_dispatch.machines import open_machine
from ci_dispatch.run.ports import WorkTree
from tests.fleet.recorder import STUBBORN, Recorder, job
work, lease = Path(sys.argv[1]), float(sys.argv[2])
machine = open_machine(MachineSpec(name="local", connection=Connection.LOCAL, workdir=str(work)))
machine.sync(WorkTree(root=work.parent / "tree"), 20)
class Shouting(Recorder):
    def output(self, data):
        print(data.decode(), end="", flush=True)
work = job("a", sys.executable, "-c", STUBBORN, cwd=str(work.parent), lease=lease, interrupt_grace=0.2)
machine.run(work, Shouting())
"""


def unfollowed(machine: LocalMachine, lease: float = LEASE) -> subprocess.Popen[bytes]:
    """A controller of its own, with a job that runs; for killing it."""
    controller = subprocess.Popen(
        [sys.executable, "-c", CONTROLLER, machine.spec.workdir, str(lease)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert controller.stdout is not None
    assert controller.stdout.readline() == b"ready\n"
    until(lambda: len(marked(machine.spec.workdir)) >= 4)
    return controller


def test_a_supervisor_killed_where_nobody_streams_leaves_nothing_behind(machine: LocalMachine) -> None:
    """The connection is down, and the system kills the supervisor: nobody else was there to end the job."""
    with unfollowed(machine, lease=60.0) as controller:
        controller.kill()
        for pid in streaming(machine):
            os.kill(pid, signal.SIGKILL)
        os.kill(supervisor(machine), signal.SIGKILL)
    until(lambda: not marked(machine.spec.workdir))
    until(lambda: list(Path(machine.spec.workdir).glob("jobs/*/status")))
    status = json.loads((Path(machine.spec.workdir) / "jobs" / "a" / "status").read_text())
    assert status["ended"] == "lost"
    assert "its supervisor was killed" in status["reason"]


def streaming(machine: LocalMachine) -> list[int]:
    """The processes that bring a job's output to its controller."""
    held = supervising(machine.spec.workdir)
    return [pid for pid in named(machine.spec.workdir) if pid not in held]


def named(text: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                arguments = entry.joinpath("cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"run" in arguments and text.encode() in arguments:
                found.append(int(entry.name))
    return found


def test_a_frozen_supervisor_is_silent_and_its_job_ends(machine: LocalMachine) -> None:
    """An output that goes on is no sign of a supervisor."""
    script = "trap '' INT TERM; while :; do echo x; sleep 0.05; done"
    running = Running(machine, job("a", "/bin/sh", "-c", script, cwd=machine.place("a").tree, lease=LEASE))
    until(lambda: running.recorder.heartbeats >= 2)
    frozen = supervisor(machine)
    os.kill(frozen, signal.SIGSTOP)
    seen = running.recorder.heartbeats
    end = running.end()
    assert end.ended is Ended.LOST
    assert running.recorder.heartbeats <= seen + 1
    until(lambda: not marked(machine.spec.workdir))
    until(lambda: not alive(frozen))


def test_a_supervisor_frozen_where_nobody_streams_does_not_outlive_the_lease(machine: LocalMachine) -> None:
    with unfollowed(machine) as controller:
        os.kill(supervisor(machine), signal.SIGSTOP)
        controller.kill()
    until(lambda: not marked(machine.spec.workdir))
    until(lambda: not supervising(machine.spec.workdir))


def test_all_that_supervises_frozen_is_ended_by_whoever_attaches(machine: LocalMachine) -> None:
    """It notices after two thirds of the lease, and needs a second: the lease is one that leaves it the time."""
    running = stubborn(machine, lease=12.0)
    for pid in supervising(machine.spec.workdir):
        os.kill(pid, signal.SIGSTOP)
    assert running.end().ended is Ended.LOST
    assert not marked(machine.spec.workdir)


def test_a_frozen_process_that_streams_is_not_left_behind(machine: LocalMachine) -> None:
    """Its shell was ended, and it stayed, with whatever it held."""
    running = stubborn(machine)
    frozen = streaming(machine)
    assert frozen
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    running.end()
    until(lambda: not any(map(alive, frozen)))
    until(lambda: not marked(machine.spec.workdir))


def test_what_was_frozen_and_forgotten_is_ended_by_sweeps(machine: LocalMachine) -> None:
    with unfollowed(machine) as controller:
        for pid in supervising(machine.spec.workdir):
            os.kill(pid, signal.SIGSTOP)
        controller.kill()
    os.utime(Path(machine.spec.workdir) / "jobs" / "a" / "beat", (0, 0))
    first = machine.sweep(10)
    until(lambda: not supervising(machine.spec.workdir))
    assert first + machine.sweep(10) >= 4
    assert not marked(machine.spec.workdir)


def test_a_frozen_runner_is_ended_by_its_timeout(machine: LocalMachine) -> None:
    running = stubborn(machine, timeout=3.0)
    for pid in marked(machine.spec.workdir):
        os.kill(pid, signal.SIGSTOP)
    end = running.end()
    assert (end.ended, end.signal) == (Ended.TIMED_OUT, signal.SIGKILL)


def test_a_killed_or_frozen_watchdog_costs_nothing(machine: LocalMachine) -> None:
    script = "echo ready; sleep 1; echo done"
    for name, number in (("killed", signal.SIGKILL), ("frozen", signal.SIGSTOP)):
        running = Running(machine, job(name, "/bin/sh", "-c", script, cwd=machine.place(name).tree))
        until(lambda running=running: running.recorder.out == b"ready\n")  # type: ignore[misc]
        os.kill(supervising(machine.spec.workdir)[0], number)
        end = running.end()
        assert (end.ended, end.exit_code) == (Ended.EXITED, 0)
        until(lambda: not supervising(machine.spec.workdir))


def test_a_job_that_waits_for_its_tree_can_be_cancelled(machine: LocalMachine, tmp_path: Path) -> None:
    """Another run that changes the tree held it as long as it liked, whatever the lease and the timeout said."""
    (tmp_path / "held").mkdir()
    (tmp_path / "held.state").write_text("x\n")
    script = "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.flock(f, 2); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "held.lock")], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        machine._tree = type(machine._tree_there())(machine.spec.workdir, str(tmp_path / "held"), "x")
        running = Running(machine, job("a", "true", cwd=str(tmp_path)))
        until(lambda: running.recorder.heartbeats >= 2)
        machine.cancel("a")
        end = running.end()
        other.kill()
    assert (end.ended, end.exit_code) == (Ended.CANCELLED, None)
