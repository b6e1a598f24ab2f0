"""The commands about machines: `ci-dispatch health, machines`."""

from __future__ import annotations

import click

from ci_dispatch.app.say import say, say_json
from ci_dispatch.app.settings import Settings
from ci_dispatch.cli.options import configured
from ci_dispatch.run.health import DIMENSIONS


@click.command()
@configured("run.machines")
@click.option("--json", "as_json", is_flag=True, help="For programs: one document, with --watch one line a round.")
@click.option("--watch", is_flag=True, help="Again and again, over the same connections, until Ctrl-C.")
@click.option("--only", metavar="NAME,...", default="", help=f"Only these: {', '.join(DIMENSIONS)}.")
@click.argument("names", nargs=-1, metavar="[MACHINE]...")
def health(settings: Settings, as_json: bool, watch: bool, only: str, names: tuple[str, ...]) -> int:
    """Ask every machine how it is: reachable, disk, memory, load, clock, tools. Exit code 4 when none is healthy.

    Only some: --machine NAME, as for a run, or their names alone.
    """
    from ci_dispatch.app.health import check

    return check(settings, names=names, only=only, as_json=as_json, watch=watch)


@click.command()
@configured()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def machines(settings: Settings, as_json: bool) -> None:
    """Show the fleet as it is configured, and as earlier runs have shown it to be.

    The learnt speed of a core is what plans go by, with its standard error and the number of tests that ran on other
    machines too; "busy" is the share of workers with a test while the machine ran some; "own failures" are those of
    tests that passed elsewhere in the same run.
    """
    from ci_dispatch.app import fleet_records

    data = fleet_records.records(settings)
    if as_json:
        say_json(data)
    else:
        say(fleet_records.as_text(data))
