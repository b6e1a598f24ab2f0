"""What a run through GitHub Actions costs there: requests, minutes of the hosted orchestrator, worker runs, artifacts.

Our fleet and client against the GitHub double over HTTP, in simulated time: 480 tests in 48 shards on four machines.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from ci_dispatch.config.choices import Strategy
from ci_dispatch.run.retry import RetryPolicy
from tests.github_double import Script
from tests.github_double.entities import Job
from tests.integration.github_run import FLEET, START, Clock, Simulation, World, double_of, suite

SECONDS = 75.0  # of one shard: 24 of them one after the other on the largest machine are half an hour
NUMBERS = {"strategy": Strategy.PINNED, "retry": RetryPolicy(max_retries=2, jitter=0.0), "shards": 48}


def dies(job: Job) -> Script | None:
    return Script(dies_after=30.0) if job.runner is not None and job.runner.name == "pi" else None


CASES: Mapping[str, tuple[Mapping[str, int], Callable[[Job], Script | None]]] = {
    "all pass": ({}, lambda _job: None),
    "one flaky test": ({"t200": 1}, lambda _job: None),
    "one failing test": ({"t200": 99}, lambda _job: None),
    "a runner dies": ({}, dies),
}


def main() -> None:
    print("| run | requests | minutes | worker runs | jobs | reports |\n|---|---:|---:|---:|---:|---:|")
    for name, (fails, script) in CASES.items():
        world, clock = World(seconds=SECONDS, fails=fails, script=script), Clock()
        with tempfile.TemporaryDirectory() as folder, double_of(world, clock) as double:
            run = Simulation(double, clock, Path(folder), tests=suite(480), numbers=NUMBERS, fleet=FLEET)
            run.run()
            run.github.client.close()
            runs, minutes = double.hub.runs.values(), (clock.moment - START) / 60
            jobs, reports = sum(len(each.jobs) for each in runs), len(double.hub.artifacts)
            print(f"| {name} | {len(double.exchanges)} | {minutes:.0f} | {len(runs)} | {jobs} | {reports} |")


if __name__ == "__main__":
    main()
