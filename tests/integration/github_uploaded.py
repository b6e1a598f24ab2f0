"""Runs that nobody here dispatched: their worker runs on the double, and what their shards have uploaded."""

from __future__ import annotations

from pathlib import Path

from ci_dispatch.app.settings import read_settings
from ci_dispatch.config.choices import Strategy
from ci_dispatch.core.model import MachineName, MachineSpec
from ci_dispatch.fleets.actions.run.batches import Batch, batches
from ci_dispatch.fleets.actions.run.matrix import matrix_jobs
from ci_dispatch.planning import planner
from tests.github_double import GitHubDouble
from tests.github_double.entities import Run
from tests.integration.github_run import COMMIT, Clock, World, suite

TESTS = suite(8)
MACHINES = [MachineSpec(name=MachineName(name), cores=1, labels=("self-hosted", name)) for name in ("moruk", "pi")]


class Stage:
    """Eight tests in shards head-1 to head-4, two each, of the run r1."""

    def __init__(self, folder: Path, world: World, clock: Clock, double: GitHubDouble) -> None:
        self.folder, self.world, self.clock, self.double = folder, world, clock, double
        environ = {"GITHUB_TOKEN": double.token, "GITHUB_API_URL": double.url, "GITHUB_REPOSITORY": double.repository}
        self.settings = read_settings(None, {}, environ, folder)

    def planned(self, *, name: str = "r1.1", only: int = 8, shards: int = 4, max_inputs: int = 65_535) -> list[Batch]:
        tests = {test.id: test for test in TESTS[:only]}
        units = planner.units_of(tests.values(), dict.fromkeys(tests, 1.0))
        jobs = matrix_jobs(units, MACHINES, strategy=Strategy.PINNED, shards=shards)
        return batches(jobs, tests, name=name, timeout_minutes=5, commit=COMMIT, total=8, max_inputs=max_inputs)

    def dispatch(self, batch: Batch) -> Run:
        """Start a batch, and let it end."""
        hub = self.double.hub
        run = hub.dispatch(hub.workflows["e2e-shard.yml"], "main", batch.inputs)
        hub.tick()
        self.clock.moment += 600
        hub.tick()
        assert run.status == "completed"
        return run
