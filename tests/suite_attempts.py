"""Runs a suite's invocations as a machine would, without one: a folder for the attempt, a process, its end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ci_dispatch.config.sections import SuiteConfig
from ci_dispatch.core.model import Ended, Test, TestId, Verdict
from ci_dispatch.run.ports import AttemptPaths, AttemptReading, JobEnd, Suite
from ci_dispatch.suites.command import CommandSuite
from ci_dispatch.suites.playwright import PlaywrightSuite
from ci_dispatch.suites.pytest import PytestSuite
from tests.components import REFERENCE_SUITE

SAMPLES = Path(__file__).parent / "data" / "suites"
DEADLINE = 120.0
OWN_PYTHON = {"CI_DISPATCH_PYTHON": sys.executable}


def sample(runner: str, folder: Path) -> Path:
    """A copy of the sample suite of `runner` in `folder`: what a machine has."""
    shutil.copytree(SAMPLES / runner, folder)
    if runner == "playwright":
        (folder / "node_modules").symlink_to(REFERENCE_SUITE / "node_modules")
    return folder


def open_sample(runner: str, root: Path, *, mode: str = "", **more: str) -> Suite:
    """The suite in `root`, a copy of a sample, whose tests do what `mode` says."""
    env = {"SAMPLE_MODE": mode, **more}
    match runner:
        case "playwright":
            return PlaywrightSuite(SuiteConfig(env=env), root)
        case "pytest":
            return PytestSuite(SuiteConfig(env={**OWN_PYTHON, **env}), root)
        case _:
            command = "python3 run.py run {junit} {tests}"
            return CommandSuite(SuiteConfig(env=env, list="python3 run.py list", command=command), root)


def attempt(
    suite: Suite,
    tests: Sequence[Test],
    folder: Path,
    *,
    root: Path,
    workers: int = 1,
    extra: Sequence[str] = (),
    interrupt_when: Callable[[bytes], bool] | None = None,
) -> AttemptReading:
    """One attempt at `tests` in the work tree `root`; INT as soon as `interrupt_when` accepts the live file."""
    folder.mkdir(parents=True)
    place = AttemptPaths(tree=str(root), attempt=str(folder))
    call = suite.invocation(tests, place, workers=workers, shard=1, extra=extra)
    for name, content in call.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    # Temporary files of its own, as on a machine: in a shared folder pytest removes old ones, for minutes perhaps.
    temporary = folder / "tmp"
    temporary.mkdir()
    with (folder / "output.log").open("wb") as output:
        process = subprocess.Popen(
            call.argv,
            cwd=call.cwd,
            env={**os.environ, "TMPDIR": str(temporary), **call.env},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    ended = Ended.EXITED
    try:
        if interrupt_when is not None:
            _wait_for(folder / call.live, interrupt_when, process)
            os.killpg(process.pid, signal.SIGINT)
            ended = Ended.CANCELLED
        code = process.wait(DEADLINE)
    finally:
        _end_everything(process, marked=str(folder))
    end = JobEnd(ended=ended, exit_code=max(code, 0), signal=-code if code < 0 else None)
    return suite.read(tests, folder, end)


def _wait_for(live: Path, wanted: Callable[[bytes], bool], process: subprocess.Popen[bytes]) -> None:
    for _ in range(int(DEADLINE * 10)):
        if live.exists() and wanted(live.read_bytes()):
            return
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.1)
            return


def _end_everything(process: subprocess.Popen[bytes], *, marked: str) -> None:
    """It and whatever it started: web servers and workers leave its process group, but keep its environment."""
    with suppress(ProcessLookupError):
        process.kill()
    process.wait(DEADLINE)
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if marked.encode() in (entry / "environ").read_bytes():
                os.kill(int(entry.name), signal.SIGKILL)


def named(tests: Sequence[Test], name: str) -> Test:
    """The test called `name` in the words that all samples share; of several projects the first."""
    return next(test for test in tests if name_of(test) == name)


def name_of(test: Test) -> str:
    return test.title[-1].removeprefix("test_").replace("_", " ")


def verdicts(reading: AttemptReading) -> Mapping[TestId, Verdict]:
    return {result.test: result.verdict for result in reading.results}
