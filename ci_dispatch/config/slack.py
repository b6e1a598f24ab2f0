"""The settings of messages in Slack."""
# ruff: noqa: RUF009, FBT003  (a setting's default is an argument of its declaration; `setting` gives a dataclass field)

from __future__ import annotations

from dataclasses import dataclass, field

from ci_dispatch.config.choices import When
from ci_dispatch.config.setting import setting
from ci_dispatch.config.value_types import address, boolean, choice, duration, text, texts, variable


@dataclass(frozen=True, slots=True, kw_only=True)
class SlackChannel:
    """A Slack channel that gets messages about runs."""

    id: str = setting(
        "",
        text(r"[CGDU][A-Z0-9]{2,}|#[^\s,]+|", "a channel's id (C0123456789) or #name"),
        "The channel's id (C0123456789) or #name.",
    )
    when: When = setting(
        When.ALWAYS,
        choice(When),
        "Which runs it gets messages about; change: when the verdict differs from the last one.",
    )
    branches: tuple[str, ...] = setting(
        (), texts(), "Only runs of branches that match one of these patterns. Empty: all."
    )
    live: bool = setting(True, boolean(), "Keep the message up to date while the run goes on.")
    thread: bool = setting(True, boolean(), "Answer it with one message for each group of failures.")
    mention: tuple[str, ...] = setting(
        (), texts(), "Whom to mention when a run fails after one that passed: user or group ids, or here."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SlackConfig:
    """Messages in Slack. Secrets come from the environment only."""

    token_env: str = setting(
        "SLACK_BOT_TOKEN",
        variable(),
        "Variable that holds the bot token (xoxb-...).",
        from_file=("SLACK_BOT_TOKEN", "SLACK_TOKEN"),
    )
    webhook_env: str = setting(
        "SLACK_WEBHOOK_URL",
        variable(),
        "Variable that holds a webhook's URL: one message at the end, no live progress.",
        from_file=("SLACK_WEBHOOK_URL", "SLACK_WEBHOOK"),
    )
    api_url: str = setting(
        "https://slack.com/api/", address(), "Another address of Slack's API, for tests and proxies.", from_file=()
    )
    interval: float = setting(5.0, duration(1, 600), "Shortest time between two edits of a message.")
    required: bool = setting(False, boolean(), "A message that could not be delivered fails the run.")
    channels: tuple[SlackChannel, ...] = field(default=())  # [[slack.channel]]
