"""Whole runs as users start them: a repository of its own, `ci-dispatch run`, and what it left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.integration.cli_process import environment

DEADLINE = 120.0

IMPATIENT = """
[health]
skip = true
[retry]
max_retries = 1
backoff = "50ms"
jitter = 0
[run]
give_up_after = "1s"
lease = "5s"
"""
"""Every wait that a run may have, short: what is shown is that it ends, and how."""

SLEEPER = """
import json, os, sys, time
from pathlib import Path
live, junit, names = sys.argv[1], sys.argv[2], sys.argv[3:]
def tell(**news):
    with open(live, "a") as file:
        file.write(json.dumps(news) + "\\n")
cases = []
try:
    for name in names:
        tell(kind="begin", id=name)
        time.sleep(float(os.environ.get("NAP", "0.05")))
        tell(kind="end", id=name, verdict="passed", seconds=0.05)
        cases.append(f"<testcase classname='c' name='{name}' time='0.05'/>")
except KeyboardInterrupt:
    sys.exit(130)
finally:
    Path(junit).write_text("<testsuites><testsuite name='s'>" + "".join(cases) + "</testsuite></testsuites>")
"""


@dataclass(frozen=True)
class Whole:
    """How a command ended, and the newest run of its repository."""

    code: int
    out: str
    err: str
    run: dict[str, Any] = field(default_factory=dict)

    @property
    def reasons(self) -> str:
        """Everything run.json gives a person who asks why."""
        told = [test["reason"] for test in self.run["tests"]]
        told += [attempt["reason"] for attempt in self.run["attempts"]]
        return "\n".join(told + [warning["text"] for warning in self.run["warnings"]])

    def verdicts(self) -> dict[str, str]:
        return {test["id"]: test["verdict"] for test in self.run["tests"]}


def repository(folder: Path, suite: str, *, rest: str = IMPATIENT, machines: str = "", **files: str) -> Path:
    """A work tree with this configuration and these files; without `machines` this computer is the fleet."""
    (folder / ".git").mkdir(parents=True, exist_ok=True)
    (folder / "ci-dispatch.toml").write_text(f"[suite]\n{suite}\n{rest}\n{machines}")
    for name, content in files.items():
        (folder / name).write_text(content)
    return folder


def sleepers(folder: Path, tests: int, *, nap: float = 0.05, rest: str = IMPATIENT, machines: str = "") -> Path:
    """A repository whose `tests` tests sleep `nap` seconds each, and pass."""
    suite = (
        f'runner = "command"\nlist = "cat tests.txt"\nenv = {{ NAP = "{nap}" }}\n'
        f'command = "{sys.executable} runner.py {{live}} {{junit}} {{tests}}"'
    )
    files = {"runner.py": SLEEPER, "tests.txt": "".join(f"t{n:02}\n" for n in range(tests))}
    return repository(folder, suite, rest=rest, machines=machines, **files)


def ci_dispatch(
    command: str, *arguments: str, cwd: Path, environ: Mapping[str, str] | None = None, prefix: tuple[str, ...] = ()
) -> Whole:
    """Run a command line to its end; `prefix` is a command that starts it."""
    process = start(command, *arguments, cwd=cwd, environ=environ, prefix=prefix)
    try:
        out, err = process.communicate(timeout=DEADLINE)
    finally:
        process.kill()
    return whole(process.returncode, out, err, cwd)


def start(
    command: str, *arguments: str, cwd: Path, environ: Mapping[str, str] | None = None, prefix: tuple[str, ...] = ()
) -> subprocess.Popen[str]:
    home = cwd / ".home"  # where a machine keeps its jobs: nothing of whoever runs the tests
    home.mkdir(exist_ok=True)
    return subprocess.Popen(
        [*prefix, sys.executable, "-m", "ci_dispatch", command, "--progress", "none", *arguments],
        cwd=cwd,
        env=environment(HOME=str(home), PYTHONDONTWRITEBYTECODE="1", **(environ or {})),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def whole(code: int, out: str, err: str, root: Path) -> Whole:
    assert "Traceback" not in out + err, err
    written = sorted(root.glob(".ci-dispatch/runs/*/run.json"))
    return Whole(code, out, err, json.loads(written[-1].read_text()) if written else {})


def journal_says(root: Path, *words: str) -> bool:
    """Whether a line of the newest run's journal holds all these words."""
    found = sorted(root.glob(".ci-dispatch/runs/*/events.jsonl"))
    lines = found[-1].read_text().splitlines() if found else []
    return any(all(word in line for word in words) for line in lines)


def wait_for(root: Path, *words: str, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + DEADLINE
    while not journal_says(root, *words):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, f"no event with {words}"
        time.sleep(0.02)


def left_running(folder: Path) -> list[str]:
    """Processes whose environment, arguments or folder name `folder`, which had a few seconds to end."""
    for _ in range(50):
        if not (found := _running(folder)):
            break
        time.sleep(0.1)
    return found


def _running(folder: Path) -> list[str]:
    found, mark = [], str(folder)
    for process in Path("/proc").glob("[0-9]*"):
        if int(process.name) == os.getpid():
            continue
        try:
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            told = [
                words,
                (process / "environ").read_bytes().decode(errors="replace"),
                str((process / "cwd").readlink()),
            ]
        except OSError:
            continue
        if any(mark in text for text in told):
            found.append(words[:200])
    return found


def end_all(processes: list[subprocess.Popen[str]]) -> None:
    for process in processes:
        process.send_signal(signal.SIGKILL)
        process.communicate()
