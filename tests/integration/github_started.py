"""What the tests of runs through GitHub share: a started simulation, and questions to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ci_dispatch.config.choices import Strategy
from ci_dispatch.run.retry import RetryPolicy
from tests.github_double import GitHubDouble
from tests.integration.github_run import FLEET, Clock, Simulation, World, double_of, suite

PINNED = {"strategy": Strategy.PINNED, "retry": RetryPolicy(max_retries=2, jitter=0.0), "shards": 8}
EVEN = tuple((name, 2) for name, _ in FLEET)  # two shards for each machine
Start = Callable[..., Simulation]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """`start(world, ...)`: a simulation; afterwards the official description has the last word on all that was said."""
    with ExitStack() as stack:
        doubles: list[GitHubDouble] = []

        def begin(
            world: World, *, tests: int = 40, fleet: Sequence[tuple[str, int]] = EVEN, **numbers: Any
        ) -> Simulation:
            clock = Clock()
            double = stack.enter_context(double_of(world, clock))
            doubles.append(double)
            simulation = Simulation(double, clock, tmp_path, tests=suite(tests), numbers=PINNED | numbers, fleet=fleet)
            stack.callback(simulation.github.client.close)
            return simulation

        yield begin
        for double in doubles:
            assert double.token_leaks == []


def verdicts(simulation: Simulation) -> Counter[str]:
    entries = simulation.state.ledger.records.values()
    return Counter(str(entry.verdict) for entry in entries)


def posts(simulation: Simulation, part: str = "") -> list[str]:
    return [x.url.rsplit("/", 1)[1] for x in simulation.double.asked("POST", part)]
