"""`ci-dispatch replay`: a recorded run through the same reporters as a live one."""

from __future__ import annotations

from pathlib import Path

import click

from ci_dispatch.app.settings import Settings
from ci_dispatch.cli.options import configured
from ci_dispatch.core.errors import UsageError


@click.command()
@click.argument("events", type=click.Path(path_type=Path), metavar="EVENTS.jsonl")
@click.option("--speed", type=click.FloatRange(min=0, min_open=True), metavar="FACTOR",
              help="1: as fast as it was; 10: ten times faster. Default: at once.")  # fmt: skip
@configured("progress.mode")
def replay(settings: Settings, events: Path, speed: float | None) -> None:
    """Show a recorded run again from its events.

    EVENTS.jsonl is the journal in a run's folder, or the folder.
    """
    from ci_dispatch.app.playback import play
    from ci_dispatch.run.journal import JournalReader

    journal = events / "events.jsonl" if events.is_dir() else events
    state = play(JournalReader(journal).read_all(), settings, speed)
    if state.started is None:
        raise UsageError(f"{journal} was not replayed", why="it holds no run", hint="ls -l .ci-dispatch/runs/*")
    if state.finished is None:
        click.echo("The recording ends here; the run did not: its controller died, or is still at work.", err=True)
