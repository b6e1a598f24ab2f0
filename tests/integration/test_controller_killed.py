"""Promise 5: after `kill -9` of the controller at any moment, `resume` finishes the run; nothing is left running."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SEEDS = 50
TESTS = 30
RUNNER = """
import json, sys, time, pathlib
from xml.sax.saxutils import quoteattr
junit, names = sys.argv[1], sys.argv[2:]
cases = []
for name in names:
    print("running", name, flush=True)
    number = int(name[1:])
    time.sleep(0.02 + (number % 5) * 0.03)
    body = "<failure message='boom'/>" if number % 10 == 7 else "<skipped/>" if number % 10 == 8 else ""
    cases.append(f"<testcase classname='c' name={quoteattr(name)} time='0.1'>{body}</testcase>")
pathlib.Path(junit).write_text("<testsuites><testsuite name='s'>" + "".join(cases) + "</testsuite></testsuites>")
sys.exit(any(int(name[1:]) % 10 == 7 for name in names))
"""
TRUTH = {"passed": 24, "failed": 3, "flaky": 0, "skipped": 3, "not run": 0}


def make_suite(folder: Path) -> None:
    (folder / "runner.py").write_text(RUNNER)
    (folder / "tests.txt").write_text("".join(f"t{n:02}\n" for n in range(TESTS)))
    machines = "".join(
        f'[[machine]]\nname = "m{n}"\nconnection = "local"\ncores = 1\nworkdir = "{folder}/machine-{n}"\n'
        for n in range(3)
    )
    (folder / "ci-dispatch.toml").write_text(
        f"""
[suite]
runner = "command"
list = "cat tests.txt"
command = "{sys.executable} runner.py {{junit}} {{tests}}"
[health]
skip = true
[retry]
max_retries = 1
backoff = "100ms"
[run]
lease = "5s"
head_share = 0.5
{machines}
"""
    )


def start(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "ci_dispatch", *words, "--progress", "none"]
    with (folder / "controller.log").open("ab") as log:
        return subprocess.Popen(command, cwd=folder, env=environ, stdout=log, stderr=log)


def processes_of(folder: Path) -> list[str]:
    """Processes of the run's jobs and supervisors: whose environment or arguments name its folders."""
    found = []
    mark = str(folder / "machine-").encode()
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                environ, arguments = (process / "environ").read_bytes(), (process / "cmdline").read_bytes()
            except OSError:
                continue
            if mark in environ or mark in arguments:
                found.append(arguments.replace(b"\0", b" ").decode(errors="replace")[:200])
    return found


def wait_until_nothing_runs(folder: Path, seconds: float) -> list[str]:
    end = time.monotonic() + seconds
    while (left := processes_of(folder)) and time.monotonic() < end:
        time.sleep(0.1)
    return left


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for orphans in /proc: Linux only")
@pytest.mark.parametrize("seed", range(SEEDS))
def test_killed_at_a_random_moment_and_resumed_the_result_is_the_same(seed: int, tmp_path: Path) -> None:
    dice = random.Random(seed)
    make_suite(tmp_path)
    controller = start(tmp_path, "run")
    kills = 0
    while True:
        patience = dice.uniform(0.1, 3.0) if kills < dice.choice([1, 1, 2, 3]) else 90.0
        try:
            code = controller.wait(patience)
            break
        except subprocess.TimeoutExpired:
            controller.send_signal(signal.SIGKILL)
            controller.wait()
            kills += 1
            assert patience < 90.0, f"seed {seed}: the run does not end; {(tmp_path / 'controller.log').read_text()}"
            journals = (tmp_path / ".ci-dispatch" / "runs").glob("*/events.jsonl")
            resumable = any(b"\n" in journal.read_bytes() for journal in journals)
            if dice.random() < 0.3:
                time.sleep(dice.uniform(0, 4))  # sometimes longer than the lease
            controller = start(tmp_path, *(("resume",) if resumable else ("run",)))

    log = (tmp_path / "controller.log").read_text()
    assert code == 1, f"seed {seed}, {kills} kills: {log}"
    [finished] = list((tmp_path / ".ci-dispatch" / "runs").glob("*/run.json"))
    run = json.loads(finished.read_text())
    assert run["counts"] == TRUTH, f"seed {seed}, {kills} kills: {log}"
    assert [test["verdict"] for test in run["tests"] if test["id"][-1] == "7"] == ["failed"] * 3
    assert len({test["id"] for test in run["tests"]}) == TESTS
    leases = [attempt["lease"] for attempt in run["attempts"]]
    assert len(leases) == len(set(leases)), "a lease number never repeats"
    assert wait_until_nothing_runs(tmp_path, 10.0) == [], f"seed {seed}: left behind"
