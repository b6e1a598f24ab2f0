"""What `ci-dispatch notify --test` does: send a sample message to every channel, to find a wrong token early."""

from __future__ import annotations

from ci_dispatch.app.say import say
from ci_dispatch.app.settings import Settings
from ci_dispatch.core.errors import ExitCode, UsageError
from ci_dispatch.reporters.slack.reporter import clients, missing, send_sample


def send_samples(settings: Settings) -> ExitCode:
    """Send a sample to every channel of [[slack.channel]] and say what became of each; USAGE when one was refused.

    Raises UsageError when no channel is configured, or its secret is missing.
    """
    slack = settings.config.slack
    channels = clients(slack, settings.environ)
    if not channels:
        raise UsageError(
            "Nothing was sent",
            why=missing(slack, settings.environ) or "no channel is configured",
            hint=f"add [[slack.channel]] with its id to ci-dispatch.toml and set {slack.token_env}, "
            f"or set {slack.webhook_env} alone",
        )
    refused = 0
    for name, why in send_sample(channels, settings.root.name):
        refused += bool(why)
        say(f"{name}: {why or 'delivered'}", err=bool(why))
    return ExitCode.USAGE if refused else ExitCode.PASSED
