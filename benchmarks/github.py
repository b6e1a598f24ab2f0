"""What a run through GitHub Actions costs there: requests, hosted minutes, worker runs, jobs, artifacts.

`dispatch`: our fleet and client against the GitHub double over HTTP, in simulated time. One workflow: its jobs one
after the other, as calls, with folders for artifacts. Both: 480 tests in 48 shards on four machines.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from pathlib import Path

from ci_dispatch.config.choices import Strategy
from ci_dispatch.core.model import Verdict
from ci_dispatch.run.retry import RetryPolicy
from tests.github_double import Script
from tests.github_double.entities import Job
from tests.integration.github_run import FLEET, START, Clock, Simulation, World, double_of, suite
from tests.waves_room import CONFIG, WavesRoom, suite_of

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


ONE_WORKFLOW: Mapping[
    str, tuple[Mapping[str, Verdict], str, int]
] = {  # by test, the machine that dies, in how many waves
    "all pass": ({}, "", 0),
    "one flaky test": ({"t200": Verdict.FAILED}, "", 1),
    "one failing test": ({"t200": Verdict.FAILED}, "", 3),
    "a runner dies": ({}, "pi", 1),
}
WAVES = 3


def dispatched() -> None:
    print("| `dispatch` | requests | minutes | worker runs | jobs | reports |\n|---|---:|---:|---:|---:|---:|")
    for name, (fails, script) in CASES.items():
        world, clock = World(seconds=SECONDS, fails=fails, script=script), Clock()
        with tempfile.TemporaryDirectory() as folder, double_of(world, clock) as double:
            run = Simulation(double, clock, Path(folder), tests=suite(480), numbers=NUMBERS, fleet=FLEET)
            run.run()
            run.github.client.close()
            runs, minutes = double.hub.runs.values(), (clock.moment - START) / 60
            jobs, reports = sum(len(each.jobs) for each in runs), len(double.hub.artifacts)
            print(f"| {name} | {len(double.exchanges)} | {minutes:.0f} | {len(runs)} | {jobs} | {reports} |")


def one_workflow() -> None:
    """A hosted job is one that plans, looks what is owed, or merges; each is billed by whole minutes."""
    print("| one workflow | requests | hosted jobs | shards | artifacts |\n|---|---:|---:|---:|---:|")
    for name, (fails, dies_on, waves) in ONE_WORKFLOW.items():
        with tempfile.TemporaryDirectory() as folder:
            room = WavesRoom(Path(folder), suite_of(*(f"t{n}" for n in range(480))), config=_config())
            room.plan(shards=48)
            hosted, shards = 2, 0  # plan and merge
            for wave in range(1, WAVES + 1):
                shards += len(room.shards)
                failing = wave <= waves
                room.all_pass(but=fails if failing else {}, without=dies_on if failing else "")
                hosted += wave < WAVES
                if wave == WAVES or not room.again(wave + 1):
                    break
            with redirect_stdout(io.StringIO()):  # the run's own last words
                room.merge()
            artifacts = len(list(room.artifacts.iterdir())) + 1  # the result
            print(f"| {name} | 0 | {hosted} | {shards} | {artifacts} |")


def _config() -> str:
    head = CONFIG.partition("[[machine]]")[0]
    return head + "".join(f'[[machine]]\nname = "{name}"\ncores = {cores}\n' for name, cores in FLEET)


def main() -> None:
    dispatched()
    print()
    one_workflow()


if __name__ == "__main__":
    main()
