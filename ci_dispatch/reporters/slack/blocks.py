"""Slack's Block Kit as plain data, each piece within its own limit (https://docs.slack.dev/reference/block-kit/blocks).

Foreign text goes into `plain_text` and `rich_text`, where nothing is markup: a test named `<!channel>` pings nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from report_merge.sanitize import one_line, printable

Block: TypeAlias = dict[str, Any]

HEADER_LIMIT = 150  # characters
FIELD_LIMIT = 2000
MESSAGE_CHARACTERS = 10_000  # of all blocks; Slack refuses about 13,200 (slackapi/bolt-js#2509)


@dataclass(frozen=True, slots=True)
class SlackMessage:
    """What is shown, and the one sentence for notifications and screen readers."""

    text: str
    blocks: tuple[Block, ...] = ()

    @property
    def characters(self) -> int:
        """Of all texts inside the blocks, as Slack counts them."""
        return sum(len(text) for block in self.blocks for text in _texts(block))

    def plainer(self) -> SlackMessage:
        """The same for a Slack that refuses our blocks: the sentence, and the headline."""
        return SlackMessage(self.text, tuple(block for block in self.blocks if block["type"] == "header"))


def mrkdwn(text: str) -> str:
    """Slack's markup: with these three escaped no mention, link or channel is left (https://docs.slack.dev/messaging/formatting-message-text)."""
    return printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def sentence(text: str) -> str:
    """The notification text: one line of markup in which nothing foreign is markup."""
    return mrkdwn(one_line(text, 1000))


def header(text: str) -> Block:
    return {"type": "header", "text": _plain_text(text, HEADER_LIMIT)}


def context(parts: Iterable[str]) -> Block:
    """Small grey text: the parts that are not empty, joined by dots."""
    text = " · ".join(part for part in parts if part)
    return {"type": "context", "elements": [_plain_text(text or "-", FIELD_LIMIT)]}


def fields(numbers: Sequence[tuple[str, str]]) -> Block:
    """Up to eight labelled values, two in a row."""
    shown = [
        {"type": "mrkdwn", "text": f"*{mrkdwn(label)}*\n{mrkdwn(one_line(value, 200))}"} for label, value in numbers
    ]
    return {"type": "section", "fields": shown[:8]}


def links(buttons: Iterable[tuple[str, str]]) -> Block | None:
    """Buttons that open an address, which need no server of ours. None without an address."""
    shown = [
        {"type": "button", "text": _plain_text(label, 75), "url": url}
        for label, url in buttons
        if url.startswith(("https://", "http://")) and len(url) <= 3000
    ]
    return {"type": "actions", "elements": shown} if shown else None


def rich(*elements: Block) -> Block:
    return {"type": "rich_text", "elements": list(elements)}


def section(*elements: Block) -> Block:
    return {"type": "rich_text_section", "elements": list(elements)}


def bullets(sections: Iterable[Block]) -> Block:
    return {"type": "rich_text_list", "style": "bullet", "elements": list(sections)}


def preformatted(text: str) -> Block:
    return {"type": "rich_text_preformatted", "elements": [text_of(printable(text) or " ")]}


def text_of(text: str, *, bold: bool = False, code: bool = False) -> Block:
    """A piece of rich text; line ends stay, nothing else is more than a character."""
    element: Block = {"type": "text", "text": printable(text) or " "}
    style = {name: True for name, wanted in (("bold", bold), ("code", code)) if wanted}
    return {**element, "style": style} if style else element


def name(text: str, limit: int = 150) -> Block:
    """A foreign name, in the type of code."""
    return text_of(one_line(text, limit) or "(no name)", code=True)


def mentions(mentioned: Sequence[str]) -> Block:
    """The people, groups and `here`/`channel` of the configuration: the only mentions there are."""
    elements: list[Block] = []
    for one in mentioned:
        if one in ("here", "channel", "everyone"):
            elements.append({"type": "broadcast", "range": one})
        elif one.startswith("S"):
            elements.append({"type": "usergroup", "usergroup_id": one})
        else:
            elements.append({"type": "user", "user_id": one})
        elements.append({"type": "text", "text": " "})
    return section(*elements)


def _plain_text(text: str, limit: int) -> Block:
    return {"type": "plain_text", "text": one_line(text, limit) or "-", "emoji": False}


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, dict):
        if isinstance(value.get("text"), str):
            yield value["text"]
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
