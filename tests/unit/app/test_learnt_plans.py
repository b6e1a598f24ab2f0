"""What earlier runs were reaches the next plan: durations and speeds from the history, and what is said of machines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest

from ci_dispatch.app import fleet_records
from ci_dispatch.app.run_history import file_in
from ci_dispatch.app.run_spec import RunSpec, expect, head_share, read_spec
from ci_dispatch.app.settings import Settings, read_settings
from ci_dispatch.core import codec
from ci_dispatch.core.model import MachineName, RunId, Test, TestId, UnitId, Verdict
from ci_dispatch.fleets.simulated.world import MachineDelays, World
from ci_dispatch.history import of_run
from ci_dispatch.history.errors import HistoryDamaged
from ci_dispatch.history.store import HistoryStore
from ci_dispatch.history.values import PastAttempt, PastRun, PastTest, RecordedRun
from ci_dispatch.planning import planner
from ci_dispatch.run.ports import Listing, Suite
from report_merge.model import RunContext
from tests.simulation import simulate
from tests.unit.app.test_run_spec import journalled

NAMES = [f"t{number:02}" for number in range(30)]
TESTS = tuple(Test(id=TestId(name), unit=UnitId(name), file="test_a.py", title=(name,)) for name in NAMES)
SECONDS = {name: 1.0 + number for number, name in enumerate(NAMES)}  # on a core of "fast"
PACE = {"fast": 1.0, "slow": 2.0}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "ci-dispatch.toml").write_text(
        '[[machine]]\nname = "fast"\ncores = 4\n[[machine]]\nname = "slow"\ncores = 4\nspeed = 1.5\n'
    )
    return read_settings(tmp_path / "ci-dispatch.toml", {}, {}, tmp_path)


def learn(settings: Settings, runs: int, *machines: str) -> None:
    """Runs in which every test ran on one machine, and in the next one on the next."""
    settings.runs_folder.mkdir(exist_ok=True)
    with HistoryStore(file_in(settings.runs_folder)) as store:
        store.add([recorded(number, machines or ("fast", "slow")) for number in range(runs)])


def recorded(number: int, machines: Sequence[str], workers: int = 4, pace: float = 1.0) -> RecordedRun:
    at = 1_800_000_000.0 + 3600 * number + len(machines)
    tests = []
    for place, name in enumerate(NAMES):
        machine = machines[(place + number) % len(machines)]
        attempt = PastAttempt(
            verdict=Verdict.PASSED, machine=machine, at=at, seconds=SECONDS[name] * PACE[machine] * pace,
            workers=workers, speed=1.5 if machine == "slow" else 1.0,
        )  # fmt: skip
        test = PastTest(id=TestId(name), verdict=Verdict.PASSED, name=name, file="test_a.py", attempts=(attempt,))
        tests.append(test)
    return RecordedRun(run=PastRun(id=RunId(f"r{number}"), at=at, verdict="PASSED"), tests=tuple(tests))


def plan(settings: Settings) -> tuple[float, float, float]:
    """Speed of slow against fast, how much longer the last test is than the first, the share that is known."""
    spec = RunSpec(root=settings.root, config=settings.config)
    expected = expect(spec, cast(Suite, None), Listing(tests=TESTS))  # nobody asks the suite
    fast, slow = spec.with_machines(0, expected.speeds).config.fleet
    return slow.speed / fast.speed, expected.seconds[TESTS[-1].id] / expected.seconds[TESTS[0].id], expected.known


def test_nothing_is_known_before_the_first_run(settings: Settings) -> None:
    assert plan(settings) == (1.5, 1.0, 0.0)
    assert not settings.runs_folder.exists(), "looking leaves nothing behind"


def test_what_runs_have_shown_counts_and_not_what_was_configured(settings: Settings) -> None:
    learn(settings, 6)
    speed, ratio, known = plan(settings)
    assert speed == pytest.approx(0.5, rel=0.1)
    assert ratio == pytest.approx(30.0, rel=0.1)
    assert known == 1.0


def share(settings: Settings) -> float:
    """Of the head in a run, as its journal has it."""
    spec = RunSpec(root=settings.root, config=settings.config)
    return head_share(spec.as_planned(expect(spec, cast(Suite, None), Listing(tests=TESTS))).config)


def test_the_head_is_as_large_as_what_is_known_is_certain(settings: Settings) -> None:
    assert share(settings) == planner.HEAD_SHARE_UNKNOWN
    learn(settings, 6, "fast")
    assert planner.LEAST_HEAD_SHARE <= share(settings) < 0.8, "nobody has seen the other machine"
    learn(settings, 12)
    assert share(settings) == planner.HEAD_SHARE_KNOWN


def test_a_head_that_is_configured_stays_so(settings: Settings) -> None:
    learn(settings, 2)
    config = codec.replace(settings.config, run=codec.replace(settings.config.run, head_share=0.33))
    assert share(codec.replace(settings, config=config)) == 0.33


def test_a_machine_is_shown_with_what_was_configured_and_what_was_learnt(settings: Settings) -> None:
    learn(settings, 6)
    fast, slow = fleet_records.records(settings)["machines"]
    assert (slow["configured_speed"], slow["compared_tests"], slow["workers"]) == (1.5, 30, 4)
    assert slow["learnt_speed"] / fast["learnt_speed"] == pytest.approx(0.5, rel=0.1)
    shown = fleet_records.as_text(fleet_records.records(settings)).splitlines()
    assert shown[0].split() == [
        "machine",
        "cores",
        "configured",
        "learnt",
        "speed",
        "start-up",
        "workers",
        "busy",
        "own",
        "failures",
    ]
    assert [shown[2].split()[n] for n in (0, 1, 2, -3, -2, -1)] == ["slow", "4", "1.5", "4", "100%", "0"]
    assert "(30 tests)" in shown[2]


def test_what_one_run_has_shown_is_shown_though_no_test_ran_twice(settings: Settings) -> None:
    """A plan goes by it."""
    learn(settings, 1)
    spec = RunSpec(root=settings.root, config=settings.config)
    planned = expect(spec, cast(Suite, None), Listing(tests=TESTS)).speeds
    machines = fleet_records.records(settings)["machines"]
    assert {each["name"]: each["learnt_speed"] for each in machines} == pytest.approx(planned, abs=0.001)
    assert [each["compared_tests"] for each in machines] == [0, 0]


def whole_run(settings: Settings, number: int) -> None:
    """A run of the engine over the fleet of the configuration, on whose slow machine a runner needs eleven seconds."""
    fleet = settings.config.fleet
    world = World(
        seconds={TestId(name): 4 * SECONDS[name] for name in NAMES},
        delays={MachineName("slow"): MachineDelays(start_up=11.0)},
    )
    state = simulate(TESTS, fleet, world, terms={"head_share": 1.0})
    assert state.started is not None
    state.started = codec.replace(state.started, run=RunId(f"run-{number}"))
    state.started_at += 3600.0 * number
    for attempt in state.ledger.attempts.values():
        assert attempt.started is not None
        assert attempt.ended is not None
        attempt.started, attempt.ended = attempt.started + 3600.0 * number, attempt.ended + 3600.0 * number
    settings.runs_folder.mkdir(exist_ok=True)
    with HistoryStore(file_in(settings.runs_folder)) as store:
        store.add([of_run.recorded(state, RunContext())])


def test_how_long_a_runner_takes_to_start_is_learnt_planned_with_and_shown(settings: Settings) -> None:
    for number in range(6):
        whole_run(settings, number)
    spec = RunSpec(root=settings.root, config=settings.config)
    expected = expect(spec, cast(Suite, None), Listing(tests=TESTS))
    fast, slow = spec.as_planned(expected).config.fleet
    assert 7.0 < slow.starts_after < 13.0
    assert fast.starts_after < 5.0
    units = planner.units_of(TESTS, expected.seconds)
    usual = planner.heads(units, spec.with_machines(0, expected.speeds).config.fleet, 1.0)
    heads = planner.heads(units, [fast, slow], 1.0)
    given = [sum(unit.seconds for unit in which[slow.name]) for which in (usual, heads)]
    assert given[1] < given[0], "it begins later, so it gets less"
    shown = fleet_records.records(settings)["machines"]
    assert [each["start_up"] for each in shown] == [fast.start_up, slow.start_up]
    assert f"{slow.start_up:.1f} s" in fleet_records.as_text(fleet_records.records(settings)).splitlines()[2]
    again = read_spec(journalled(spec.as_planned(expected)), settings.config)
    assert again.config.fleet == (fast, slow), "a resume plans with the same"


def test_a_configured_start_up_is_not_learnt(settings: Settings) -> None:
    machines = tuple(codec.replace(machine, start_up=33.0) for machine in settings.config.machines)
    spec = RunSpec(root=settings.root, config=codec.replace(settings.config, machines=machines))
    fleet = spec.with_machines(0, {}, {MachineName("slow"): 5.0}).config.fleet
    assert [each.start_up for each in fleet] == [33.0, 33.0]


def test_a_tuned_machine_tries_more_workers_and_goes_back_when_that_was_worse(settings: Settings) -> None:
    machines = tuple(codec.replace(machine, tune_workers=True) for machine in settings.config.machines)
    tuned = codec.replace(settings, config=codec.replace(settings.config, machines=machines))
    spec = RunSpec(root=settings.root, config=tuned.config)

    def workers() -> list[int]:
        expected = expect(spec, cast(Suite, None), Listing(tests=TESTS))
        return [machine.workers_per_shard for machine in spec.as_planned(expected).config.fleet]

    def run(number: int, used: int, pace: float) -> None:
        settings.runs_folder.mkdir(exist_ok=True)
        with HistoryStore(file_in(settings.runs_folder)) as store:
            store.add([recorded(number, ["fast"], used, pace)])

    assert workers() == [4, 4], "it begins with its cores"
    for number in range(5):
        run(number, 4, 1.0)
    assert workers() == [5, 4], "only the first machine is settled"
    fast, slow = fleet_records.records(tuned)["machines"]
    assert (fast["workers"], fast["next_workers"], slow["next_workers"]) == (4, 5, 4)
    assert "4, next 5" in fleet_records.as_text(fleet_records.records(tuned))
    run(5, 5, 3.0)
    assert workers() == [4, 4], "undone after one run"
    for number in range(6, 16):
        run(number, 4, 1.0)
    assert workers()[0] != 5, "what was worse is remembered beyond the samples that durations are learnt from"
    untuned = RunSpec(root=settings.root, config=settings.config)
    assert expect(untuned, cast(Suite, None), Listing(tests=TESTS)).machine_workers == {}


def test_without_a_history_that_is_said(settings: Settings) -> None:
    shown = fleet_records.as_text(fleet_records.records(settings)).splitlines()
    assert [line.split() for line in shown[1:3]] == [
        ["fast", "4", "1", "-", "-", "?", "-", "0"],
        ["slow", "4", "1.5", "-", "-", "?", "-", "0"],
    ]
    assert shown[3] == "Nothing is known of earlier runs yet."


def test_whoever_only_looks_leaves_a_damaged_history_where_it_is(settings: Settings) -> None:
    learn(settings, 1)
    file_in(settings.runs_folder).write_bytes(b"no database" * 1000)
    with pytest.raises(HistoryDamaged, match="is damaged"):
        fleet_records.records(settings)
    assert file_in(settings.runs_folder).read_bytes() == b"no database" * 1000
