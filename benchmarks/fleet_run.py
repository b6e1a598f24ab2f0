"""Whole runs over the delayed lab fleet: realised makespan over the lower bound, and what the controller costs.

720 tests that only sleep, over four real SSH machines with the cores, speeds and round trips of the reference fleet: 48
sleeping workers need no cores of their own. Each table is a series of runs that begins with an empty history: once with
speeds configured right, once with two machines slower than configured, which nobody says. Needs root.

    python -m benchmarks.fleet_run [SECONDS]        the lower bound to aim for; longer is more like a real suite
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from ci_dispatch.core.model import MachineName, MachineSpec
from ci_dispatch.machines.ssh.machine import CONFIG_VARIABLE
from ci_dispatch.planning import planner
from tests.components import HOW_TO_GET, present
from tests.fleet.lab import ROUND_TRIPS, Lab
from tests.fleet.servers import Keys
from tests.simulation import make_tests

TESTS = 720
FLEET = {"spare": (16, 1.0), "moruk": (24, 0.8), "ilko2": (4, 1.0), "pi": (4, 0.5)}  # cores, speed
SLOWED = {"moruk": 0.5, "ilko2": 0.6}  # what these two really are in the second series
BOUND = 60.0
RUNS = 4

RUNNER = """
import json, os, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
live, workers, names = sys.argv[1], int(sys.argv[2]), open(sys.argv[3]).read().split()
durations, speed, lock = json.load(open("durations.json")), float(os.environ["SPEED"]), threading.Lock()
def tell(**news):
    with lock, open(live, "a") as file:
        file.write(json.dumps(news) + "\\n")
def run(name):
    tell(kind="begin", id=name)
    began = time.monotonic()
    time.sleep(durations[name] / speed)
    tell(kind="end", id=name, verdict="passed", seconds=time.monotonic() - began)
with ThreadPoolExecutor(workers) as pool:
    list(pool.map(run, names))
"""


@dataclass(frozen=True)
class Measured:
    run: dict[str, Any]
    wall: float  # seconds of the process, from its start to its exit
    cpu: float  # seconds, with everything it started and waited for

    @property
    def realised(self) -> float:
        return float(self.run["makespan"]["realised"])


def fleet(real: Mapping[str, float]) -> list[MachineSpec]:
    """The four machines; `real` replaces speeds of `FLEET`."""
    return [
        MachineSpec(name=MachineName(name), cores=cores, speed=real.get(name, speed))
        for name, (cores, speed) in FLEET.items()
    ]


def durations(bound: float) -> dict[str, float]:
    """As uneven as those of real suites: log-normal, the longest about ten times the median."""
    random = Random(7)
    drawn = {f"t{n:05}": random.lognormvariate(0.0, 0.7) for n in range(TESTS)}
    scale = bound * sum(machine.power for machine in fleet({})) / sum(drawn.values())
    return {name: round(seconds * scale, 3) for name, seconds in drawn.items()}


def write_suite(tree: Path, lab: Lab, seconds: dict[str, float], real: Mapping[str, float]) -> None:
    tree.mkdir()
    (tree / "durations.json").write_text(json.dumps(seconds))
    (tree / "tests.txt").write_text("".join(f"{name}\n" for name in seconds))
    (tree / "runner.py").write_text(RUNNER)
    machines = "".join(
        f'[[machine]]\nname = "{name}"\ncores = {cores}\nspeed = {speed}\n'
        f'workdir = "{lab.hosts[name].work}/ci"\nenv = {{ SPEED = "{real.get(name, speed)}" }}\n'
        for name, (cores, speed) in FLEET.items()
    )
    suite = 'runner = "command"\nlist = "cat tests.txt"\ncommand = "python3 runner.py {live} {workers} {tests_file}"\n'
    (tree / "ci-dispatch.toml").write_text(f"[suite]\n{suite}[health]\nmax_load_per_core = 1000\n{machines}")


def run(tree: Path, lab: Lab) -> Measured:
    environ = {**os.environ, CONFIG_VARIABLE: str(lab.config.path)}
    command = [sys.executable, "-m", "ci_dispatch", "run", "--progress", "plain"]
    began = time.monotonic()
    with (tree / "controller.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=tree, env=environ, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)  # nobody else may wait for it now
    wall = time.monotonic() - began
    assert process.returncode == 0, (tree / "controller.log").read_text()
    newest = max((tree / ".ci-dispatch" / "runs").glob("*/run.json"))
    return Measured(json.loads(newest.read_text()), wall, usage.ru_utime + usage.ru_stime)


def series(lab: Lab, tree: Path, bound: float, real: Mapping[str, float]) -> str:
    """A table of `RUNS` runs one after another, from an empty history on; `real` are speeds that nobody configures."""
    seconds = durations(bound)
    write_suite(tree, lab, seconds, real)
    tests = make_tests(TESTS)
    units = planner.units_of(tests, {test.id: seconds[test.id] for test in tests})
    least = planner.lower_bound(units, fleet(real))
    lines = [
        "| run | lower bound | planned | realised | realised / bound | invocations | controller CPU | share |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for number in range(1, RUNS + 1):
        each = run(tree, lab)
        planned = each.run["makespan"]["planned"]
        lines.append(
            f"| {number} | {least:.1f} s | {planned:.1f} s | {each.realised:.1f} s | {each.realised / least:.2f} "
            f"| {len(each.run['attempts'])} | {each.cpu:.2f} s | {each.cpu / each.realised:.1%} |"
        )
    lines += [f"\nThe last one, from process start to exit: {each.wall:.1f} s.", *_machines(each)]
    return "\n".join(lines)


def _machines(measured: Measured) -> list[str]:
    rows = [
        f"| {m['name']} | {m['tests']} | {m['busy_seconds']:.1f} s | {m['idle_seconds']:.1f} s |"
        for m in measured.run["machines"]
    ]
    return ["", "| machine | tests | busy | idle |", "|---|---:|---:|---:|", *rows]


def main(bound: float = BOUND) -> None:
    if missing := [component for component in ("sshd", "namespaces") if not present(component)]:
        print(f"The fleet was not measured: {'; '.join(HOW_TO_GET[component] for component in missing)}")
        return
    print(f"{TESTS} sleeping tests, {sum(durations(bound).values()):.0f} s of work; cores and speed {FLEET}")
    print(f"round trips in ms {ROUND_TRIPS}")
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder) / "lab", Keys.make(Path(folder) / "keys"))
        try:
            lab.start()
            print(f"\nSpeeds as configured:\n\n{series(lab, Path(folder) / 'right', bound, {})}", flush=True)
            print(f"\nReally {SLOWED}, which nobody said:\n\n{series(lab, Path(folder) / 'slowed', bound, SLOWED)}")
        finally:
            lab.stop()
    print(f"\nload of the computer at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main(*map(float, sys.argv[1:2]))
