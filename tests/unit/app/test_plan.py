"""What `ci-dispatch plan` shows is what a run would do."""

from __future__ import annotations

from pathlib import Path

import pytest

from ci_dispatch.app import plan
from ci_dispatch.app.run_spec import Expected
from ci_dispatch.app.settings import Settings
from ci_dispatch.config import load
from ci_dispatch.core.codec import replace
from ci_dispatch.core.groups import GroupSpec, TestGroup, Together
from ci_dispatch.core.model import Test, TestId, UnitId

MACHINES = '[[machine]]\nname = "a"\ncores = 2\n[[machine]]\nname = "b"\ncores = 2\n'


TESTS = tuple(Test(id=TestId(f"t{number:02}"), file="f", unit=UnitId(f"t{number:02}")) for number in range(40))
EXPECTED = Expected(
    tests=TESTS, seconds=dict.fromkeys((test.id for test in TESTS), 1.0), known=1.0, speeds={}, speed_error=0.0,
    notes=("a\x1bb",),
)  # fmt: skip


@pytest.fixture
def _suite(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty tests of one second each, as if a test runner had listed them."""
    monkeypatch.setattr(plan, "open_suite", lambda *_: None)
    monkeypatch.setattr(plan, "expect", lambda *_: EXPECTED)


def settings(toml: str) -> Settings:
    loaded = load(toml)
    return Settings(config=loaded.config, origins={}, root=Path("/repository"), file=None, environ={})


@pytest.mark.usefixtures("_suite")
@pytest.mark.parametrize(("share", "tail"), [(1.0, 0), (0.5, 20), (0.0, 40)])
def test_the_part_that_is_assigned_at_the_start_is_the_configured_one(share: float, tail: int) -> None:
    data = plan.plan(settings(f"[run]\nhead_share = {share}\n{MACHINES}"), ())
    assert len(data["tail"]) == tail
    assert sum(len(machine["head"]) for machine in data["machines"]) == 40 - tail
    assert data["lower_bound"] == 10.0


@pytest.mark.usefixtures("_suite")
def test_cores_that_the_runner_cannot_use_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """pytest without xdist: one test at a time on each machine, or in each slot of one."""
    wide = plan.plan(settings(MACHINES), ())
    one_at_a_time = replace(EXPECTED, workers=1)
    monkeypatch.setattr(plan, "expect", lambda *_: one_at_a_time)
    data = plan.plan(settings(f'{MACHINES}[[machine]]\nname = "c"\ncores = 8\nslots = 2\nworkers = 4\n'), ())
    assert [machine["cores"] for machine in data["machines"]] == [1, 1, 2]
    assert (wide["lower_bound"], data["lower_bound"]) == (10.0, 10.0)  # four cores each
    assert plan.plan(settings(MACHINES), ())["lower_bound"] == 20.0


@pytest.mark.usefixtures("_suite")
def test_the_text_has_a_line_for_each_machine_and_no_escape_sequence() -> None:
    text = plan.as_text(plan.plan(settings(MACHINES), ()))
    assert text.startswith("40 tests in 40 units, 40 s of work on one core (100% of the durations are known)")
    words = [line.split()[0] for line in text.splitlines()[3:] if line]
    assert words == ["a", "b", "then", "note:", "with", "a", "+"]
    assert "\x1b" not in text


@pytest.mark.usefixtures("_suite")
def test_what_has_constraints_is_in_no_first_shard_and_its_group_says_what_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    groups = (
        TestGroup(spec=GroupSpec(name="db\x1b[1m", exclusive=("db",), after=("up",)), tests=(TESTS[0].id, TESTS[1].id)),
        TestGroup(spec=GroupSpec(name="up", needs=("b",), together=Together.MACHINE), tests=(TESTS[2].id,)),
        TestGroup(spec=GroupSpec(name="any"), tests=(TESTS[3].id,)),
    )
    monkeypatch.setattr(plan, "expect", lambda *_: replace(EXPECTED, groups=groups))
    data = plan.plan(settings(f"[run]\nhead_share = 1.0\n{MACHINES}"), ())
    assert data["tail"] == ["t00", "t01", "t02"]
    assert sum(len(machine["head"]) for machine in data["machines"]) == 37
    assert [line for line in plan.as_text(data).splitlines() if line.startswith("group")] == [
        "group db: 2 tests: it comes after up; one shard at a time in the whole run holds db",
        "group up: 1 test: it needs b, which b has; all of up runs on one machine",
        "group any: 1 test: every machine may have it at any time",
    ]
