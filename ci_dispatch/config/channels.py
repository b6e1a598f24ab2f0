"""The settings of the channels that tell about a run, each declared once: Slack, metrics, dashboard."""
# ruff: noqa: RUF009, FBT003  (a setting's default is an argument of its declaration; `setting` gives a dataclass field)

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from ci_dispatch.config.kinds import boolean, choice, duration, integer, text, texts, variable
from ci_dispatch.config.setting import setting

HOST = r"[A-Za-z0-9_\[][A-Za-z0-9_.:%\]-]*|"  # never begins with a dash: it is an argument of ssh
URL = r"https?://[^\s]+|"


class When(StrEnum):
    ALWAYS = "always"
    FAILURE = "failure"
    CHANGE = "change"
    FAILURE_AND_RECOVERY = "failure-and-recovery"


@dataclass(frozen=True, slots=True, kw_only=True)
class SlackChannel:
    """A place in Slack that hears about runs."""

    id: str = setting(
        "",
        text(r"[CGDU][A-Z0-9]{2,}|#[^\s,]+|", "a channel's id (C0123456789) or #name"),
        "The channel's id (C0123456789) or #name.",
    )
    when: When = setting(
        When.ALWAYS, choice(When), "Which runs it hears about; change: when the verdict is another than last time."
    )
    branches: tuple[str, ...] = setting(
        (), texts(), "Only runs of branches that match one of these patterns. Empty: all."
    )
    live: bool = setting(True, boolean(), "Keep the message up to date while the run goes on.")
    thread: bool = setting(True, boolean(), "Answer it with one message for each group of failures.")
    mention: tuple[str, ...] = setting(
        (), texts(), "Whom to mention when a run breaks what was whole: user or group ids, or here."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Slack:
    """Messages in Slack. Secrets come from the environment only."""

    token_env: str = setting("SLACK_BOT_TOKEN", variable(), "Variable that holds the bot token (xoxb-...).")
    webhook_env: str = setting(
        "SLACK_WEBHOOK_URL",
        variable(),
        "Variable that holds a webhook's URL: one message at the end, no live progress.",
    )
    api_url: str = setting(
        "https://slack.com/api/",
        text(URL, "a URL beginning with https://"),
        "Another address of Slack's API, for tests and proxies.",
    )
    interval: float = setting(5.0, duration(1, 600), "Shortest time between two edits of a message.")
    required: bool = setting(False, boolean(), "A message that could not be delivered fails the run.")
    channels: tuple[SlackChannel, ...] = field(default=())  # [[slack.channel]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Figures for Prometheus and OpenTelemetry; every run also writes metrics.prom into its own folder."""

    file: str = setting(
        "", text(r".*\.prom|", "a file name that ends in .prom"), "A further file, for node_exporter's textfile folder."
    )
    slowest_tests: int = setting(
        0, integer(0, 1000), "Give the slowest and flakiest tests series of their own, at most this many."
    )
    otlp_endpoint: str = setting(
        "",
        text(URL, "a URL beginning with https:// or http://"),
        "Send spans there by OTLP over HTTP; needs ci-dispatch[otel].",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """The web page of a run; needs ci-dispatch[dashboard]."""

    enabled: bool = setting(False, boolean(), "Serve it during every run.", flag="--dashboard")
    host: str = setting(
        "127.0.0.1",
        text(HOST, "a host name or an address"),
        "Address to listen on. Anything but this computer's own is reachable by others.",
        flag="--dashboard-host",
    )
    port: int = setting(0, integer(0, 65535), "Port to listen on. 0: any free one.", flag="--dashboard-port")
