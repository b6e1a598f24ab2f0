"""`simulate` of runs whose journal has their configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from ci_dispatch.app.drive import run_policy
from ci_dispatch.app.run import lease_policy
from ci_dispatch.app.run_spec import RunSpec
from ci_dispatch.app.settings import Settings, read_settings
from ci_dispatch.app.simulate import simulate
from ci_dispatch.core.codec import replace
from ci_dispatch.core.errors import UsageError
from ci_dispatch.core.events import Event, Interrupted, RunFinished, Stamped
from ci_dispatch.core.model import Makespan
from ci_dispatch.fleets.actions.run.dispatch_state import DispatchTarget
from ci_dispatch.fleets.simulated.run import run_started, simulate_run
from ci_dispatch.fleets.simulated.world import World
from ci_dispatch.run.journal import Journal
from tests.simulation import make_tests

TESTS = make_tests(120)
MACHINES = '[[machine]]\nname = "big"\ncores = 8\n[[machine]]\nname = "small"\ncores = 2\n'
TOML = f'[run]\nhead_share = "40%"\nlease = "9s"\n{MACHINES}'


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "ci-dispatch.toml").write_text(TOML)
    return read_settings(tmp_path / "ci-dispatch.toml", {}, {}, tmp_path)


def record(settings: Settings, target: DispatchTarget | None = None, name: str = "20270101-000000-aaaa") -> Path:
    """A run under the configuration, and its journal."""
    spec = RunSpec(root=settings.root, config=settings.config, target=target)
    seconds = {test.id: 3.0 for test in TESTS}
    started = replace(run_started(TESTS, settings.config.fleet, seconds), settings=spec.as_data())
    folder = settings.runs_folder / "runs" / name
    folder.mkdir(parents=True)
    plain = replace(spec, target=None)
    with (folder / "events.jsonl").open("wb", buffering=0) as stream:
        simulate_run(
            started,
            World(seconds=seconds),
            policy=run_policy(plain),
            leases=lease_policy(settings.config),
            journal=Journal(stream),
        )
    return folder / "events.jsonl"


def asked(settings: Settings, **more: object) -> dict[str, object]:
    arguments: dict[str, object] = {"without": (), "changes": (), "policy": ""} | more
    return simulate(settings, "", **arguments)  # type: ignore[arg-type]


def test_the_run_is_simulated_under_the_configuration_that_it_had(settings: Settings) -> None:
    """A head of 40 % makes many pulls; today's configuration is another."""
    record(settings)
    today = replace(settings, config=replace(settings.config, run=replace(settings.config.run, head_share=1.0)))
    data = asked(today, without=["small"])
    assert data["error"] == pytest.approx(0.0, abs=0.02)
    assert data["held_out_error"] == pytest.approx(0.0, abs=0.05)
    assert isinstance(data["what_if"], dict)
    assert set(data["what_if"]["busy"]) == {"big"}


def test_a_run_through_github_is_refused(settings: Settings) -> None:
    record(settings, DispatchTarget(repository="o/r", workflow="w.yml", ref="main"))
    with pytest.raises(UsageError, match="was not simulated: it went through GitHub Actions"):
        asked(settings)


def test_a_run_that_was_interrupted_is_refused(settings: Settings) -> None:
    journal = record(settings)
    lines = journal.read_bytes().splitlines(keepends=True)[:20]
    journal.write_bytes(b"".join(lines))
    makespan = Makespan(planned=1.0, realised=2.0, lower_bound=1.0)
    with journal.open("ab", buffering=0) as stream:
        last = max(int(line.split(b'"seq":')[1].split(b",")[0]) for line in lines)
        ended: list[Event] = [Interrupted(signal=2), RunFinished(exit_code=130, makespan=makespan)]
        for number, event in enumerate(ended, 1):
            Journal(stream).write([Stamped(seq=last + number, at=2e9, event=event)])
    with pytest.raises(UsageError, match="it was interrupted"):
        asked(settings)
