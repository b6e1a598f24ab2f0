"""`ci-dispatch progress --demo`: what progress looks like, without a fleet."""

from __future__ import annotations

import time

import click

from ci_dispatch.app.settings import Settings
from ci_dispatch.cli.options import configured
from ci_dispatch.core.errors import UsageError


@click.command()
@click.option("--demo", is_flag=True, help="Show a made-up run over four machines, one of which dies.")
@click.option("--speed", type=click.FloatRange(min=0, min_open=True), default=1.0, show_default=True, metavar="FACTOR",
              help="2: twice as fast.")  # fmt: skip
@configured("progress.mode")
def progress(settings: Settings, demo: bool, speed: float) -> None:
    """Show what progress looks like."""
    if not demo:
        raise UsageError(
            "There is no progress to show", why="only a run has progress",
            hint="ci-dispatch progress --demo, or ci-dispatch dashboard for a run that is going on",
        )  # fmt: skip
    from ci_dispatch.app.playback import play
    from ci_dispatch.demo.recording import demo_events

    play(demo_events(time.time()), settings, speed)
