"""Which GitHub is asked, and what that server can do: the only place that knows.

github.com and GitHub Enterprise Cloud answer a dispatch with the run's id; Enterprise Server up to 3.20 refuses the
field that asks for it with status 400 (https://github.com/cli/cli/issues/12672). Another server with a compatible API
(Gitea: `/api/v1`, `limit` instead of `per_page`) becomes one more value here.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from ci_dispatch.config.value_types import is_address
from ci_dispatch.core.errors import UsageError

PUBLIC_API = "https://api.github.com"
API_VERSION = "2022-11-28"  # from 2026-03-10 on, `return_run_details` is gone and always on


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One server and its capabilities."""

    api_url: str
    run_details: bool = True  # a dispatch answers with the run's id
    page_size: str = "per_page"  # the query parameter for it
    api_version: str | None = API_VERSION


def server_at(api_url: str) -> Server:
    """The server at `api_url` (GITHUB_API_URL; empty: github.com).

    Raises:
        UsageError: when no token may be sent there: neither https nor this computer.
    """
    url = (api_url or PUBLIC_API).rstrip("/")
    if not is_address(url):
        raise UsageError(
            f"GitHub cannot be asked at {url!r}",
            why="GITHUB_API_URL is no https address, and a token goes nowhere else (by http to this computer only)",
            hint=f"unset GITHUB_API_URL for github.com ({PUBLIC_API}), or set it to https://HOST/api/v3",
        )
    if urlsplit(url).path.endswith("/api/v3"):  # GitHub Enterprise Server
        return Server(api_url=url, run_details=False, api_version=None)
    return Server(api_url=url)
