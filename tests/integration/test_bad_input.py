"""Runs that cannot go as they were asked to: what is refused, what ends incomplete, what a person is told to do.

Whole runs through the command line; the configuration's own mistakes are in test_cli_bad_input.py.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_dispatch.core.errors import ExitCode
from ci_dispatch.machines.ssh.machine import CONFIG_VARIABLE
from tests.fleet.fixtures import Loopback
from tests.fleet.servers import SshConfig
from tests.integration.whole_run import (
    IMPATIENT,
    SLEEPER,
    Whole,
    ci_dispatch,
    end_all,
    journal_says,
    left_running,
    repository,
    sleepers,
    start,
    wait_for,
    whole,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
CHECKED = IMPATIENT.replace("skip = true", 'connect_timeout = "5s"\nmax_load_per_core = 1000')
STUBBORN = """
import signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
time.sleep(600)
"""


def refused(ended: Whole, *said: str) -> None:
    """One clear message, and nothing began."""
    assert ended.code == ExitCode.USAGE, ended
    assert ended.err.startswith("error: ")
    assert "try: " in ended.err
    assert ended.run == {}
    for words in said:
        assert words in ended.err


def incomplete(ended: Whole, *said: str) -> None:
    """No test has a verdict, and every one says why."""
    assert (ended.code, ended.run["verdict"]) == (ExitCode.INCOMPLETE, "INCOMPLETE"), ended
    assert set(ended.verdicts().values()) == {"not run"}
    for words in said:
        assert all(words in test["reason"] for test in ended.run["tests"]), ended.reasons
        assert words in ended.out, "and the person who waits sees it"


# -- the suite -------------------------------------------------------------------------------------------------------


def test_a_machine_that_is_not_in_the_fleet(tmp_path: Path) -> None:
    root = sleepers(tmp_path, 2, machines='[[machine]]\nname = "moruk"\n')
    refused_machine = ci_dispatch("run", "--machine", "moruc", cwd=root)
    assert refused_machine.code == ExitCode.USAGE
    assert "no such machine" in refused_machine.err
    assert "moruk" in refused_machine.err


def test_a_workdir_that_does_not_exist(tmp_path: Path) -> None:
    root = repository(tmp_path, 'runner = "pytest"\nworkdir = "e2e"')
    refused(ci_dispatch("run", cwd=root), "e2e does not exist", "`workdir`")


def test_no_suite_at_all(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    refused(ci_dispatch("run", cwd=tmp_path), "No suite was found", "ci-dispatch init")


@pytest.mark.needs("node")
def test_a_playwright_that_is_not_installed(tmp_path: Path) -> None:
    root = repository(tmp_path, 'runner = "playwright"', **{"playwright.config.ts": "export default {};"})
    refused(ci_dispatch("run", cwd=root), "npm ci")


def test_a_pytest_that_is_not_installed(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / ".venv"], check=True)
    named = f'env = {{ CI_DISPATCH_PYTHON = "{tmp_path}/.venv/bin/python" }}'
    root = repository(tmp_path, f'runner = "pytest"\n{named}', **{"test_it.py": "def test_it(): pass\n"})
    refused(ci_dispatch("run", cwd=root), "pytest is not installed for", "CI_DISPATCH_PYTHON")


def test_a_list_command_that_is_not_installed(tmp_path: Path) -> None:
    root = repository(tmp_path, 'runner = "command"\nlist = "no-such-runner"\ncommand = "x {tests} {junit}"')
    refused(ci_dispatch("run", cwd=root), "no-such-runner cannot be started", "install no-such-runner")


def test_a_list_command_that_fails(tmp_path: Path) -> None:
    suite = 'runner = "command"\nlist = "sh -c \'echo no database >&2; exit 3\'"\ncommand = "x {tests} {junit}"'
    refused(ci_dispatch("run", cwd=repository(tmp_path, suite)), "exited 3", "no database", "run it by hand")


@pytest.mark.parametrize("checked", [True, False])
def test_a_runner_that_the_machine_has_not(tmp_path: Path, checked: bool) -> None:
    """Found by the health check; without one by the attempt."""
    suite = 'runner = "command"\nlist = "echo one"\ncommand = "no-such-runner {tests} {junit}"'
    root = repository(tmp_path, suite, rest=CHECKED if checked else IMPATIENT)
    incomplete(ci_dispatch("run", cwd=root), "no healthy machine", "no-such-runner")


# -- machines --------------------------------------------------------------------------------------------------------


@pytest.fixture
def ssh_config(tmp_path: Path) -> SshConfig:
    return SshConfig(tmp_path / "client")


def over_ssh(tmp_path: Path, config: SshConfig) -> Whole:
    far = f'[[machine]]\nname = "far"\nworkdir = "{tmp_path}/far"\n'
    root = sleepers(tmp_path / "tree", 2, rest=CHECKED, machines=far)
    return ci_dispatch("run", cwd=root, environ={CONFIG_VARIABLE: str(config.path)})


@pytest.mark.needs("sshd")
def test_a_key_that_nobody_knows(tmp_path: Path, loopback: Loopback, ssh_config: SshConfig) -> None:
    ssh_config.add("far", loopback.server().port, key=loopback.keys.stranger, known=loopback.keys.host)
    incomplete(over_ssh(tmp_path, ssh_config), "no healthy machine", "far: ", "authentication")


@pytest.mark.needs("sshd")
def test_no_key_at_all(tmp_path: Path, loopback: Loopback, ssh_config: SshConfig) -> None:
    ssh_config.add("far", loopback.server().port, key=tmp_path / "no-such-key", known=loopback.keys.host)
    incomplete(over_ssh(tmp_path, ssh_config), "no healthy machine", "far: ", "authentication")


@pytest.mark.needs("sshd")
@pytest.mark.parametrize(("known", "command"), [("none", "ssh-keyscan"), ("another", "ssh-keygen -f")])
def test_a_host_key_that_is_not_trusted(
    tmp_path: Path, loopback: Loopback, ssh_config: SshConfig, known: str, command: str
) -> None:
    """Refused, with the exact command that would trust it."""
    trusted = loopback.keys.other_host if known == "another" else None
    ssh_config.add("far", loopback.server().port, key=loopback.keys.user, known=trusted)
    incomplete(over_ssh(tmp_path, ssh_config), "no healthy machine", "far: ", "host key", command)


@pytest.mark.needs("sshd")
def test_a_machine_too_busy_to_begin_within_the_time_of_a_connection_is_not_lost(
    loopback: Loopback, tmp_path: Path
) -> None:
    """Before its first job a machine gets the supervisor and starts Python: that is no connecting."""
    busy = 'ForceCommand case "$SSH_ORIGINAL_COMMAND" in *" sweep "*) sleep 5;; esac; eval "$SSH_ORIGINAL_COMMAND"'
    loopback.server("busy", busy)
    machine = f'[[machine]]\nname = "busy"\ncores = 1\nworkdir = "{tmp_path}/work"\n'
    root = sleepers(
        tmp_path / "root", 2, rest=CHECKED.replace('connect_timeout = "5s"', 'connect_timeout = "4s"'), machines=machine
    )
    ended = ci_dispatch("run", cwd=root, environ={CONFIG_VARIABLE: str(loopback.config.path)})
    assert (ended.code, set(ended.verdicts().values())) == (ExitCode.PASSED, {"passed"}), ended
    assert not journal_says(root, '"MachineLost"')
    assert not journal_says(root, '"RetryScheduled"')


# -- the disk --------------------------------------------------------------------------------------------------------


def limited(blocks: int) -> tuple[str, ...]:
    """No file may grow beyond this many blocks of 512 bytes: to a program that is a disk that is full."""
    return ("/bin/sh", "-c", f'ulimit -f {blocks}; exec "$0" "$@"')


def test_a_disk_that_fills_up_ends_the_run_and_resume_goes_on(tmp_path: Path) -> None:
    root = sleepers(tmp_path, 40)
    ended = ci_dispatch("run", cwd=root, prefix=limited(16))
    assert ended.code == ExitCode.INCOMPLETE, ended
    assert "The run was ended because its journal could not be written" in ended.err
    assert "`ci-dispatch resume`" in ended.err
    assert left_running(tmp_path) == []

    resumed = ci_dispatch("resume", cwd=root)
    assert (resumed.code, resumed.run["counts"]["passed"]) == (0, 40), resumed


@pytest.mark.needs("namespaces")
def test_a_disk_that_was_full_before_the_run(tmp_path: Path) -> None:
    root = sleepers(tmp_path, 2)
    (root / ".ci-dispatch").mkdir()
    fill = "mount -t tmpfs -o size=8k none .ci-dispatch; dd if=/dev/zero of=.ci-dispatch/fill bs=4k count=2 2>/dev/null"
    ended = ci_dispatch("run", cwd=root, prefix=("unshare", "--mount", "/bin/sh", "-c", f'{fill}; exec "$0" "$@"'))
    assert ended.code == ExitCode.INCOMPLETE, ended
    assert "No space left on device" in ended.err
    assert "free space" in ended.err


# -- interrupts ------------------------------------------------------------------------------------------------------


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[str]]]:
    """What a test starts; ended when the test has."""
    started: list[subprocess.Popen[str]] = []
    yield started
    end_all(started)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_once_what_has_run_counts(
    tmp_path: Path, processes: list[subprocess.Popen[str]], number: int, code: int
) -> None:
    root = sleepers(tmp_path, 10, nap=0.5)
    process = start("run", cwd=root)
    processes.append(process)
    wait_for(root, '"TestFinished"', process=process)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    ended = whole(process.returncode, out, err, root)
    assert (ended.code, ended.run["verdict"]) == (code, "INTERRUPTED"), ended
    assert ended.run["exit_code"] == code
    counts = ended.run["counts"]
    assert counts["passed"] >= 1
    assert counts["not run"] >= 1
    assert counts["passed"] + counts["not run"] == 10
    assert left_running(tmp_path) == []
    again = ci_dispatch("resume", cwd=root)
    assert again.code == code, "an interrupted run is over: resume says how it ended"


def test_interrupted_twice_nobody_is_waited_for(tmp_path: Path, processes: list[subprocess.Popen[str]]) -> None:
    """The runner ignores every polite request."""
    root = sleepers(tmp_path, 2)
    (root / "runner.py").write_text(STUBBORN)
    process = start("run", cwd=root)
    processes.append(process)
    wait_for(root, '"AttemptStarted"', process=process)
    process.send_signal(signal.SIGINT)
    wait_for(root, '"Interrupted"', process=process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=15)  # once, it would have had 20 s to write its reports
    ended = whole(process.returncode, out, err, root)
    assert (ended.code, ended.run["counts"]["not run"]) == (130, 2), ended
    assert left_running(tmp_path) == []


# -- resume ----------------------------------------------------------------------------------------------------------


def test_resume_without_any_run(tmp_path: Path) -> None:
    refused(ci_dispatch("resume", cwd=sleepers(tmp_path, 2)), "There is no run yet", "`ci-dispatch run`")


def test_resume_of_a_finished_run_says_how_it_ended(tmp_path: Path) -> None:
    root = sleepers(tmp_path, 2)
    first = ci_dispatch("run", cwd=root)
    again = ci_dispatch("resume", cwd=root)
    assert (first.code, again.code) == (0, 0), again
    assert again.run == first.run, "nothing ran again"
    assert "had finished already" in again.err
    assert "PASSED" in again.out


def test_results_that_a_controller_could_not_write_any_more_are_written_by_resume(tmp_path: Path) -> None:
    """Killed after its last event, or on a full disk: the journal has the verdict and the files are missing or old."""
    root = sleepers(tmp_path, 2)
    ci_dispatch("run", cwd=root)
    [folder] = (root / ".ci-dispatch" / "runs").iterdir()
    names = ("merged.xml", "summary.md", "report.html", "run.json", "metrics.prom")
    written = {name: (folder / name).read_bytes() for name in names}
    for name in names:
        (folder / name).unlink()
    (folder / "tree").mkdir()
    assert ci_dispatch("resume", cwd=root).code == 0
    assert {name: (folder / name).read_bytes() for name in names} == written
    assert not (folder / "tree").exists(), "nobody needs it any more"
    (folder / "run.json").write_text("old")
    os.utime(folder / "run.json", (1, 1))
    assert ci_dispatch("resume", cwd=root).code == 0
    assert (folder / "run.json").read_bytes() == written["run.json"]
    left = {name: (folder / name).stat().st_mtime_ns for name in names}
    assert ci_dispatch("resume", cwd=root).code == 0
    assert {name: (folder / name).stat().st_mtime_ns for name in names} == left, "nothing to do"


def test_several_who_resume_at_once_drive_the_run_once(tmp_path: Path, processes: list[subprocess.Popen[str]]) -> None:
    root = sleepers(tmp_path, 3, nap=0.3)
    first = start("run", cwd=root)
    processes.append(first)
    wait_for(root, '"AttemptStarted"', process=first)
    first.kill()
    first.communicate()
    several = [start("resume", cwd=root) for _ in range(4)]
    processes += several
    said = [process.communicate(timeout=60)[1] for process in several]
    codes = sorted(process.returncode for process in several)
    assert set(codes) <= {0, 2}, said
    assert 0 in codes, said
    refusals = [err for err, process in zip(said, several, strict=True) if process.returncode]
    assert all("driven by another controller" in err for err in refusals)
    last = ci_dispatch("resume", cwd=root)
    assert last.code == 0, "the journal is one that can be read"
    assert last.run["counts"]["passed"] == 3


def test_a_damaged_end_of_a_journal_costs_what_it_told_and_is_said(
    tmp_path: Path, processes: list[subprocess.Popen[str]]
) -> None:
    root = sleepers(tmp_path, 3, nap=0.3)
    first = start("run", cwd=root)
    processes.append(first)
    wait_for(root, '"AttemptStarted"', process=first)
    first.kill()
    first.communicate()
    [folder] = (root / ".ci-dispatch" / "runs").iterdir()
    with (folder / "events.jsonl").open("ab") as journal:
        journal.write(b"\0" * 300 + b"\n")
    resumed = ci_dispatch("resume", cwd=root)
    assert (resumed.code, resumed.run["counts"]["passed"]) == (0, 3), resumed
    [warning] = resumed.run["warnings"]
    assert warning["source"] == "journal"
    assert warning["text"].startswith("301 bytes at its end could not be read")
    assert ci_dispatch("replay", str(folder), cwd=root).code == 0


def test_resume_gives_the_run_more_time_when_asked_to(tmp_path: Path, processes: list[subprocess.Popen[str]]) -> None:
    root = sleepers(tmp_path, 4, nap=1.0)
    first = start("run", "--deadline", "3s", cwd=root)
    processes.append(first)
    wait_for(root, '"AttemptStarted"', process=first)
    first.kill()
    first.communicate()
    resumed = ci_dispatch("resume", "--deadline", "60s", cwd=root)
    assert (resumed.code, resumed.run["counts"]["passed"]) == (0, 4), resumed


@pytest.mark.parametrize("written", [".", "../{run}/"])
def test_resume_of_a_folder_attaches_to_what_still_runs(
    tmp_path: Path, processes: list[subprocess.Popen[str]], written: str
) -> None:
    """Its id is the folder's real name: with another one the jobs would be begun a second time."""
    machine = f'[[machine]]\nname = "local"\nconnection = "local"\nworkdir = "{tmp_path}/machine"\n'
    root = sleepers(tmp_path / "tree", 3, nap=0.7, machines=machine)
    (root / "runner.py").write_text(f"open({str(tmp_path / 'begun')!r}, 'a').write('runner ')\n{SLEEPER}")
    first = start("run", cwd=root)
    processes.append(first)
    wait_for(root, '"TestFinished"', process=first)
    first.kill()
    first.communicate()
    [folder] = (root / ".ci-dispatch" / "runs").iterdir()
    resumed = ci_dispatch("resume", written.format(run=folder.name), cwd=folder)
    ended = whole(resumed.code, resumed.out, resumed.err, root)
    assert (ended.code, ended.run["counts"]["passed"], ended.run["run"]) == (0, 3, folder.name), ended
    begun = (tmp_path / "begun").read_text().split()
    assert len(begun) == len(ended.run["attempts"]), "every attempt began once"


def test_resume_of_a_run_that_nobody_knows(tmp_path: Path) -> None:
    root = sleepers(tmp_path, 2)
    run = ci_dispatch("run", cwd=root).run["run"]
    ended = ci_dispatch("resume", "1999", cwd=root)
    assert ended.code == ExitCode.USAGE
    assert "There is no run 1999" in ended.err
    assert run in ended.err, "the ones there are"


@pytest.mark.parametrize(
    ("journal", "said"), [("", "There is no run yet"), ('{"v":99,"seq":1}\n', "journal"), ("half a li", "journal")]
)
def test_resume_of_a_run_that_never_began(tmp_path: Path, journal: str, said: str) -> None:
    root = sleepers(tmp_path, 2)
    folder = root / ".ci-dispatch" / "runs" / "20260101-000000-aaaa"
    folder.mkdir(parents=True)
    (folder / "events.jsonl").write_text(journal)
    ended = ci_dispatch("resume", cwd=root)
    refused(ended, said)
    assert (folder / "events.jsonl").read_text() == journal, "nothing is lost"


def test_a_second_controller_on_the_same_run(tmp_path: Path, processes: list[subprocess.Popen[str]]) -> None:
    root = sleepers(tmp_path, 6, nap=1.0)
    first = start("run", cwd=root)
    processes.append(first)
    wait_for(root, '"AttemptStarted"', process=first)
    refused(ci_dispatch("resume", cwd=root), "is being driven by another controller", "ci-dispatch dashboard")
    out, err = first.communicate(timeout=60)
    ended = whole(first.returncode, out, err, root)
    assert (ended.code, ended.run["counts"]["passed"]) == (0, 6), "the first one is not disturbed"
