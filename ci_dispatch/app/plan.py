"""What `ci-dispatch plan` does: show who would run what, without running it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ci_dispatch.app.chosen_machines import choose, planned_by
from ci_dispatch.app.run_spec import Expected, RunSpec, expect, head_share
from ci_dispatch.app.settings import Settings
from ci_dispatch.app.table import table
from ci_dispatch.planning import planner
from ci_dispatch.planning.constraints import Constraints
from ci_dispatch.planning.selection import Selection, curve
from ci_dispatch.suites import open_suite
from report_merge.render.escape import terminal_name
from report_merge.render.wording import count, some

SHOWN_NAMES = 3


def plan(settings: Settings, arguments: tuple[str, ...]) -> dict[str, Any]:
    """The plan of a run that began now, JSON-able; durations are seconds.

    Raises NothingToRun or UsageError when the suite cannot be listed.
    """
    config = settings.config
    spec = RunSpec(root=settings.root, config=config, arguments=(*config.suite.args, *arguments))
    expected = expect(spec, open_suite(config.suite, settings.root, spec.arguments))
    return _as_data(expected, *choose(spec, expected))


def _as_data(expected: Expected, spec: RunSpec, selection: Selection) -> dict[str, Any]:
    fleet = selection.machines
    units = planner.units_of(expected.tests, expected.seconds)
    share = head_share(spec.config)
    constraints = Constraints(expected.groups, expected.tests, fleet)
    free = [unit for unit in units if all(constraints.of(test).planned for test in unit.tests)]
    heads = planner.heads(free, fleet, share)
    assigned = {unit.id for head in heads.values() for unit in head}
    return {
        "tests": len(expected.tests),
        "units": len(units),
        "known_durations": round(expected.known, 3),
        "seconds": round(sum(unit.seconds for unit in units), 1),
        "planned_makespan": round(planner.planned_makespan(units, fleet, share), 1),
        "lower_bound": round(planner.lower_bound(units, fleet), 1),
        "machines": [
            {
                "name": machine.name,
                "cores": machine.cores,
                "speed": machine.speed,
                "head": [test for unit in heads.get(machine.name, []) for test in unit.tests],
                "head_seconds": round(sum(unit.seconds for unit in heads.get(machine.name, [])), 1),
            }
            for machine in fleet
        ],
        "tail": [test for unit in units if unit.id not in assigned for test in unit.tests],
        "groups": [
            {
                "name": group.spec.name,
                "tests": list(group.tests),
                "rules": list(dict.fromkeys(rule for test in group.tests for rule in constraints.words(test, fleet))),
            }
            for group in expected.groups
        ],
        "curve": [
            {"machines": list(point.machines), "seconds": round(point.seconds, 1)}
            for point in curve([unit.seconds for unit in units], spec.config.fleet, planned_by(spec, expected))
        ],
        "target_time": spec.config.run.target_time,
        "left_out": dict(selection.left_out),
        "notes": [*expected.notes, *([selection.note] if selection.note else [])],
    }


def as_text(data: dict[str, Any]) -> str:
    """The plan for people: a line for each machine, and what is left for all."""
    rows = [
        (
            f"{data['tests']} tests in {data['units']} units, {data['seconds']:g} s of work on one core "
            f"({data['known_durations']:.0%} of the durations are known)"
        ),
        f"planned {data['planned_makespan']:g} s, no schedule beats {data['lower_bound']:g} s",
        "",
    ]
    width = max((len(machine["name"]) for machine in data["machines"]), default=0)
    rows += [
        f"{machine['name']:<{width}}  starts with {len(machine['head']):>5} tests, {machine['head_seconds']:>8g} s "
        f"({machine['cores'] or '?'} cores x {machine['speed']:g})"
        for machine in data["machines"]
    ]
    rows.append(f"{'then':<{width}}  pull        {len(data['tail']):>5} tests, longest first")
    for group in data["groups"]:
        rules = "; ".join(group["rules"]) or "every machine may have it at any time"
        rows.append(terminal_name(f"group {group['name']}: {count(len(group['tests']), 'test')}: {rules}"))
    rows += [f"{terminal_name(name)} waits until it is needed: {why}" for name, why in data["left_out"].items()]
    rows += [f"note: {terminal_name(note)}" for note in data["notes"]]
    if len(data["curve"]) > 1:
        rows += ["", *_curve(data["curve"])]
    return "\n".join(rows)


def _curve(points: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line for each number of machines: who joins, and what they take together."""
    rows: list[tuple[str, ...]] = [("with", "machines", "planned")]
    before: Sequence[str] = ()
    for point in points:
        joins = terminal_name(some([name for name in point["machines"] if name not in before], SHOWN_NAMES))
        rows.append((f"+ {joins}" if before else joins, str(len(point["machines"])), f"{point['seconds']:g} s"))
        before = point["machines"]
    yield from table(rows, left=1)
