"""Which machines a run begins with, from its configuration; `plan`, the journal and `explain` say the same."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from ci_dispatch.app import plan
from ci_dispatch.app.chosen_machines import choose
from ci_dispatch.app.run_spec import Expected, RunSpec, first_events, read_spec
from ci_dispatch.app.settings import Settings
from ci_dispatch.config import load
from ci_dispatch.core.codec import replace
from ci_dispatch.core.events import RunStarted, Stamped, Warned
from ci_dispatch.core.groups import GroupSpec, TestGroup
from ci_dispatch.core.model import MachineName, RunId, Test, TestId, UnitId
from ci_dispatch.reporters.explanation import of_machine
from ci_dispatch.run.journal import dumps, loads
from ci_dispatch.run.ports import Suite
from ci_dispatch.run.state import RunState

MACHINES = "".join(f'[[machine]]\nname = "{name}"\ncores = 4\n' for name in ("a", "b"))
COSTLY = f'{MACHINES}[[machine]]\nname = "c"\ncores = 4\ncost = "30s"\n'
TESTS = tuple(Test(id=TestId(f"t{number:03}"), file="f", unit=UnitId(f"t{number:03}")) for number in range(240))
EXPECTED = Expected(
    tests=TESTS, seconds=dict.fromkeys((test.id for test in TESTS), 1.0), known=1.0, speeds={}, speed_error=0.0
)


class _Suite:
    title, name = "suite", "command"


def spec(toml: str) -> RunSpec:
    return RunSpec(root=Path("/somewhere"), config=load(toml).config)


def begun(toml: str, expected: Expected = EXPECTED) -> list[object]:
    planned, selection = choose(spec(toml), expected)
    suite = cast("Suite", _Suite())
    return list(first_events(planned, RunId("r"), suite, expected, planned.config.fleet, selection=selection))


@pytest.mark.parametrize(
    ("run", "machines", "joined"),
    [
        ("", COSTLY, ["a", "b"]),  # 32 s without c, 22 s with it
        ("", COSTLY.replace("30s", "9s"), ["a", "b", "c"]),
        ("", MACHINES, ["a", "b"]),
        ('[run]\ntarget_time = "80s"\n', COSTLY, ["a"]),
        ('[run]\ntarget_time = "40s"\n', COSTLY, ["a", "b"]),
        ('[run]\ntarget_time = "26s"\n', COSTLY, ["a", "b", "c"]),
        ('[run]\ntarget_time = "80s"\nmachines = ["b", "c"]\n', COSTLY, ["b"]),
    ],
)
def test_who_begins(run: str, machines: str, joined: list[str]) -> None:
    planned, selection = choose(spec(run + machines), EXPECTED)
    assert [machine.name for machine in selection.machines] == joined
    fleet = [machine.name for machine in planned.config.fleet]
    assert set(fleet) == {*joined, *selection.left_out}, "all of it stays the run's"


def test_a_machine_that_a_group_needs_begins_whatever_it_costs() -> None:
    group = TestGroup(spec=GroupSpec(name="shaders", needs=("gpu",)), tests=(TESTS[0].id,))
    toml = COSTLY.replace('cost = "30s"', 'cost = "30s"\nlabels = ["gpu"]')
    for target in ("", '[run]\ntarget_time = "80s"\n'):
        _, selection = choose(spec(target + toml), replace(EXPECTED, groups=(group,)))
        assert "c" in [machine.name for machine in selection.machines]


def test_nobody_is_left_out_for_guesses() -> None:
    planned, selection = choose(spec(f'[run]\ntarget_time = "80s"\n{COSTLY}'), replace(EXPECTED, known=0.2))
    assert selection.left_out == {}
    assert selection.told == ["all machines join: only 20% of the durations are known"]
    assert len(planned.config.fleet) == 3
    assert choose(spec(MACHINES), replace(EXPECTED, known=0.2))[1].told == [], "nobody asked for less"


def test_the_journal_says_who_waits_and_why_and_a_resume_knows_it() -> None:
    started, *notes = begun(f'[run]\ntarget_time = "80s"\n{COSTLY}')
    assert isinstance(started, RunStarted)
    reason = "the others are planned to take 62.0 s, and 80 s is the target"
    assert started.left_out == {"b": reason, "c": reason}
    assert (started.planned, started.lower_bound, started.target_time) == (62.0, 60.0, 80.0)
    assert [note.text for note in notes if isinstance(note, Warned)] == [
        f"{name} waits until it is needed: {reason}" for name in ("b", "c")
    ]
    state = RunState()
    [stamped] = loads(dumps(Stamped(seq=1, at=1.0, event=started)))
    state.apply(stamped)
    assert state.started is not None
    assert state.started.left_out == started.left_out
    again = read_spec(state, load("").config)
    assert (again.config.run.target_time, again.config.machines[2].cost) == (80.0, 30.0)
    lines = list(of_machine([stamped], MachineName("b")))
    assert lines[1:] == [
        f"the run began without it: {reason}",
        "it got no work: it waited until it would be needed, and was not",
    ]


def test_the_plan_shows_who_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "open_suite", lambda *_: None)
    monkeypatch.setattr(plan, "expect", lambda *_: EXPECTED)
    loaded = load(f'[run]\ntarget_time = "40s"\n{COSTLY}')
    settings = Settings(config=loaded.config, origins={}, root=Path("/repository"), file=None, environ={})
    data = plan.plan(settings, ())
    assert [machine["name"] for machine in data["machines"]] == ["a", "b"]
    assert data["target_time"] == 40.0
    assert data["planned_makespan"] == 32.0
    assert data["curve"] == [
        {"machines": ["a"], "seconds": 62.0},
        {"machines": ["a", "b"], "seconds": 32.0},
        {"machines": ["a", "b", "c"], "seconds": 22.0},
    ]
    text = plan.as_text(data)
    assert text.endswith(
        "with  machines  planned\na            1     62 s\n+ b          2     32 s\n+ c          3     22 s"
    )
    assert "c waits until it is needed: the others are planned to take 32.0 s, and 40 s is the target" in text
