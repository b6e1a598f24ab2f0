"""What every machine promises (ci_dispatch/run/ports.py), asked of each kind there is."""

from __future__ import annotations

import contextlib
import hashlib
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ci_dispatch.core.job_environment import JobEnvironment
from ci_dispatch.core.masking import SecretMask
from ci_dispatch.core.model import Ended
from ci_dispatch.machines.supervised import SupervisedMachine
from ci_dispatch.run.ports import MachineError, WorkTree
from tests.fleet.recorder import STUBBORN, Recorder, Running, alive, job, marked, until

KINDS = ["local_machine", pytest.param("ssh_machine", marks=pytest.mark.needs("sshd"))]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "hello.txt").write_text("hello")
    return folder


@pytest.fixture(params=KINDS)
def machine(request: pytest.FixtureRequest, tree: Path) -> Iterator[SupervisedMachine]:
    """Synced, and at the end of the test nothing of it may be running."""
    machine: SupervisedMachine = request.getfixturevalue(request.param)
    machine.sync(WorkTree(root=tree), 20)
    yield machine
    left = marked(machine.spec.workdir)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, "processes were left behind"


@pytest.fixture
def cwd(machine: SupervisedMachine) -> str:
    return machine.place("any").tree


def test_a_job_runs_in_the_tree_with_its_environment_and_files(machine: SupervisedMachine, cwd: str) -> None:
    place, recorder = machine.place("one"), Recorder()
    script = 'cat sub/hello.txt; echo " $WORD"; cat "$ATTEMPT/given/file"; exit 3'
    env = {"WORD": "a b'c\"$", "ATTEMPT": place.attempt}
    end = machine.run(
        job("one", "/bin/sh", "-c", script, cwd=cwd, env=env, files={"given/file": b"\x00\xff"}), recorder
    )
    assert (end.ended, end.exit_code, end.signal, end.reason) == (Ended.EXITED, 3, None, "")
    assert recorder.out == b"hello a b'c\"$\n\x00\xff"
    assert recorder.calls[0] == "started"
    assert recorder.calls.count("started") == 1


def test_output_of_any_size_and_bytes_arrives_once_and_in_order(machine: SupervisedMachine, cwd: str) -> None:
    write = "import os,hashlib;d=os.urandom(1)*7+os.urandom(3_000_000);os.write(2,b'')\n"
    write += (
        "import sys;sys.stdout.buffer.write(d);open(os.environ['A']+'/sum','w').write(hashlib.sha256(d).hexdigest())"
    )
    recorder = Recorder()
    machine.run(job("big", sys.executable, "-c", write, cwd=cwd, env={"A": machine.place("big").attempt}), recorder)
    written = Path(machine.place("big").attempt, "sum").read_text()
    assert hashlib.sha256(recorder.out).hexdigest() == written


def test_the_live_file_arrives_while_the_job_runs(machine: SupervisedMachine, cwd: str) -> None:
    script = 'echo one >> "$A/live.jsonl"; while [ ! -e "$A/go" ]; do sleep 0.05; done; echo two >> "$A/live.jsonl"'
    attempt = machine.place("live").attempt
    running = Running(machine, job("live", "/bin/sh", "-c", script, cwd=cwd, env={"A": attempt}))
    until(lambda: running.recorder.live_bytes == b"one\n")
    assert not running.over
    Path(attempt, "go").touch()
    assert running.end().exit_code == 0
    assert running.recorder.live_bytes == b"one\ntwo\n"


def test_a_job_that_exists_is_attached_to_and_not_begun_again(machine: SupervisedMachine, cwd: str) -> None:
    counting = job("twice", "/bin/sh", "-c", "echo run >> count; echo abcdef; cat count", cwd=cwd)
    first, second, rest = Recorder(), Recorder(), Recorder()
    end = machine.run(counting, first)
    assert machine.run(counting, second) == end
    assert first.out == second.out == b"abcdef\nrun\n"
    machine.run(job("twice", "unused", cwd=cwd, output_offset=4), rest)
    assert rest.out == b"ef\nrun\n"


def test_two_followers_of_one_job_both_see_its_end(machine: SupervisedMachine, cwd: str) -> None:
    same = job("shared", "/bin/sh", "-c", "echo begin; sleep 1; echo end", cwd=cwd)
    runs = [Running(machine, same), Running(machine, same)]
    assert [run.end().exit_code for run in runs] == [0, 0]
    assert [run.recorder.out for run in runs] == [b"begin\nend\n"] * 2


def test_a_listener_slower_than_the_output_does_not_end_the_lease(machine: SupervisedMachine, cwd: str) -> None:
    class Slow(Recorder):
        def output(self, data: bytes) -> None:
            time.sleep(0.02)
            super().output(data)

    write = "import sys,time; sys.stdout.buffer.write(b'x' * 12_000_000); sys.stdout.flush(); time.sleep(2)"
    recorder = Slow()
    end = machine.run(job("flood", sys.executable, "-c", write, cwd=cwd, lease=2.0), recorder)
    assert (end.ended, end.exit_code, len(recorder.out)) == (Ended.EXITED, 0, 12_000_000)


def test_a_job_killed_by_a_signal_says_so(machine: SupervisedMachine, cwd: str) -> None:
    end = machine.run(job("signal", "/bin/sh", "-c", "kill -SEGV $$", cwd=cwd), Recorder())
    assert (end.ended, end.exit_code, end.signal) == (Ended.EXITED, None, signal.SIGSEGV)


def test_a_program_that_does_not_exist_is_named(machine: SupervisedMachine, cwd: str) -> None:
    end = machine.run(job("none", "no-such-program", cwd=cwd), Recorder())
    assert end.ended is Ended.NOT_STARTED
    assert "no-such-program was not found" in end.reason


def test_a_folder_that_does_not_exist_is_named(machine: SupervisedMachine, cwd: str) -> None:
    end = machine.run(job("nowhere", "true", cwd=cwd + "/nowhere"), Recorder())
    assert end.ended is Ended.NOT_STARTED
    assert f"{cwd}/nowhere does not exist" in end.reason


def test_a_folder_that_others_can_write_is_refused_in_words(machine: SupervisedMachine) -> None:
    Path(machine.spec.workdir).mkdir(exist_ok=True)
    Path(machine.spec.workdir).chmod(0o777)
    with pytest.raises(MachineError, match="nothing is run from") as refused:
        machine.sweep(10)
    assert "everybody may write in" in refused.value.why
    assert f"chmod go-w {machine.spec.workdir}" in refused.value.hint
    report = machine.examine(10)
    assert f"Folder: everybody may write in {machine.spec.workdir}" in report.problems
    assert not report.healthy
    Path(machine.spec.workdir).chmod(0o700)
    assert machine.sweep(10) == 0
    assert not [problem for problem in machine.examine(10).problems if "Folder" in problem]


def test_a_job_has_the_umask_of_its_login_and_our_files_are_ours(machine: SupervisedMachine, cwd: str) -> None:
    place, recorder, umask = machine.place("umask"), Recorder(), os.umask(0o022)
    os.umask(umask)
    machine.run(job("umask", "/bin/sh", "-c", "umask; touch made", cwd=cwd), recorder)
    assert recorder.out == b"%04o\n" % umask
    assert Path(cwd, "made").stat().st_mode & 0o777 == 0o666 & ~umask
    ours = [Path(machine.spec.workdir), *Path(place.attempt).parent.rglob("*")]
    assert {path.name: path.stat().st_mode & 0o077 for path in ours if path.exists()} == {
        p.name: 0 for p in ours if p.exists()
    }


def test_cancel_lets_the_runner_write_its_reports(machine: SupervisedMachine, cwd: str) -> None:
    script = "trap 'echo written > \"$A/report\"; exit 130' INT; echo ready; while :; do sleep 0.05; done"
    attempt = machine.place("gentle").attempt
    running = Running(machine, job("gentle", "/bin/sh", "-c", script, cwd=cwd, env={"A": attempt}))
    until(lambda: running.recorder.out == b"ready\n")
    machine.cancel("gentle")
    end = running.end()
    assert (end.ended, end.exit_code) == (Ended.CANCELLED, 130)
    assert Path(attempt, "report").read_text() == "written\n"


def test_an_end_tells_how_much_of_the_live_file_is_older_than_the_interruption(
    machine: SupervisedMachine, cwd: str
) -> None:
    script = """exec 3>> "$A/live.jsonl"; trap 'echo disturbed >&3; exit 130' INT; printf 'one\\ntwo\\n' >&3; echo ready
while :; do sleep 0.05; done"""
    running = Running(
        machine, job("counted", "/bin/sh", "-c", script, cwd=cwd, env={"A": machine.place("counted").attempt})
    )
    until(lambda: running.recorder.out == b"ready\n")
    machine.cancel("counted")
    end = running.end()
    assert (end.ended, end.live_lines, end.undisturbed_lines) == (Ended.CANCELLED, 2, 2)
    assert running.recorder.live_bytes == b"one\ntwo\ndisturbed\n"


def test_cancel_ends_what_ignores_every_signal(machine: SupervisedMachine, cwd: str) -> None:
    running = Running(machine, job("stubborn", sys.executable, "-c", STUBBORN, cwd=cwd, interrupt_grace=0.3))
    until(lambda: running.recorder.out == b"ready\n")
    until(lambda: len(marked(machine.spec.workdir)) >= 4)
    machine.cancel("stubborn")
    end = running.end()
    assert (end.ended, end.signal) == (Ended.CANCELLED, signal.SIGKILL)


def test_kill_does_not_wait_for_reports(machine: SupervisedMachine, cwd: str) -> None:
    slow = job("now", sys.executable, "-c", STUBBORN, cwd=cwd, interrupt_grace=500.0, terminate_grace=500.0)
    running = Running(machine, slow)
    until(lambda: running.recorder.out == b"ready\n")
    machine.cancel("now")  # begins the long wait, which kill cuts short
    machine.kill("now")
    assert running.end().ended is Ended.CANCELLED


def test_a_job_cancelled_before_it_began_never_begins(machine: SupervisedMachine, cwd: str) -> None:
    machine.cancel("early")
    assert machine.run(job("early", "touch", "began", cwd=cwd), Recorder()).ended is Ended.CANCELLED
    assert not Path(cwd, "began").exists()


def test_the_timeout_ends_all_of_a_job(machine: SupervisedMachine, cwd: str) -> None:
    endless = job("endless", sys.executable, "-c", STUBBORN, cwd=cwd, timeout=0.5, interrupt_grace=0.2)
    assert machine.run(endless, Recorder()).ended is Ended.TIMED_OUT


def test_what_a_job_leaves_running_is_ended_and_counted(machine: SupervisedMachine, cwd: str) -> None:
    end = machine.run(job("daemon", "/bin/sh", "-c", "setsid sleep 300 & sleep 0.3; exit 0", cwd=cwd), Recorder())
    assert (end.exit_code, end.reason) == (0, "ended 1 process that the job had left running: sleep")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has subreapers")
def test_not_even_a_daemon_without_the_environment_escapes(machine: SupervisedMachine, cwd: str) -> None:
    Path(cwd, "spawn").write_text("sleep 300 &\necho $! > daemon\n")
    # not before it is what it will be: between its fork and its exec it is called like its shell
    script = 'env -i setsid /bin/sh spawn; until ps -o comm= -p "$(cat daemon)" | grep -q sleep; do sleep 0.05; done'
    end = machine.run(job("escape", "/bin/sh", "-c", script, cwd=cwd), Recorder())
    assert (end.exit_code, end.reason) == (0, "ended 1 process that the job had left running: sleep")
    assert not alive(int(Path(cwd, "daemon").read_text()))


def test_temporary_files_go_and_reports_come(machine: SupervisedMachine, cwd: str, tmp_path: Path) -> None:
    script = (
        'mkdir "$A/reports"; echo x > "$A/reports/junit.xml"; ln -s /etc "$A/e"; echo y > "$TMPDIR/y"; echo "$TMPDIR"'
    )
    recorder = Recorder()
    machine.run(job("files", "/bin/sh", "-c", script, cwd=cwd, env={"A": machine.place("files").attempt}), recorder)
    assert not Path(recorder.out.decode().strip()).exists()
    machine.collect("files", tmp_path / "back", 10)
    found = {str(path.relative_to(tmp_path / "back")) for path in (tmp_path / "back").rglob("*") if path.is_file()}
    assert found == {"reports/junit.xml"}


@pytest.fixture
def too_large(
    machine: SupervisedMachine, cwd: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], MachineError]:
    """What collecting raises for a script that leaves more than 2000 bytes in `$A`; tmp_path / "back" has what came."""
    monkeypatch.setattr("ci_dispatch.machines.supervised.MAX_BYTES", 2000)

    def collected(script: str) -> MachineError:
        machine.run(job("big", "/bin/sh", "-c", script, cwd=cwd, env={"A": machine.place("big").attempt}), Recorder())
        with pytest.raises(MachineError, match="not fetched") as refused:
            machine.collect("big", tmp_path / "back", 10)
        return refused.value

    return collected


def test_files_that_are_too_many_to_fetch_are_named_and_the_others_come(
    too_large: Callable[[str], MachineError], tmp_path: Path
) -> None:
    error = too_large('echo x > "$A/report.xml"; head -c 3000 /dev/zero > "$A/video.webm"')
    assert "video.webm" in error.why
    assert "more" not in error.why
    assert [path.name for path in (tmp_path / "back").iterdir()] == ["report.xml"]


def test_a_long_list_of_files_that_were_not_fetched_says_how_many_more(
    too_large: Callable[[str], MachineError],
) -> None:
    error = too_large('for n in 1 2 3 4 5 6 7; do head -c 3000 /dev/zero > "$A/video$n.webm"; done')
    assert "7 of the attempt's files were not fetched" in str(error)
    assert error.why.endswith("and 2 more")


def test_collecting_an_unknown_job_is_an_error_in_words(machine: SupervisedMachine, tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="does not know this job"):
        machine.collect("never", tmp_path, 10)


def test_a_clean_machine_has_nothing_to_sweep(machine: SupervisedMachine) -> None:
    assert machine.sweep(10) == 0


def test_jobs_with_odd_ids_have_folders_of_their_own(machine: SupervisedMachine, cwd: str) -> None:
    odd = ["../escape", "a b", "a/b", ".", "ä€"]
    attempts = {machine.place(name).attempt for name in odd}
    assert len(attempts) == len(odd)
    for name in odd:
        recorder = Recorder()
        machine.run(job(name, "printf", "%s", "done", cwd=cwd), recorder)
        assert recorder.out == b"done"
        assert Path(machine.place(name).attempt).parent == Path(machine.spec.workdir, "jobs")


def test_many_jobs_at_a_time(machine: SupervisedMachine, cwd: str) -> None:
    # ten interpreters start at once: on a loaded computer that takes longer than the lease of the other tests
    argv = ("/bin/sh", "-c")
    runs = [Running(machine, job(f"many-{n}", *argv, f"sleep 0.3; echo {n}", cwd=cwd, lease=60.0)) for n in range(10)]
    assert [run.end(60).exit_code for run in runs] == [0] * 10
    assert [run.recorder.out for run in runs] == [f"{n}\n".encode() for n in range(10)]


def test_a_controller_with_more_than_1024_open_files_goes_on(machine: SupervisedMachine, cwd: str) -> None:
    """select() knows no more than 1024 descriptors: beyond them every job was lost, and every check raised."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2000:
        pytest.skip("needs a limit of 2000 open files: ulimit -Hn 2000")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2000), hard))
    with contextlib.ExitStack() as held:
        for _ in range(1100):
            held.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        assert machine.examine(10).reachable
        recorder = Recorder()
        assert machine.run(job("many-files", "echo", "done", cwd=cwd), recorder).exit_code == 0
        assert recorder.out == b"done\n"
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_no_thread_outlives_the_machine(machine: SupervisedMachine, cwd: str) -> None:
    before = set(threading.enumerate())
    machine.run(job("threads", "true", cwd=cwd), Recorder())
    machine.close()
    until(lambda: before.issuperset(threading.enumerate()))


def test_a_tree_is_the_same_until_its_content_is_made_anew(machine: SupervisedMachine, tree: Path) -> None:
    assert machine.sync(WorkTree(root=tree), 20) == machine.sync(WorkTree(root=tree), 20)


def test_a_tree_that_was_released_is_there_again_when_it_is_asked_for(machine: SupervisedMachine, tree: Path) -> None:
    machine.release(5)
    machine.sync(WorkTree(root=tree), 20)
    recorder = Recorder()
    machine.run(job("again", "cat", "sub/hello.txt", cwd=machine.place("again").tree), recorder)
    assert recorder.out == b"hello"


HUSH = "hush-5f2a/9&x"
PRINTS = (
    'for c in hush -5f2a/ "9&" x; do printf %s "$c"; sleep 0.1; done; echo "$KEY"; '
    'printf "|$KEY|" >> "$A/live.jsonl"; echo "$KEY" > "$A/junit.xml"'
)


@pytest.fixture
def with_secret(machine: SupervisedMachine) -> SupervisedMachine:
    """The same machine with a secret for its jobs."""
    machine.environment = JobEnvironment(secrets={"KEY": HUSH, "KEYS": f"{HUSH}\nsecond-line"})
    machine.mask = SecretMask(machine.environment.secrets.values())
    return machine


def test_a_secret_reaches_the_job_and_comes_back_masked(
    with_secret: SupervisedMachine, cwd: str, tmp_path: Path
) -> None:
    machine, recorder = with_secret, Recorder()
    env = {"A": machine.place("secret").attempt}
    end = machine.run(job("secret", "/bin/sh", "-c", f'{PRINTS}; echo "$KEYS"', cwd=cwd, env=env), recorder)
    assert end.exit_code == 0
    assert recorder.out == b"******\n***\n***\n"
    assert recorder.live_bytes == b"|***|"
    machine.collect("secret", tmp_path / "back", 10)
    assert (tmp_path / "back" / "junit.xml").read_text() == "***\n"
    assert (tmp_path / "back" / "live.jsonl").read_text() == "|***|"


def test_a_secret_is_in_no_argument_and_no_file_of_the_machine(with_secret: SupervisedMachine, cwd: str) -> None:
    machine = with_secret
    running = Running(machine, job("kept", "/bin/sh", "-c", "echo ready; sleep 1", cwd=cwd))
    until(lambda: running.recorder.out == b"ready\n")
    for arguments in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            assert HUSH.encode() not in arguments.read_bytes()
    assert running.end().exit_code == 0
    files = [path for path in Path(machine.spec.workdir).rglob("*") if path.is_file()]
    assert files
    assert [path for path in files if HUSH.encode() in path.read_bytes()] == []


def test_a_masked_stream_goes_on_where_an_earlier_controller_stopped(with_secret: SupervisedMachine, cwd: str) -> None:
    """Its offset counts masked bytes, the machine's its own."""
    machine, whole = with_secret, Recorder()
    script, env = 'echo "a $KEY b $KEY c"; echo "$KEY" > "$A/live.jsonl"', {"A": machine.place("again").attempt}
    asked = job("again", "/bin/sh", "-c", script, cwd=cwd, env=env)
    machine.run(asked, whole)
    assert (whole.out, whole.live_bytes) == (b"a *** b *** c\n", b"***\n")
    for offset in range(len(whole.out) + 1):
        rest = Recorder()
        machine.run(replace(asked, output_offset=offset, live_offset=2), rest)
        assert (whole.out[:offset] + rest.out, rest.live_bytes) == (whole.out, b"*\n")
