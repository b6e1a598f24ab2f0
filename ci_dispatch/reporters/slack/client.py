"""Calls to Slack and their outcomes. The one file that knows slack-sdk; a call never raises and is never sent twice.

slack-sdk's own retries are off: they would post twice after a lost answer, and wait as long as Slack says, blocking.
"""

from __future__ import annotations

import math
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from logging import NullHandler, getLogger
from typing import Any, Protocol, TypeAlias
from urllib.error import URLError

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.webhook import WebhookClient

from ci_dispatch.reporters.slack.blocks import SlackMessage
from report_merge.sanitize import one_line

TIMEOUT = 10  # seconds a call may take
_SILENT = getLogger("ci_dispatch.slack")  # slack-sdk would print into the terminal what the warning says
_SILENT.addHandler(NullHandler())
_SILENT.propagate = False

LONGEST_WAIT = 30.0  # seconds: Slack may ask for more, a run does not wait that long
_METADATA = "ci_dispatch_run"

_REMEDIES = {
    "not_in_channel": "invite the app to it: /invite @ci-dispatch",
    "channel_not_found": "give the channel's id (C...), and invite the app: /invite @ci-dispatch",
    "is_archived": "the channel is archived: name another one",
    "invalid_auth": "the token is not valid: make a new one on the app's page, OAuth & Permissions",
    "not_authed": "no token was sent: set the variable SLACK_BOT_TOKEN, or the one that slack.token_env names",
    "account_inactive": "the token belongs to a deleted user or workspace: install the app again",
    "token_revoked": "the token was revoked: install the app again",
    "token_expired": "the token has expired: install the app again",
    "missing_scope": "give the app the scope chat:write and install it again",
    "restricted_action": "the workspace does not let apps post there: ask an administrator",
    "no_service": "the webhook was removed: make a new one",
    "invalid_token": "the webhook's address is wrong: copy it again",
    "no_text": "this is a bug of ci-dispatch: report it",
}
_BLOCKS_REFUSED = (
    "invalid_blocks",
    "invalid_blocks_format",
    "msg_blocks_too_long",
    "msg_too_long",
    "invalid_attachments",
)
_GONE = ("message_not_found", "cant_update_message", "edit_window_closed")
_BUSY = ("ratelimited", "rate_limited", "service_unavailable", "internal_error", "fatal_error", "request_timeout")


@dataclass(frozen=True, slots=True)
class Post:
    """A new message; `key` identifies it when the answer was lost and it must be looked for."""

    channel: str
    message: SlackMessage
    key: str
    thread_ts: str = ""


@dataclass(frozen=True, slots=True)
class Update:
    """An edit: sent twice it is the same."""

    channel: str
    ts: str
    message: SlackMessage


@dataclass(frozen=True, slots=True)
class Find:
    """A search for a message whose answer was lost."""

    post: Post


SlackCall: TypeAlias = Post | Update | Find


@dataclass(frozen=True, slots=True)
class Delivered:
    channel: str
    ts: str


@dataclass(frozen=True, slots=True)
class RetryLater:
    """It was not accepted, and may be sent again after `seconds`."""

    seconds: float
    why: str


@dataclass(frozen=True, slots=True)
class Unanswered:
    """It was sent and no answer came: it may be there or not."""

    why: str


@dataclass(frozen=True, slots=True)
class NotFound:
    """A message that was looked for is not there."""


@dataclass(frozen=True, slots=True)
class BlocksRefused:
    """The blocks were refused, not the message."""

    why: str


@dataclass(frozen=True, slots=True)
class MessageGone:
    """The message cannot be edited any more."""

    why: str


@dataclass(frozen=True, slots=True)
class SlackRefused:
    """It will never be accepted; `why` says what to do."""

    why: str


CallOutcome: TypeAlias = Delivered | RetryLater | Unanswered | NotFound | BlocksRefused | MessageGone | SlackRefused


class SlackClient(Protocol):
    """Sends calls; the tests have one that needs no network."""

    def do(self, call: SlackCall) -> CallOutcome: ...


class BotClient:
    """Sends as an app with a bot token."""

    def __init__(self, token: str, base_url: str, timeout: int = TIMEOUT) -> None:
        self._web = WebClient(token=token, base_url=base_url, timeout=timeout, retry_handlers=[], logger=_SILENT)

    def do(self, call: SlackCall) -> CallOutcome:
        try:
            match call:
                case Post():
                    answer = self._web.chat_postMessage(
                        channel=call.channel, text=call.message.text, blocks=list(call.message.blocks),
                        thread_ts=call.thread_ts or None, unfurl_links=False, unfurl_media=False,
                        metadata={"event_type": _METADATA, "event_payload": {"key": call.key}},
                    )  # fmt: skip
                case Update():
                    answer = self._web.chat_update(
                        channel=call.channel, ts=call.ts, text=call.message.text, blocks=list(call.message.blocks)
                    )
                case Find():
                    return self._find(call.post)
            return Delivered(str(answer.get("channel")), str(answer.get("ts")))
        except SlackApiError as error:
            return _refusal(error, call)
        except (OSError, SlackClientError, ValueError) as error:  # http.client's errors of a cut answer are OSErrors
            return _no_answer(error, call)

    def _find(self, post: Post) -> CallOutcome:
        """Needs the scope channels:history, for this alone; without it a lost message is not sent again."""
        if post.thread_ts:
            answer = self._web.conversations_replies(
                channel=post.channel, ts=post.thread_ts, limit=50, include_all_metadata=True
            )
        else:
            answer = self._web.conversations_history(channel=post.channel, limit=50, include_all_metadata=True)
        for message in answer.get("messages") or []:
            payload = (message.get("metadata") or {}).get("event_payload") or {}
            if payload.get("key") == post.key:
                return Delivered(post.channel, str(message["ts"]))
        return NotFound()


class WebhookPoster:
    """Posts through an incoming webhook: new messages only, none can be edited, looked for or answered."""

    def __init__(self, url: str, timeout: int = TIMEOUT) -> None:
        self._hook = WebhookClient(url, timeout=timeout, retry_handlers=[], logger=_SILENT)

    def do(self, call: SlackCall) -> CallOutcome:
        if isinstance(call, Find):
            return Unanswered("a webhook cannot look for messages")
        try:
            answer = self._hook.send(text=call.message.text, blocks=list(call.message.blocks))
        except (OSError, SlackClientError, ValueError) as error:
            return _no_answer(error, call)
        if answer.status_code == 200:
            return Delivered("", "")
        return _judge(answer.status_code, one_line(answer.body, 200), "", answer.headers, call)


def _refusal(error: SlackApiError, call: SlackCall) -> CallOutcome:
    response = error.response
    if isinstance(response, dict):  # what slack-sdk makes of an answer that is not JSON
        return _judge(int(response.get("status", 0)), "", "", response.get("headers") or {}, call)
    body = response.data if isinstance(response.data, dict) else {}
    messages = (body.get("response_metadata") or {}).get("messages") or []
    shown = [one_line(str(message), 200) for message in messages[:3]]
    detail = "; ".join(shown + ([f"and {len(messages) - 3} more"] if len(messages) > 3 else []))
    return _judge(response.status_code, str(body.get("error") or ""), detail, response.headers, call)


def _judge(status: int, error: str, detail: str, headers: Mapping[str, Any], call: SlackCall) -> CallOutcome:
    what = one_line(f"{error or f'HTTP {status}'}{f' ({detail})' if detail else ''}", 400)
    if status == 429 or error in ("ratelimited", "rate_limited"):
        return RetryLater(_retry_after(headers), "Slack limits the rate")
    if status >= 500 or error in _BUSY:
        what = f"HTTP {status}" if status >= 500 else error
        return (
            Unanswered(f"Slack answered {what}")
            if isinstance(call, Post)
            else RetryLater(2.0, f"Slack answered {what}")
        )
    if isinstance(call, Find):
        return Unanswered(what)
    if error in _BLOCKS_REFUSED:
        return BlocksRefused(what)
    if error in _GONE:
        return MessageGone(what)
    remedy = _REMEDIES.get(error, "see https://docs.slack.dev/reference/methods/chat.postMessage")
    return SlackRefused(f"{what}: {remedy}")


def _no_answer(error: Exception, call: SlackCall) -> CallOutcome:
    reason = error.reason if isinstance(error, URLError) else error
    why = one_line(str(reason), 200) or type(reason).__name__
    if isinstance(reason, ssl.SSLCertVerificationError):
        return SlackRefused(f"{why}: Slack's address does not show a certificate this computer trusts")
    never_sent = isinstance(reason, (ConnectionRefusedError, socket.gaierror))
    return (
        Unanswered(why)
        if isinstance(call, Post) and not never_sent
        else RetryLater(2.0, f"Slack cannot be reached: {why}")
    )


def _retry_after(headers: Mapping[str, Any]) -> float:
    """Seconds to wait, within reason, whatever the header says."""
    value = next((value for name, value in headers.items() if str(name).lower() == "retry-after"), None)
    try:
        seconds = float(value[0] if isinstance(value, list) else value)  # type: ignore[arg-type]
    except (TypeError, ValueError, IndexError):
        seconds = 5.0
    return min(LONGEST_WAIT, max(1.0, seconds)) if math.isfinite(seconds) else LONGEST_WAIT
