"""What can go wrong with a request to GitHub, as errors that say what to do about it."""

from __future__ import annotations

import time
from collections.abc import Mapping

from ci_dispatch.core.errors import GitHubRefused

SECONDARY_WAIT = 60.0  # seconds, when GitHub does not say how long
_ADMISSION = "x-accepted-github-permissions"

PERMISSION_HELP = {
    "actions: write": "in a workflow, give the job `permissions: actions: write`; from your desk, a fine-grained "
    "token with Actions: read and write (classic: scope repo). Pull requests from forks never get it",
    "actions: read": "in a workflow, give the job `permissions: actions: read`; from your desk, a fine-grained token "
    "with Actions: read (classic: scope repo)",
    "pull-requests: write": "in a workflow, give the job `permissions: pull-requests: write`; from elsewhere, a "
    "fine-grained token with Pull requests: read and write (classic: scope repo)",
    "metadata: read": "give a token that can see the repository",
    "contents: read": "in a workflow, give the job `permissions: contents: read`; from your desk, a fine-grained token "
    "with Contents: read (classic: scope repo)",
    "secrets: read": "GITHUB_TOKEN never has it: use a fine-grained token with Secrets: read (classic: scope repo); "
    "only names are asked for, never values",
    "organization_self_hosted_runners: read": "a token of an owner of the organisation, with Self-hosted "
    "runners: read (classic: scope admin:org)",
    "checks: read": "in a workflow, give the job `permissions: checks: read`",
    "administration: read": "GITHUB_TOKEN never has it: make a fine-grained token with Administration: read and "
    "give it as CI_RUNNERS_TOKEN, or go without: the machines' own health checks are enough",
}


class RequestRefused(GitHubRefused):
    """GitHub understood and said no."""

    def __init__(self, what: str, *, status: int, why: str = "", hint: str = "") -> None:
        super().__init__(what, why=why, hint=hint)
        self.status = status


class RateLimited(GitHubRefused):
    """Too many requests; asking again before `seconds` have passed makes it worse."""

    def __init__(self, what: str, *, seconds: float, why: str) -> None:
        hint = "lower the number of runs that share this token, or raise --poll-interval"
        super().__init__(what, why=f"{why}; it may be asked again in {seconds:.0f} s", hint=hint)
        self.seconds = seconds


class Unavailable(GitHubRefused):
    """No answer, or one that GitHub would not give. The request may have taken effect."""


def refusal(
    what: str, status: int, message: str, headers: Mapping[str, str], *, permission: str, now: float | None = None
) -> GitHubRefused:
    """The error for an answer of 400 and above. `headers` have lower-case names; `permission` is what the call needs.

    Rate limits come as 403 or 429
    (https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api).
    """
    if status >= 500:
        return Unavailable(what, why=f"GitHub answered {status}: {message}")
    if (seconds := _wait(status, message, headers, time.time() if now is None else now)) is not None:
        return RateLimited(what, seconds=seconds, why=message)
    if status == 401:
        hint = "set GITHUB_TOKEN to a token that is valid (`gh auth token` prints one)"
        return RequestRefused(what, status=status, why=f"the token was not accepted: {message}", hint=hint)
    if status == 403 and "not accessible" in message:
        needed = headers.get(_ADMISSION, "").replace("=", ": ") or permission
        why = f"the token lacks the permission `{permission}` ({message}; GitHub accepts: {needed})"
        return RequestRefused(what, status=status, why=why, hint=PERMISSION_HELP.get(permission, ""))
    return RequestRefused(what, status=status, why=f"GitHub answered {status}: {message}", hint=_hint(status, message))


def _wait(status: int, message: str, headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait when the answer is a rate limit, else None."""
    if status not in (403, 429):
        return None
    text = message.lower()
    retry_after = headers.get("retry-after", "")
    if retry_after.isdecimal():
        return float(retry_after)
    if text.startswith("api rate limit exceeded") or headers.get("x-ratelimit-remaining") == "0":
        reset = headers.get("x-ratelimit-reset", "")
        return max(1.0, float(reset) - now + 1) if reset.isdecimal() else SECONDARY_WAIT
    if (
        status == 429
        or "secondary rate limit" in text
        or text.endswith("please wait a few minutes before you try again.")
    ):
        return SECONDARY_WAIT
    return None


def _hint(status: int, message: str) -> str:
    if status == 404:
        return (
            "check the repository and the workflow's file name, that the file is on the default branch, and that the "
            "token can see the repository"
        )
    if "No ref found" in message:
        return "a dispatch needs a branch or a tag that GitHub has, not a commit: push it first"
    if "workflow_dispatch" in message:
        return "the workflow file on that branch needs `on: workflow_dispatch`"
    if "inputs" in message or "input" in message:
        return "the worker workflow must declare the inputs `matrix`, `plan` and `dispatch_id` (docs/github-actions.md)"
    return ""
