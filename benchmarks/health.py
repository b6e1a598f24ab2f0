"""Health of four machines from process start, against one plain `ssh HOST true` to the slowest of them in the same run.

How many round trips each takes is the slope of its time over the line's round trip, so that what else the computer does
hardly matters.

The machines are the tests' lab (namespaces behind a line with the reference fleet's round trips), so this needs root.

    python -m benchmarks.health [ROUNDS]
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ci_dispatch.app.health import examine_all
from tests.fleet.lab import ROUND_TRIPS, Lab
from tests.fleet.servers import Keys

ROOT = Path(__file__).parents[1]
SLOWEST = "ilko2"
FLEET = ("moruk", SLOWEST, "pi")  # and `local`


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder) / "lab", Keys.make(Path(folder) / "keys"))
        try:
            lab.start()
            print(table(measure(lab, Path(folder), rounds), rounds))
            print(flush=True)
            print(slopes(lab))
        finally:
            lab.stop()


def measure(lab: Lab, folder: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds by what was done, one of each in every round, in turn."""
    configuration = folder / "ci-dispatch.toml"
    entries = [f'[[machine]]\nname = "{name}"\nworkdir = "{lab.hosts[name].work}/ci"\n' for name in FLEET]
    configuration.write_text("\n".join(['[[machine]]\nname = "local"\nconnection = "local"\n', *entries]))
    environment = {**os.environ, "CI_DISPATCH_SSH_CONFIG": str(lab.config.path)}
    by_hand = ["ssh", "-F", str(lab.config.path), SLOWEST, "true"]
    cold = [sys.executable, "-m", "ci_dispatch", "--config", str(configuration), "health", "--json", "--only"]
    seconds: dict[str, list[float]] = {}
    machines = [lab.machine(name) for name in FLEET]
    try:
        examine_all(machines, 10.0)
        for _ in range(rounds):
            took(seconds, "ssh true", by_hand, environment, folder)
            answer = took(seconds, "health", [*cold, "ssh,disk,memory,cpu"], environment, folder)
            assert all(machine["reachable"] for machine in json.loads(answer)["machines"]), answer
            began = time.perf_counter()
            reports = examine_all(machines, 10.0)
            seconds.setdefault("re-check", []).append(time.perf_counter() - began)
            assert all(report.reachable for report in reports)
    finally:
        for machine in machines:
            machine.close()
    return seconds


def took(seconds: dict[str, list[float]], name: str, command: list[str], environment: dict[str, str], cwd: Path) -> str:
    began = time.perf_counter()
    done = subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, check=False, timeout=60)
    seconds.setdefault(name, []).append(time.perf_counter() - began)
    return done.stdout + done.stderr


def table(seconds: dict[str, list[float]], rounds: int) -> str:
    median = {name: statistics.median(values) for name, values in seconds.items()}
    ratios = [health / plain for health, plain in zip(seconds["health"], seconds["ssh true"], strict=True)]
    slowest = ROUND_TRIPS[SLOWEST] / 1000
    rows = [
        ("`ssh ilko2 true`, the slowest", median["ssh true"], f"{median['ssh true'] / slowest:.1f} round trips", ""),
        ("`ci-dispatch health`, four machines, from process start", median["health"],
         f"{statistics.median(ratios):.2f} x `ssh true`", "target 0.85, aim 0.5"),
        ("the 30 s re-check over living connections", median["re-check"],
         f"{median['re-check'] / slowest:.1f} round trips", "target 3"),
    ]  # fmt: skip
    lines = [
        f"{rounds} rounds, medians; round trips {ROUND_TRIPS}",
        "",
        "| what | ms | in proportion | target |",
        "|---|---|---|---|",
    ]
    lines += [f"| {what} | {value * 1000:.0f} | {ratio} | {target} |" for what, value, ratio, target in rows]
    return "\n".join(lines)


def slopes(lab: Lab) -> str:
    """Round trips: how much longer each takes when the line is longer by so much."""
    near, far = 0.1, 1.1
    taken: dict[str, list[float]] = {}
    for rtt in (near, far):
        lab.wire("rtt", SLOWEST, str(rtt * 1000))
        living = lab.machine(SLOWEST)
        living.examine(60)
        by_hand = ["ssh", "-F", str(lab.config.path), SLOWEST, "true"]
        works: dict[str, Callable[[], object]] = {
            "`ssh ilko2 true`": partial(subprocess.run, by_hand, check=True),
            "the first check of a machine": partial(first_check, lab),
            "a check over a living connection": partial(living.examine, 60),
        }
        for name, work in works.items():
            samples = []
            for _ in range(3):
                time.sleep(2 * rtt)  # so that a channel is ready, as it is after 30 s
                began = time.perf_counter()
                work()
                samples.append(time.perf_counter() - began)
            taken.setdefault(name, []).append(statistics.median(samples))
        living.close()
    rows = [f"| {name} | {(slow - fast) / (far - near):.1f} |" for name, (fast, slow) in taken.items()]
    return "\n".join(["| what | round trips, by slope |", "|---|---:|", *rows])


def first_check(lab: Lab) -> None:
    machine = lab.machine(SLOWEST)
    assert machine.examine(60).reachable
    machine.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
