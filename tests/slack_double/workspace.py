"""The messages of a workspace, and the Web API methods on them."""

from __future__ import annotations

import json
import time
from collections import defaultdict, deque
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from tests.slack_double.limits import problems

Answer = dict[str, Any]


@dataclass
class Message:
    channel: str
    ts: str
    text: str
    blocks: list[dict[str, Any]]
    thread_ts: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    edits: list[tuple[str, list[dict[str, Any]]]] = field(default_factory=list)  # earlier forms, oldest first

    @property
    def header(self) -> str:
        return next((str(block["text"]["text"]) for block in self.blocks if block["type"] == "header"), "")

    @property
    def shown(self) -> str:
        """All text of it, as a reader sees it."""
        return json.dumps([self.text, self.blocks], ensure_ascii=False)


class Refusal(Exception):
    """`ok: false`."""

    def __init__(self, error: str, messages: list[str] | None = None) -> None:
        super().__init__(error)
        self.error = error
        self.messages = messages or []


class TooFast(Exception):
    def __init__(self, retry_after: int) -> None:
        super().__init__(str(retry_after))
        self.retry_after = retry_after


class Workspace:
    """Channels and their messages. Rates: one post a second and channel, `updates_per_minute` edits in all."""

    def __init__(self) -> None:
        self.token = "xoxb-good"
        self.scopes = {"chat:write", "channels:history"}
        self.channels = {"C0CI": "ci", "C0OTHER": "other"}
        self.joined = {"C0CI", "C0OTHER"}
        self.messages: list[Message] = []
        self.seconds_between_posts = 1.0  # documented as 1; bursts are not promised
        self.updates_per_minute = 50
        self._posts: dict[str, float] = {}
        self._updates: deque[float] = deque()
        self._lock = Lock()
        self._next_ts = 1_700_000_000.0
        self.refused: dict[str, int] = defaultdict(int)

    def call(self, method: str, token: str, body: dict[str, Any]) -> Answer:
        """One Web API method; raises Refusal or TooFast."""
        if token != self.token:
            raise Refusal("invalid_auth" if token else "not_authed")
        with self._lock:
            match method:
                case "auth.test":
                    return {"ok": True, "user": "ci-dispatch", "team": "T"}
                case "chat.postMessage":
                    return self._post(body)
                case "chat.update":
                    return self._update(body)
                case "conversations.history":
                    return self._read(body, thread="")
                case "conversations.replies":
                    return self._read(body, thread=str(body.get("ts", "")))
        raise Refusal("unknown_method")

    def webhook(self, body: dict[str, Any]) -> None:
        """A post into the channel the webhook belongs to."""
        with self._lock:
            self._check(str(body.get("text", "")), _blocks(body))
            self._pace("C0CI")
            self._keep("C0CI", body)

    def thread(self, parent: Message) -> list[Message]:
        return [message for message in self.messages if message.thread_ts == parent.ts]

    def parents(self, channel: str = "C0CI") -> list[Message]:
        return [message for message in self.messages if not message.thread_ts and message.channel == channel]

    def _post(self, body: dict[str, Any]) -> Answer:
        channel = self._channel(body)
        self._check(str(body.get("text", "")), _blocks(body))
        thread = str(body.get("thread_ts") or "")
        if thread and not any(message.ts == thread for message in self.messages):
            raise Refusal("thread_not_found")
        self._pace(channel)
        message = self._keep(channel, body, thread)
        return {"ok": True, "channel": channel, "ts": message.ts, "message": {"text": message.text}}

    def _update(self, body: dict[str, Any]) -> Answer:
        channel = str(body.get("channel", ""))
        if channel not in self.channels:
            raise Refusal("channel_not_found")  # names are not taken here
        found = [m for m in self.messages if m.channel == channel and m.ts == body.get("ts")]
        if not found:
            raise Refusal("message_not_found")
        self._check(str(body.get("text", "")), _blocks(body))
        now = time.monotonic()
        while self._updates and now - self._updates[0] > 60:
            self._updates.popleft()
        if len(self._updates) >= self.updates_per_minute:
            raise TooFast(10)
        self._updates.append(now)
        message = found[0]
        message.edits.append((message.text, message.blocks))
        message.text, message.blocks = str(body.get("text", "")), _blocks(body)
        return {"ok": True, "channel": channel, "ts": message.ts, "text": message.text}

    def _read(self, body: dict[str, Any], thread: str) -> Answer:
        if "channels:history" not in self.scopes:
            raise Refusal("missing_scope")
        channel = str(body.get("channel", ""))
        if channel not in self.channels:
            raise Refusal("channel_not_found")
        found = [m for m in self.messages if m.channel == channel and m.thread_ts == thread]
        shown = [{"ts": m.ts, "text": m.text, "metadata": m.metadata} for m in reversed(found)]
        return {"ok": True, "messages": shown[: int(body.get("limit") or 100)]}

    def _channel(self, body: dict[str, Any]) -> str:
        asked = str(body.get("channel", ""))
        channel = next((c for c, name in self.channels.items() if asked in (c, name, f"#{name}")), "")
        if not channel:
            raise Refusal("channel_not_found")
        if channel not in self.joined:
            raise Refusal("not_in_channel")
        return channel

    def _check(self, text: str, blocks: list[dict[str, Any]]) -> None:
        error, messages = problems(text, blocks)
        if error:
            self.refused[error] += 1
            raise Refusal(error, messages)

    def _pace(self, channel: str) -> None:
        now = time.monotonic()
        if now - self._posts.get(channel, float("-inf")) < self.seconds_between_posts:
            raise TooFast(1)
        self._posts[channel] = now

    def _keep(self, channel: str, body: dict[str, Any], thread: str = "") -> Message:
        self._next_ts += 1
        metadata = body.get("metadata") or {}
        message = Message(
            channel=channel,
            ts=f"{self._next_ts:.6f}",
            text=str(body.get("text", "")),
            blocks=_blocks(body),
            thread_ts=thread,
            metadata=json.loads(metadata) if isinstance(metadata, str) else metadata,
        )
        self.messages.append(message)
        return message


def _blocks(body: dict[str, Any]) -> list[dict[str, Any]]:
    blocks = body.get("blocks") or []
    try:
        return list(json.loads(blocks)) if isinstance(blocks, str) else list(blocks)
    except ValueError as error:
        raise Refusal("invalid_blocks_format") from error
