"""GitHub's REST API over PyGithub: the only file that imports it. `api.py` has the calls.

Two clients with one token. The reader repeats a GET on 5xx and broken connections, three times within four seconds.
The writer repeats nothing: PyGithub's default would send a POST up to eleven times behind a 502, and each may start
a run. Rate limits are never waited out in here: they become `RateLimited`, and the one loop decides how to wait.

Requests go through `Requester.requestJson`, whose answers are complete: no lazy objects that fire requests later, no
bare `False` for 409 and 422. One object must not be used by two threads at once (measured: answers get mixed up).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import github
import requests
from urllib3 import Retry

from ci_dispatch.core.errors import GitHubRefused
from ci_dispatch.fleets.actions.rest.errors import Unavailable, refusal
from ci_dispatch.fleets.actions.rest.server import Dialect

TIMEOUT = 10  # seconds for one answer
RETRIES = 3
BACKOFF = 0.5  # seconds; doubles
WRITE_PAUSE = 1.0  # seconds between writes, as GitHub asks


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request; `what` is what did not happen when it fails, `permission` what the token needs for it."""

    what: str
    url: str
    permission: str = "actions: read"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]  # lower-case names
    text: str


class Client:
    """`sent` counts everything that went out, repeats included; `remaining` is the token's rate limit as last told."""

    def __init__(self, dialect: Dialect, token: str, *, write_pause: float = WRITE_PAUSE) -> None:
        self.sent = 0
        self.remaining: int | None = None
        self._api = dialect.api_url
        self._seen: dict[str, tuple[str, Any]] = {}  # URL and parameters -> ETag and body
        common: dict[str, Any] = {
            "auth": github.Auth.Token(token),
            "base_url": dialect.api_url,
            "timeout": TIMEOUT,
            "user_agent": "ci-dispatch",
            "seconds_between_requests": None,
            "api_version": dialect.api_version,
            "lazy": True,
        }
        self._reader = github.Github(retry=_reading(self._count), seconds_between_writes=None, **common)
        self._writer = github.Github(retry=None, seconds_between_writes=write_pause or None, **common)

    def close(self) -> None:
        self._reader.close()
        self._writer.close()

    def read(self, call: Call) -> Any:
        """The JSON of a GET. Asks with the ETag of the last answer: "not changed" costs nothing on GitHub."""
        key = f"{call.url}?{sorted(call.parameters.items())}"
        etag, body = self._seen.get(key, ("", None))
        answer = self._ask(self._reader, "GET", call, {"If-None-Match": etag} if etag else {})
        if answer.status == 304:
            return body
        body = _parsed(call.what, answer.text)
        if answer.headers.get("etag"):
            self._seen[key] = (answer.headers["etag"], body)
        return body

    def address(self, call: Call) -> str:
        """Where a GET redirects to; the redirect is not followed: our token must not go there."""
        location = self._ask(self._reader, "GET", call, {}).headers.get("location", "")
        if not location:
            raise Unavailable(call.what, why="GitHub did not say where it is")
        return location

    def write(self, call: Call, method: str = "POST") -> Any:
        """One POST or PATCH, sent once."""
        text = self._ask(self._writer, method, call, {}).text
        return _parsed(call.what, text) if text else None

    def _ask(self, client: github.Github, method: str, call: Call, headers: Mapping[str, str]) -> Answer:
        self._count()
        try:
            status, told, text = client.requester.requestJson(
                method, call.url, dict(call.parameters), dict(headers), call.body
            )
        except (requests.RequestException, github.GithubException, OSError, RuntimeError) as error:
            raise Unavailable(call.what, why=f"no answer from {self._api}: {_innermost(error)}") from error
        left = told.get("x-ratelimit-remaining", "")
        self.remaining = int(left) if left.isdecimal() else self.remaining
        if status >= 400:
            raise _refusal(call, status, text, told)
        return Answer(status, told, text)

    def _count(self) -> None:
        self.sent += 1


class _Counting(Retry):
    """Counts what is sent again: the request budget is about requests, not about calls."""

    counted: Callable[[], None] = staticmethod(lambda: None)

    def increment(self, *args: Any, **kwargs: Any) -> _Counting:
        again = super().increment(*args, **kwargs)
        self.counted()
        return again

    def new(self, **kwargs: Any) -> _Counting:
        again = super().new(**kwargs)
        again.counted = self.counted
        return again


def _reading(counted: Callable[[], None]) -> Retry:
    retry = _Counting(
        total=RETRIES,
        backoff_factor=BACKOFF,
        allowed_methods={"GET"},
        status_forcelist=range(500, 600),
        respect_retry_after_header=False,  # it may be an hour: the loop waits, not the socket
        raise_on_status=False,
    )
    retry.counted = counted
    return retry


def _refusal(call: Call, status: int, text: str, headers: Mapping[str, str]) -> GitHubRefused:
    try:
        message = str(json.loads(text).get("message") or text)
    except (ValueError, AttributeError):
        message = text
    return refusal(call.what, status, " ".join(message.split())[:500], headers, permission=call.permission)


def _parsed(what: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise Unavailable(what, why="the answer is not JSON: a proxy or a maintenance page spoke") from error


def _innermost(error: BaseException) -> str:
    """urllib3 wraps errors three deep, with object addresses; the innermost one is for people."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return str(error) or type(error).__name__
