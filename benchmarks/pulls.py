"""What a pull of pytest tests costs beside its tests, with and without a runner that was started ahead.

2,000 tests in 100 files, and a conftest that loads for a second. Pulls of 20 tests that sleep 0.1 s each on this
computer, through the executor of a real run. The ways take turns: whatever else the computer does falls on all.

    python -m benchmarks.pulls [PULLS]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue
from statistics import median

from ci_dispatch.config.choices import StartAhead
from ci_dispatch.config.sections import SuiteConfig
from ci_dispatch.core.model import (
    Connection,
    Lease,
    LeaseNumber,
    MachineName,
    MachineSpec,
    RunId,
    Shard,
    ShardId,
    ShardKind,
    Test,
)
from ci_dispatch.fleets.machines.executor import MachineExecutor
from ci_dispatch.fleets.machines.fleet import StartJob
from ci_dispatch.machines.local import LocalMachine
from ci_dispatch.run import messages as m
from ci_dispatch.run.loop import SystemClock
from ci_dispatch.run.ports import WorkTree
from ci_dispatch.run.worker_threads import WorkerThreads
from ci_dispatch.suites.pytest import PytestSuite

FILES, IN_A_FILE = 100, 20
NAP = 0.1
LOADING = 1.0  # seconds of the conftest
PULLS = 10
HERE = MachineName("here")
SOURCE = f"""
import json, sqlite3, time
import pytest

@pytest.mark.parametrize("n", range({IN_A_FILE}))
def test_it(n):
    time.sleep({NAP})
"""


def write_suite(tree: Path) -> None:
    (tree / "tests").mkdir(parents=True)
    (tree / "pytest.ini").write_text("[pytest]\n")
    (tree / "conftest.py").write_text(f"import time\ntime.sleep({LOADING})\n")
    for number in range(FILES):
        (tree / "tests" / f"test_{number:03}.py").write_text(SOURCE)


def suite_in(tree: Path, ahead: StartAhead = StartAhead.OFF) -> PytestSuite:
    return PytestSuite(SuiteConfig(env={"CI_DISPATCH_PYTHON": sys.executable}, start_ahead=ahead), tree)


class Machine:
    """This computer, its pulls one after the other."""

    def __init__(self, folder: Path, tree: Path, ahead: StartAhead, workers: int) -> None:
        self.inbox: SimpleQueue[m.Message] = SimpleQueue()
        self.workers = workers
        spec = MachineSpec(name=HERE, connection=Connection.LOCAL, workdir=str(folder / "work"))
        self.executor = MachineExecutor(
            run=RunId("measured"),
            machines={HERE: LocalMachine(spec)},
            suite=suite_in(tree, ahead),
            tree=WorkTree(root=tree),
            folder=folder / "attempts",
            threads=WorkerThreads(self.inbox.put, SystemClock()),
            lease_seconds=12.0,
            shard_timeout=600.0,
            sync_timeout=60.0,
        )

    def pull(self, number: int, tests: Sequence[Test]) -> tuple[float, float]:
        """Seconds until its first test has ended, and of all of it beside those of its tests."""
        shard = Shard(id=ShardId(f"tail-{number}"), kind=ShardKind.TAIL, tests=tuple(test.id for test in tests))
        lease = Lease(number=LeaseNumber(number), shard=shard, machine=HERE, granted=0.0)
        began, first = time.monotonic(), 0.0
        self.executor.carry_out(StartJob(lease, tuple(tests), self.workers, more=True))
        while not isinstance(message := self.inbox.get(timeout=600), m.LeaseEnded):
            if isinstance(message, m.Reported):
                first = first or time.monotonic() - began
        took = time.monotonic() - began
        ran = [result.seconds or 0.0 for result in message.result.results]
        assert len(ran) == len(tests), message.result
        assert all(ran), message.result
        return first, took - sum(ran) / self.workers


def measure(folder: Path, tree: Path, *, workers: int, pulls: int) -> dict[StartAhead, tuple[float, float]]:
    """Median seconds of a pull until its first test has ended, and of all of it beside its tests."""
    tests = suite_in(tree).list_tests(120).tests
    ways = {way: Machine(folder / f"{workers}-{way}", tree, ahead=way, workers=workers) for way in StartAhead}
    seconds: dict[StartAhead, list[tuple[float, float]]] = {way: [] for way in ways}
    try:
        for number in range(1, pulls + 2):
            part = tests[number * IN_A_FILE : (number + 1) * IN_A_FILE]
            for way, machine in ways.items():
                seconds[way].append(machine.pull(number, part))
    finally:
        for machine in ways.values():
            machine.executor.close()
    taken = {way: each[1:] for way, each in seconds.items()}  # the first has nothing to take over
    return {way: (median(first for first, _ in each), median(all_ for _, all_ in each)) for way, each in taken.items()}


def parts(tree: Path) -> dict[str, float]:
    """Seconds of what a start of pytest consists of, each with all before it; the best of three."""
    plain = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    commands = {
        "the interpreter": [sys.executable, "-c", ""],
        "and pytest": [sys.executable, "-c", "import pytest"],
        "and installed plugins, one file": [*plain, "--collect-only", "tests/test_000.py"],
        "and all 100 files": [*plain, "--collect-only"],
    }
    return {name: min(_seconds(command, tree) for _ in range(3)) for name, command in commands.items()}


def _seconds(command: Sequence[str], folder: Path) -> float:
    began = time.monotonic()
    subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - began


def main(pulls: int = PULLS) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, tree = Path(name), Path(name) / "tree"
        write_suite(tree)
        print(f"{FILES * IN_A_FILE:,} tests in {FILES} files\n\n| a start of pytest | seconds |\n|---|---:|")
        for part, seconds in parts(tree).items():
            print(f"| {part} | {seconds:.2f} |")
        print(f"\n{pulls} pulls each of {IN_A_FILE} tests of {NAP:g} s, by turns; seconds, medians\n")
        print("| workers | start_ahead | until the first test has ended | ratio | beside its tests | ratio |")
        print("|---:|---|---:|---:|---:|---:|")
        for workers in (1, 2):
            measured = measure(folder, tree, workers=workers, pulls=pulls)
            first, whole = measured[StartAhead.OFF]
            for way, (own_first, own_whole) in measured.items():
                ratios = f"{own_first:.2f} | {own_first / first:.2f} | {own_whole:.2f} | {own_whole / whole:.2f}"
                print(f"| {workers} | {way} | {ratios} |", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
