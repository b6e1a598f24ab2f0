"""`ci-dispatch logs`: the output of a run, a machine or a test, also while the run goes on."""

from __future__ import annotations

import time

import click

from ci_dispatch.app.settings import Settings
from ci_dispatch.cli.options import configured

POLL = 0.3  # seconds between looks, with --follow


@click.command()
@click.argument("run", default="", metavar="[RUN]")
@click.option("--machine", default="", metavar="NAME", help="Only what ran on this machine.")
@click.option(
    "--test", default="", metavar="ID", help="Only attempts that ran this test: its id, or a piece of its name."
)
@click.option("--follow", is_flag=True, help="Go on with what comes, until the run is over.")
@configured()
def logs(settings: Settings, run: str, machine: str, test: str, follow: bool) -> None:
    """Show the output of a run, a machine or a test.

    RUN is its id, the beginning of it, or its folder; the newest when not given. Escape sequences are left out.
    """
    from ci_dispatch.core.errors import UsageError
    from ci_dispatch.reporters.attempt_logs import OutputReader, check, chosen, heading
    from ci_dispatch.run import run_folder
    from ci_dispatch.run.journal import JournalReader, replay
    from ci_dispatch.run.state import RunState
    from report_merge.render.escape import workflow_log

    folder = run_folder.find(settings.root / settings.config.run.folder, run)
    journal = JournalReader(folder.journal)
    state = RunState()
    replay(journal.read_all(), state)
    check(state, machine, test)
    readers: dict[int, OutputReader] = {}
    last = 0
    while True:
        over = state.finished is not None  # before reading: what is written until then is read below
        for number in chosen(state, machine, test):
            attempt = state.ledger.attempts[number]
            reader = readers.setdefault(number, OutputReader(folder, number))
            ended = over or not follow or attempt.result is not None
            for line in reader.lines(over=ended):
                if number != last:
                    click.echo(heading(number, attempt))
                    last = number
                click.echo(workflow_log(line))
        if not follow or over:
            break
        time.sleep(POLL)
        replay(journal.read_all(), state)
    if not readers:
        raise UsageError(
            "There is no output to show", why="no attempt of this run fits", hint="ci-dispatch logs --help"
        )
    if not last:
        click.echo("The attempts printed nothing.", err=True)
