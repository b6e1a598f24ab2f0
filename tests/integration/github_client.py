"""Our client, pointed at the double."""

from __future__ import annotations

from ci_dispatch.fleets.actions.rest.api import GitHub
from ci_dispatch.fleets.actions.rest.client import Client
from ci_dispatch.fleets.actions.rest.server import dialect_of
from tests.github_double.double import GitHubDouble


def client_of(github: GitHubDouble, *, token: str = "") -> GitHub:
    dialect = dialect_of(github.url)
    return GitHub(Client(dialect, token or github.token, write_pause=0), dialect, github.repository)
