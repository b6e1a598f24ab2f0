"""`ci-dispatch notify --test`: a sample message to every channel, so that a wrong token is found before it matters."""

from __future__ import annotations

import click

from ci_dispatch.app.settings import Settings
from ci_dispatch.cli.options import configured


@click.command()
@click.option("--test", is_flag=True, help="Send a sample message to every configured channel.")
@configured()
def notify(settings: Settings, test: bool) -> int:
    """Send a sample message to the channels of [[slack.channel]].

    Exits with 0 when all of them took it, else with 2.
    """
    from ci_dispatch.core.errors import ExitCode, UsageError
    from ci_dispatch.reporters.slack import setup

    if not test:
        raise UsageError(
            "Nothing was sent", why="messages about runs are sent by runs", hint="ci-dispatch notify --test"
        )
    slack = settings.config.slack
    places = setup.clients(slack, settings.environ)
    if not places:
        raise UsageError(
            "Nothing was sent",
            why=setup.missing(slack, settings.environ) or "no channel is configured",
            hint=f"add [[slack.channel]] with its id to ci-dispatch.toml and set {slack.token_env}, "
            f"or set {slack.webhook_env} alone",
        )
    refused = 0
    for name, why in setup.send_sample(places, settings.root.name):
        refused += bool(why)
        click.echo(f"{name}: {why or 'delivered'}", err=bool(why))
    return ExitCode.USAGE if refused else ExitCode.PASSED
