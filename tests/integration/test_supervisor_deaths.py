"""Whoever dies, nothing keeps running unobserved: the controller, the supervisor, the process that streams."""

from __future__ import annotations

import fcntl
import io
import json
import os
import re
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_dispatch.core.model import Connection, Ended, MachineName, MachineSpec
from ci_dispatch.machines import command_lines
from ci_dispatch.machines.local import LocalMachine
from ci_dispatch.machines.supervised import SupervisedMachine
from ci_dispatch.run.ports import WorkTree
from tests.fleet.fixtures import Loopback
from tests.fleet.recorder import STUBBORN, Running, alive, job, marked, supervising, until
from tests.fleet.servers import descendants

ROOT = Path(__file__).parents[2]

CONTROLLER = """
import json, sys
from pathlib import Path
from ci_dispatch.core.model import Connection, MachineSpec
from ci_dispatch.machines import open_machine
from ci_dispatch.run.ports import WorkTree
from tests.fleet.recorder import STUBBORN, Recorder, job
given = json.loads(sys.argv[1])
machine = open_machine(MachineSpec(name=given["name"], connection=Connection(given["kind"]), workdir=given["work"]))
machine.sync(WorkTree(root=Path(given["tree"])), 20)
class Shouting(Recorder):
    def output(self, data):
        print(data.decode(), end="", flush=True)
work = job("victim", sys.executable, "-c", STUBBORN, cwd=given["tree"], lease=given["lease"], interrupt_grace=0.2)
machine.run(work, Shouting())
"""


@pytest.fixture(params=["local", pytest.param("ssh", marks=pytest.mark.needs("sshd"))])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[LocalMachine]:
    (tmp_path / "tree").mkdir()
    spec = MachineSpec(name=MachineName("local"), connection=Connection.LOCAL, workdir=str(tmp_path / "work"))
    machine = LocalMachine(spec)
    machine.sync(WorkTree(root=tmp_path / "tree"), 5)
    yield machine
    assert not marked(spec.workdir), "processes were left behind"


def kill_supervisor(machine: SupervisedMachine) -> None:
    """The supervisor of the only job, and its watchdog first, which would end the job."""
    watching = supervising(machine.spec.workdir)
    assert len(watching) == 2
    for pid in watching:
        os.kill(pid, signal.SIGKILL)
    until(lambda: not any(map(alive, watching)))


def test_when_the_controller_is_killed_its_jobs_end_with_their_lease(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    (tmp_path / "tree").mkdir()
    work = tmp_path / "work"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if kind == "ssh":
        loopback: Loopback = request.getfixturevalue("loopback")
        loopback.server()
        environment["CI_DISPATCH_SSH_CONFIG"] = str(loopback.config.path)
    given = {"name": "plain", "kind": kind, "work": str(work), "tree": str(tmp_path / "tree"), "lease": 2.0}
    with subprocess.Popen(
        [sys.executable, "-c", CONTROLLER, json.dumps(given)], stdout=subprocess.PIPE, env=environment
    ) as controller:
        assert controller.stdout is not None
        assert controller.stdout.readline() == b"ready\n"
        until(lambda: len(marked(work)) >= 4)
        controller.kill()
    until(lambda: list(work.glob("jobs/*/status")))
    assert not marked(work)
    status = json.loads(next(work.glob("jobs/*/status")).read_text())
    assert status["ended"] == "lease ended"
    until(lambda: not _processes_in(work))  # nor the supervisor, nor what streamed to the controller


def _processes_in(work: Path) -> list[str]:
    listing = subprocess.run(["ps", "-axo", "args="], capture_output=True, text=True, check=True).stdout
    return [line for line in listing.splitlines() if str(work) in line and "pytest" not in line]


def test_a_killed_supervisor_is_noticed_and_its_job_ended(machine: LocalMachine) -> None:
    place = machine.place("a")
    running = Running(machine, job("a", sys.executable, "-c", STUBBORN, cwd=place.tree))
    until(lambda: len(marked(machine.spec.workdir)) >= 4)
    kill_supervisor(machine)
    end = running.end()
    assert end.ended is Ended.LOST
    assert "supervisor was killed" in end.reason
    ended = re.search(r"ended (\d+) processes that it had left running: ", end.reason)
    assert ended
    assert int(ended[1]) >= 4


def test_a_later_run_sweeps_what_a_killed_supervisor_left(machine: LocalMachine) -> None:
    place = machine.place("a")
    running = Running(machine, job("a", sys.executable, "-c", STUBBORN, cwd=place.tree))
    until(lambda: running.recorder.out == b"ready\n")
    until(lambda: len(marked(machine.spec.workdir)) == 4)
    streams = streaming()
    for pid in streams:
        os.kill(pid, signal.SIGSTOP)  # it must not notice and clean up itself
    kill_supervisor(machine)
    left = marked(machine.spec.workdir)
    assert len(left) == 4
    other = LocalMachine(machine.spec)
    assert other.sweep(20) == len(left)
    assert other.sweep(20) == 0
    for pid in streams:
        os.kill(pid, signal.SIGCONT)
    assert running.end().ended is Ended.LOST


def streaming() -> list[int]:
    """Our processes that bring a job's output here."""
    found = [pid for pid in descendants(os.getpid()) if "run" in _arguments(pid)]
    assert found
    return found


def _arguments(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return []


def test_a_sweep_leaves_a_folder_alone_that_a_supervisor_is_about_to_lock(machine: LocalMachine) -> None:
    """Two controllers on one host: the sweep of one came between the folder of the other's job and its lock."""
    jobs = Path(machine.spec.workdir) / "jobs"
    young, old = jobs / ".new-young", jobs / ".new-old"
    for folder in (young, old):
        folder.mkdir(parents=True)
        (folder / "lock").touch()
    os.utime(old, (0, 0))
    with (young / "lock").open() as lock:
        assert machine.sweep(10) == 0
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert young.exists()
    assert not old.exists()


def test_two_controllers_that_start_together_let_each_other_live(machine: LocalMachine) -> None:
    others = [LocalMachine(machine.spec) for _ in range(4)]
    runs = []
    for number, other in enumerate(others):
        other.sync(WorkTree(root=Path(machine.spec.workdir).parent / "tree"), 5)
        work = job(f"job-{number}", sys.executable, "-c", "import time; time.sleep(0.3)", cwd=str(Path.cwd()))
        runs.append(Running(other, work))
        assert other.sweep(10) == 0
    assert [run.end(20).ended for run in runs] == [Ended.EXITED] * 4


def test_a_sweep_leaves_the_jobs_of_a_living_run_alone(machine: LocalMachine) -> None:
    running = Running(machine, job("mine", "/bin/sh", "-c", "echo ready; sleep 1", cwd=machine.place("mine").tree))
    until(lambda: running.recorder.out == b"ready\n")
    assert LocalMachine(machine.spec).sweep(20) == 0
    assert running.end().exit_code == 0


def test_a_job_outlives_the_process_that_streams_it(machine: LocalMachine) -> None:
    script = "echo ready; sleep 1.5; echo done"
    running = Running(machine, job("a", "/bin/sh", "-c", script, cwd=machine.place("a").tree))
    until(lambda: running.recorder.out == b"ready\n")
    for pid in streaming():
        os.kill(pid, signal.SIGKILL)
    assert running.end().exit_code == 0
    assert running.recorder.out == b"ready\ndone\n"


IGNORING = """
import json, sys
from pathlib import Path
from ci_dispatch.core.model import Connection, MachineSpec
from ci_dispatch.machines import open_machine
from ci_dispatch.run.ports import WorkTree
from tests.fleet.recorder import Recorder, job
work, argv = Path(sys.argv[1]), json.loads(sys.argv[2])
machine = open_machine(MachineSpec(name="local", connection=Connection.LOCAL, workdir=str(work)))
machine.sync(WorkTree(root=work.parent), 20)
class Cancelling(Recorder):
    def output(self, data):
        super().output(data)
        machine.cancel("a")
recorder = Cancelling()
end = machine.run(job("a", *argv, cwd=str(work.parent), interrupt_grace=10.0), recorder)
print(recorder.out.decode())
print(end.ended.value, end.exit_code)
"""
"""A controller that runs one job and cancels it as soon as it has written something."""

RUNNER = """
import signal, sys, time
def write_reports(number, frame):
    print("reports written")
    sys.exit(130)
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # as pytest and node: who ignores INT goes on to
    signal.signal(signal.SIGINT, write_reports)
python = {signal.SIGPIPE, getattr(signal, "SIGXFSZ", signal.SIGPIPE)}  # ignored by every Python, of its own accord
ignored = [n for n in signal.valid_signals() - python if signal.getsignal(n) is signal.SIG_IGN]
print("ignored:", *sorted(ignored), flush=True)
print("blocked:", *sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])), flush=True)
time.sleep(30)
"""


@pytest.mark.parametrize("signals", ["INT", "INT QUIT HUP TERM PIPE USR1 USR2 ALRM CHLD CONT TSTP TTIN TTOU WINCH"])
def test_a_job_of_a_controller_that_ignores_signals_has_their_defaults(tmp_path: Path, signals: str) -> None:
    """`ci-dispatch run &` in a script, nohup, cron: INT did nothing to what inherited it, and its reports were lost."""
    runner = json.dumps([sys.executable, "-c", RUNNER])
    controller = [sys.executable, "-c", IGNORING, str(tmp_path / "work"), runner]
    done = subprocess.run(
        [*("/bin/sh", "-c", f"trap '' {signals}; exec \"$@\"", "sh"), *controller],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.split("\n")[:-1] == ["ignored:", "blocked:", "reports written", "", "cancelled 130"]


def test_what_streams_a_job_ends_itself_although_alarms_were_ignored_and_blocked(tmp_path: Path) -> None:
    """Its alarm ends it when the controller is gone without a word: sshd does not."""
    supervisor = tmp_path / "supervisor.pyz"
    supervisor.write_bytes(command_lines.program().data)
    command = [sys.executable, "-I", "-S", str(supervisor), "n0", "collect", str(tmp_path / "work"), "a"]
    script = (
        "import os, signal, sys; signal.signal(signal.SIGALRM, signal.SIG_IGN);"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM]); os.execv(sys.argv[1], sys.argv[1:])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() + process.stdout.readline() == b"\n@ci-dispatch n0\n"
        status = Path(f"/proc/{process.pid}/status").read_text()
        masks = {name: int(value, 16) for name, value in _fields(status) if name in {"SigBlk", "SigIgn"}}
        process.kill()
    assert not (masks["SigBlk"] | masks["SigIgn"]) >> (signal.SIGALRM - 1) & 1


def _fields(status: str) -> list[tuple[str, str]]:
    return [(name, value.strip()) for name, _, value in (line.partition(":") for line in status.splitlines())]


def test_the_supervisor_is_cached_and_a_broken_copy_is_not_used(tmp_path: Path) -> None:
    spec = MachineSpec(name=MachineName("local"), connection=Connection.LOCAL, workdir=str(tmp_path / "work"))
    machine = LocalMachine(spec)
    cached = tmp_path / "work" / "bin" / f"{command_lines.program().digest}.pyz"
    assert machine.sweep(10) == 0
    written = cached.stat().st_mtime_ns
    assert machine.sweep(10) == 0
    assert cached.stat().st_mtime_ns == written
    cached.write_bytes(b"")  # what a crash may leave
    assert machine.sweep(10) == 0
    assert cached.read_bytes() == command_lines.program().data


def test_what_somebody_else_has_put_in_its_place_is_not_run(tmp_path: Path) -> None:
    machine = LocalMachine(
        MachineSpec(name=MachineName("local"), connection=Connection.LOCAL, workdir=str(tmp_path / "work"))
    )
    cached = tmp_path / "work" / "bin" / f"{command_lines.program().digest}.pyz"
    assert machine.sweep(10) == 0
    foreign = io.BytesIO(command_lines.program().data)
    with zipfile.ZipFile(foreign, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("__main__.py", f"open({str(tmp_path / 'run')!r}, 'w')\n")
    for planted in (foreign.getvalue(), b"x" * len(command_lines.program().data)):
        cached.write_bytes(planted)
        assert machine.sweep(10) == 0
        assert not (tmp_path / "run").exists()
        assert cached.read_bytes() == command_lines.program().data


def test_a_machine_without_python_says_so(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for tool in ("sh", "mkdir", "head", "wc", "mv"):
        (tmp_path / "bin" / tool).symlink_to(f"/bin/{tool}")
    command = command_lines.supervisor("n0", "sweep", root=str(tmp_path / "work"))
    command = command.replace(":/usr/local/bin:/opt/homebrew/bin:/usr/bin:/bin", "")
    text = subprocess.run(
        ["/bin/sh", "-c", command], env={"PATH": str(tmp_path / "bin")}, capture_output=True, text=True, check=False
    )
    assert text.stdout.split() == ["@ci-dispatch", "n0", "no-python"]
