"""From settings and secrets to destinations: which channels hear of a run, through a bot or a webhook."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from ci_dispatch.config.sections import SlackChannel, SlackConfig
from ci_dispatch.core.model import RunId
from ci_dispatch.reporters.slack import messages
from ci_dispatch.reporters.slack.calls import Delivered, Post, Unshowable
from ci_dispatch.reporters.slack.client import BotClient, Carries, WebhookPoster
from ci_dispatch.reporters.slack.conversation import Conversation
from ci_dispatch.reporters.slack.courier import Courier
from ci_dispatch.reporters.slack.edges import Memory
from ci_dispatch.reporters.slack.reporter import Context, Destination, SlackReporter, Warn, unfinished_key
from report_merge.model import RunContext


def clients(settings: SlackConfig, environ: Mapping[str, str]) -> list[tuple[SlackChannel, Carries]]:
    """Every place that is configured and has its secret; a webhook knows its own channel."""
    found: list[tuple[SlackChannel, Carries]] = []
    if token := environ.get(settings.token_env, "").strip():
        found += [(channel, BotClient(token, settings.api_url)) for channel in settings.channels]
    if not found and (url := environ.get(settings.webhook_env, "").strip()):
        rules = settings.channels[0] if settings.channels else SlackChannel()
        found.append((rules, WebhookPoster(url)))
    return found


def missing(settings: SlackConfig, environ: Mapping[str, str]) -> str:
    """Why Slack hears nothing although it is configured; empty when it does, or was not asked for."""
    token = environ.get(settings.token_env, "").strip()
    if token and not settings.channels:
        return f"{settings.token_env} is set and no channel is: add [[slack.channel]] with its id to ci-dispatch.toml"
    if settings.channels and not clients(settings, environ):
        return f"Slack channels are configured and neither {settings.token_env} nor {settings.webhook_env} is set"
    return ""


def open_slack(
    settings: SlackConfig,
    environ: Mapping[str, str],
    *,
    run: RunId,
    file: Path,
    context: Context,
    warn: Warn | None = None,
) -> SlackReporter | None:
    """The reporter for a run, or None where nothing is configured. `file` remembers what was told before.

    `warn` hears of trouble while the run goes on; without it, and after the end, `close` raises SlackTrouble.
    """
    memory = Memory.load(file)
    destinations = []
    for channel, client in clients(settings, environ):
        can_edit = isinstance(client, BotClient)
        place = memory.unfinished.get(unfinished_key(run, channel.id))
        head = Delivered(place.channel, place.ts) if place else None
        conversation = Conversation(channel.id if can_edit else "", run, interval=settings.interval, head=head)
        destinations.append(Destination(settings=channel, courier=Courier(conversation, client), can_edit=can_edit))
    if not destinations:
        return None
    return SlackReporter(destinations, memory, context=context, interval=settings.interval, warn=warn)


def send_sample(places: Iterable[tuple[SlackChannel, Carries]], title: str) -> Iterator[tuple[str, str]]:
    """Send a sample to each place; yields its name and why it was not delivered, empty when it was."""
    message = messages.sample(RunContext(title=title))
    for channel, client in places:
        name = channel.id if isinstance(client, BotClient) else "webhook"
        outcome = client.do(Post(channel.id, message, key="sample"))
        if isinstance(outcome, Unshowable):
            yield name, f"Slack refused our layout, runs will be told in plain text: {outcome.why}"
        else:
            yield name, getattr(outcome, "why", "")
