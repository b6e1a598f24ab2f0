"""GitHub's REST API over PyGithub: the only file that imports it. `api.py` has the calls.

Two PyGithub clients with one token. The reader repeats a GET on 5xx and broken connections, three times within four
seconds. The writer repeats nothing: PyGithub's default would send a POST up to eleven times behind a 502, and each may
start a run. Rate limits are never waited out in here: they become `RateLimited`, and the one loop decides how to wait.

Each call goes through PyGithub's own methods (`ask`, `send`), or through its requester (`read`, `redirect`, `post`)
where docs/decisions.md says why. One client must not be used by two threads at once (measured: answers get mixed up).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar
from urllib.parse import quote

import github
import github.Repository
import requests
from urllib3 import Retry

from ci_dispatch.core.errors import GitHubRefused
from ci_dispatch.fleets.actions.rest.errors import Unavailable, refusal
from ci_dispatch.fleets.actions.rest.models import view
from ci_dispatch.fleets.actions.rest.server import Server

TIMEOUT = 10  # seconds for one answer
RETRIES = 3
BACKOFF = 0.5  # seconds; doubles
WRITE_PAUSE = 1.0  # seconds between writes, as GitHub asks
PAGE = 100  # the largest that GitHub gives

Repository: TypeAlias = github.Repository.Repository  # what `ask` and `send` work with
Result = TypeVar("Result")
View = TypeVar("View")


@dataclass(frozen=True, slots=True, kw_only=True)
class RestRequest:
    """A request of our own. `what` is what did not happen when it fails, `permission` what the token needs for it."""

    what: str
    path: str  # below the repository; from the root when it begins with /orgs/ or /repos/
    permission: str = "actions: read"
    parameters: Mapping[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RestResponse:
    status: int
    headers: Mapping[str, str]  # lower-case names
    text: str


class RestClient:
    """One repository on one server. `sent` counts every request that went out, repeats included."""

    def __init__(self, server: Server, token: str, repository: str, *, write_pause: float = WRITE_PAUSE) -> None:
        self.sent = 0
        self.server, self.repository = server, repository
        self._seen: dict[str, tuple[str, Any]] = {}  # path, parameters and type -> ETag and value
        common: dict[str, Any] = {
            "auth": _CountedToken(token, self._count),
            "base_url": server.api_url,
            "timeout": TIMEOUT,
            "user_agent": "ci-dispatch",
            "per_page": PAGE,
            "seconds_between_requests": None,
            "api_version": server.api_version,
            "lazy": True,  # a repository, workflow or issue is only an address until something of it is asked for
        }
        self._reader = github.Github(retry=_reading(self._count), seconds_between_writes=None, **common)
        self._writer = github.Github(retry=None, seconds_between_writes=write_pause or None, **common)

    def close(self) -> None:
        self._reader.close()
        self._writer.close()

    @property
    def remaining(self) -> int | None:
        """What was left of the token's rate limit at the last reading answer; None: the server names none."""
        left: int = self._reader.requester.rate_limiting[0]
        return left if left >= 0 else None

    # -- through PyGithub's methods ---------------------------------------------------------------------------------

    def ask(self, what: str, permission: str, use: Callable[[Repository], Result]) -> Result:
        """What `use` reads of the repository; it must be done with PyGithub's objects when it returns."""
        return self._through(self._reader, what, permission, use)

    def send(self, what: str, permission: str, use: Callable[[Repository], Result]) -> Result:
        """What `use` writes to the repository, sent once."""
        return self._through(self._writer, what, permission, use)

    def _through(
        self, client: github.Github, what: str, permission: str, use: Callable[[Repository], Result]
    ) -> Result:
        with self._errors(what):
            try:
                return use(client.get_repo(quote(self.repository)))
            except github.IncompletableObject as error:  # it was to be read once more, and has no address
                raise ValueError(str(error)) from error
            except github.GithubException as error:
                body = error.data if isinstance(error.data, dict) else {}
                message = str(body.get("message") or body.get("data") or error.data)  # "data": it was no JSON
                raise _refusal(what, permission, error.status, message, error.headers or {}) from error
            except (github.BadAttributeException, KeyError, TypeError, AttributeError) as error:
                raise ValueError(repr(error)) from error

    # -- through its requester --------------------------------------------------------------------------------------

    def read(self, request: RestRequest, kind: type[View]) -> View:
        """The answer to a GET, as a `kind`. Asks with the last answer's ETag: "not changed" costs nothing on GitHub."""
        key = f"{request.path}?{sorted(request.parameters.items())}{kind.__name__}"
        etag, known = self._seen.get(key, ("", None))
        response = self._request(self._reader, "GET", request, {"If-None-Match": etag} if etag else {})
        if response.status == 304:
            seen: View = known
            return seen
        with self._errors(request.what):
            value = view(kind, _parsed(request.what, response.text))
        if response.headers.get("etag"):
            self._seen[key] = (response.headers["etag"], value)
        return value

    def redirect(self, request: RestRequest) -> str:
        """Where a GET redirects to; the redirect is not followed: our token must not go there."""
        location = self._request(self._reader, "GET", request, {}).headers.get("location", "")
        if not location:
            raise Unavailable(request.what, why="GitHub did not say where it is")
        return location

    def post(self, request: RestRequest) -> None:
        """A POST without a body, sent once."""
        if text := self._request(self._writer, "POST", request, {}).text:
            _parsed(request.what, text)

    def _request(
        self, client: github.Github, method: str, request: RestRequest, headers: Mapping[str, str]
    ) -> RestResponse:
        at_the_root = request.path.startswith(("/orgs/", "/repos/"))
        url = request.path if at_the_root else f"/repos/{quote(self.repository)}{request.path}"
        with self._errors(request.what):
            status, answered, text = client.requester.requestJson(method, url, dict(request.parameters), dict(headers))
        if status < 400:
            return RestResponse(status, answered, text)
        try:
            message = str(json.loads(text).get("message") or text)
        except (ValueError, AttributeError):
            message = text
        raise _refusal(request.what, request.permission, status, message, answered)

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        """No answer, and one that is not what was asked for, are both `Unavailable`."""
        try:
            yield
        except (requests.RequestException, OSError, RuntimeError) as error:
            raise Unavailable(what, why=f"no answer from {self.server.api_url}: {_innermost(error)}") from error
        except ValueError as error:
            raise Unavailable(what, why=f"the answer is not what GitHub describes: {error}") from error

    def _count(self) -> None:
        self.sent += 1


class _CountedToken(github.Auth.Token):
    """PyGithub puts the token into every request it sends: there they are counted, those of lists and objects too."""

    def __init__(self, token: str, counted: Callable[[], None]) -> None:
        super().__init__(token)
        self._counted = counted

    def authentication(self, headers: dict[str, Any]) -> None:
        self._counted()
        super().authentication(headers)


class _CountedRetry(Retry):
    """Counts what is sent again: the request budget is about requests, not about calls."""

    counted: Callable[[], None] = staticmethod(lambda: None)

    def increment(self, *args: Any, **kwargs: Any) -> _CountedRetry:
        again = super().increment(*args, **kwargs)
        self.counted()
        return again

    def new(self, **kwargs: Any) -> _CountedRetry:
        again = super().new(**kwargs)
        again.counted = self.counted
        return again


def _reading(counted: Callable[[], None]) -> Retry:
    retry = _CountedRetry(
        total=RETRIES,
        backoff_factor=BACKOFF,
        allowed_methods={"GET"},
        status_forcelist=range(500, 600),
        respect_retry_after_header=False,  # it may be an hour: the loop waits, not the socket
        raise_on_status=False,
    )
    retry.counted = counted
    return retry


def _refusal(what: str, permission: str, status: int, message: str, headers: Mapping[str, Any]) -> GitHubRefused:
    return refusal(what, status, " ".join(message.split())[:500], headers, permission=permission)


def _parsed(what: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise Unavailable(what, why="the answer is not JSON: a proxy or a maintenance page answered") from error


def _innermost(error: BaseException) -> str:
    """urllib3 wraps errors three deep, with object addresses; the innermost one is for people."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return str(error) or type(error).__name__
