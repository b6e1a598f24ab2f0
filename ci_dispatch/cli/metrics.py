"""`ci-dispatch metrics`: the figures of a run."""

from __future__ import annotations

import json

import click

from ci_dispatch.app.settings import Settings
from ci_dispatch.cli.options import configured


@click.command()
@click.argument("run", default="", metavar="[RUN]")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
@configured()
def metrics(settings: Settings, run: str, as_json: bool) -> None:
    """Show the figures of a run as Prometheus text.

    RUN is its id, the beginning of it, or its folder; the newest when not given. docs/metrics.md says what they mean.
    """
    from ci_dispatch.app import result_files
    from ci_dispatch.core.errors import UsageError
    from ci_dispatch.reporters.metrics import formats
    from ci_dispatch.reporters.metrics.figures import figures
    from ci_dispatch.run import run_folder
    from ci_dispatch.run.journal import JournalReader, replay
    from ci_dispatch.run.state import RunState

    folder = run_folder.find(settings.root / settings.config.run.folder, run)
    state = RunState()
    replay(JournalReader(folder.journal).read_all(), state)
    if state.started is None:
        raise UsageError(f"Run {folder.id} has no figures", why="it ended before it began", hint="another run's id")
    context = result_files.context(state, settings.environ)
    found = figures(state, context, slowest=settings.config.metrics.slowest_tests)
    if as_json:
        click.echo(json.dumps({"v": 1, "run": folder.id, **formats.as_json(found)}, ensure_ascii=False, indent=1))
    else:
        click.echo(formats.prometheus(found), nl=False)
