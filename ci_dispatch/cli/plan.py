"""`ci-dispatch plan`: who would run what, without running it."""

from __future__ import annotations

import json
from typing import Any

import click

from ci_dispatch.app.settings import Settings
from ci_dispatch.cli.options import configured


@click.command()
@configured("run.machines", "suite.runner", "suite.workdir")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--matrix", is_flag=True, help="As a matrix for GitHub Actions.")
@click.argument("extra", nargs=-1, type=click.UNPROCESSED, metavar="[-- RUNNER ARGUMENTS...]")
def plan(settings: Settings, as_json: bool, matrix: bool, extra: tuple[str, ...]) -> int:
    """Show who would run what, and how long it would take, without running it.

    Machines are not asked how they are: their cores come from the configuration.
    """
    if as_json and matrix:
        raise click.UsageError("--json and --matrix are two different outputs: give one")
    if matrix:
        from ci_dispatch.app import dispatch

        return dispatch.begin(settings, shards=0, matrix_only=True, extra=extra)
    from ci_dispatch.app.run_spec import RunSpec, expect
    from ci_dispatch.suites import open_suite

    config = settings.config
    setting = RunSpec(root=settings.root, config=config, arguments=(*config.suite.args, *extra))
    expected = expect(setting, open_suite(config.suite, settings.root, setting.arguments))
    data = _plan(expected, setting)
    click.echo(json.dumps(data, ensure_ascii=False, indent=1) if as_json else _text(data))
    return 0


def _plan(expected: Any, setting: Any) -> dict[str, Any]:
    from ci_dispatch.planning import planner

    fleet = setting.config.fleet
    units = planner.units_of(expected.tests, expected.seconds)
    share = planner.head_share(expected.known, len(fleet))
    heads = planner.heads(units, fleet, share)
    given = {unit.id for head in heads.values() for unit in head}
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
        "tail": [test for unit in units if unit.id not in given for test in unit.tests],
        "notes": list(expected.notes),
    }


def _text(data: dict[str, Any]) -> str:
    from report_merge.render.escape import terminal_name

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
    rows += [f"note: {terminal_name(note)}" for note in data["notes"]]
    return "\n".join(rows)
