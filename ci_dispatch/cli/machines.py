"""The command about machines: `ci-dispatch health`."""

from __future__ import annotations

import click

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
