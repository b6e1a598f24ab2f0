"""What earlier runs were reaches the next plan: durations and speeds from the history, and what is said of machines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest

from ci_dispatch.app import fleet_records
from ci_dispatch.app.run_history import file_in
from ci_dispatch.app.run_spec import RunSpec, expect, head_share
from ci_dispatch.app.settings import Settings, read_settings
from ci_dispatch.core import codec
from ci_dispatch.core.model import RunId, Test, TestId, UnitId, Verdict
from ci_dispatch.history.errors import HistoryDamaged
from ci_dispatch.history.store import HistoryStore
from ci_dispatch.history.values import PastAttempt, PastRun, PastTest, RecordedRun
from ci_dispatch.planning import planner
from ci_dispatch.run.ports import Listing, Suite

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


def recorded(number: int, machines: Sequence[str]) -> RecordedRun:
    at = 1_800_000_000.0 + 3600 * number + len(machines)
    tests = []
    for place, name in enumerate(NAMES):
        machine = machines[(place + number) % len(machines)]
        attempt = PastAttempt(
            verdict=Verdict.PASSED, machine=machine, at=at, seconds=SECONDS[name] * PACE[machine], workers=4,
            speed=1.5 if machine == "slow" else 1.0,
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


def test_without_a_history_that_is_said(settings: Settings) -> None:
    shown = fleet_records.as_text(fleet_records.records(settings)).splitlines()
    assert [line.split() for line in shown[1:3]] == [
        ["fast", "4", "1", "-", "?", "-", "0"],
        ["slow", "4", "1.5", "-", "?", "-", "0"],
    ]
    assert shown[3] == "Nothing is known of earlier runs yet."


def test_whoever_only_looks_leaves_a_damaged_history_where_it_is(settings: Settings) -> None:
    learn(settings, 1)
    file_in(settings.runs_folder).write_bytes(b"no database" * 1000)
    with pytest.raises(HistoryDamaged, match="is damaged"):
        fleet_records.records(settings)
    assert file_in(settings.runs_folder).read_bytes() == b"no database" * 1000
