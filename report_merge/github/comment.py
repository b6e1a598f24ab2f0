"""One comment on the pull request, edited in place by every run: GitHub's REST API with the standard library.

https://docs.github.com/rest/issues/comments
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from report_merge.sanitize import one_line

PUBLIC_API = "https://api.github.com"
MAX_PAGES = 30
PAGE = 100
TIMEOUT = 15.0  # seconds for one answer
ANSWER_BYTES = 16 * 1024 * 1024
MAY_WRITE = ("OWNER", "MEMBER", "COLLABORATOR")


class NoComment(Exception):
    """The comment was not written; the message says why and what to try."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A token goes to no other address than the one it is for."""

    def redirect_request(self, *_: Any) -> None:
        return None


class PullRequest:
    """A pull request of the repository in GITHUB_REPOSITORY, with the token in GITHUB_TOKEN.

    Raises:
        NoComment: without a token, or when the API's address is neither https nor this computer.
    """

    def __init__(self, number: int, environ: Mapping[str, str]) -> None:
        self._number = number
        self._token = environ.get("GITHUB_TOKEN", "").strip()
        self._api = (environ.get("GITHUB_API_URL") or PUBLIC_API).rstrip("/")
        self._repository = environ.get("GITHUB_REPOSITORY", "")
        self._opener = urllib.request.build_opener(_NoRedirect)
        if not self._token:
            raise NoComment("there is no GITHUB_TOKEN; give the step `env: GITHUB_TOKEN: ${{ github.token }}`")
        address = urlsplit(self._api)
        if address.scheme != "https" and address.hostname not in ("127.0.0.1", "localhost", "::1"):
            raise NoComment(f"GITHUB_API_URL {self._api!r} is no https address, and a token goes nowhere else")

    def keep_comment(self, text: str) -> None:
        """Edit the comment that begins with the first line of `text`, a hidden marker; write it when there is none.

        Somebody else's copy of the marker is left alone. Raises NoComment.
        """
        marker = text.partition("\n")[0]
        ours = next((said for said in self._comments() if _ours(said, marker)), None)
        if ours is None:
            self._ask("POST", f"issues/{self._number}/comments", {"body": text})
        elif ours.get("body") != text:
            self._ask("PATCH", f"issues/comments/{int(ours['id'])}", {"body": text})

    def _comments(self) -> Iterator[dict[str, Any]]:
        for page in range(1, MAX_PAGES + 1):
            found = self._ask("GET", f"issues/{self._number}/comments?per_page={PAGE}&page={page}")
            comments = found if isinstance(found, list) else []
            yield from (one for one in comments if isinstance(one, dict))
            if len(comments) < PAGE:
                return

    def _ask(self, method: str, path: str, body: Mapping[str, str] | None = None) -> Any:
        request = urllib.request.Request(  # noqa: S310  https, or this computer
            f"{self._api}/repos/{self._repository}/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Accept": "application/vnd.github+json",
                "Authorization": f"Bearer {self._token}",
                "Content-Type": "application/json",
                "User-Agent": "report-merge",
                "X-GitHub-Api-Version": "2022-11-28",
            },
        )
        try:
            with self._opener.open(request, timeout=TIMEOUT) as answer:
                return json.loads(answer.read(ANSWER_BYTES))
        except urllib.error.HTTPError as error:
            with error:
                raise NoComment(_refused(error.code, one_line(error.read(2000).decode("utf-8", "replace")))) from None
        except (OSError, ValueError) as error:
            raise NoComment(f"GitHub did not answer as expected: {one_line(str(error))}") from None


def _ours(said: dict[str, Any], marker: str) -> bool:
    """Whether the marker stands in a comment of an app or of somebody who may write here: anybody can copy one."""
    user = said.get("user")
    is_app = isinstance(user, dict) and user.get("type") == "Bot"
    trusted = is_app or said.get("author_association") in MAY_WRITE
    return trusted and str(said.get("body") or "").startswith(marker) and isinstance(said.get("id"), int)


def _refused(status: int, words: str) -> str:
    hint = (
        "; give the job `permissions: pull-requests: write` (a pull request from a fork gets no token that may write)"
        if status in (401, 403, 404)
        else ""
    )
    return f"GitHub refused with status {status}: {words}{hint}"
