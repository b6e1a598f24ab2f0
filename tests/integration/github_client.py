"""Our client, pointed at the double."""

from __future__ import annotations

from ci_dispatch.fleets.actions.rest.api import GitHubApi
from ci_dispatch.fleets.actions.rest.client import RestClient
from ci_dispatch.fleets.actions.rest.server import server_at
from tests.github_double.double import GitHubDouble


def client_of(github: GitHubDouble, *, token: str = "") -> GitHubApi:
    return GitHubApi(RestClient(server_at(github.url), token or github.token, github.repository, write_pause=0))
