"""The double as tests use it: start it, script it, point a client at `url`, read what was said."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.github_double.description import Exchange, described
from tests.github_double.entities import Comment
from tests.github_double.faults import Fault, Faults
from tests.github_double.repository_settings import RepositorySettings
from tests.github_double.server import ApiHandler, BlobHandler, Rate, Server
from tests.github_double.state import Hub
from tests.github_double.worker import ScriptedWorker, Worker
from tests.github_double.workflows import Workflow

ALL = frozenset({"actions:write", "checks:read", "administration:read", "contents:read", "pull-requests:write"})


@dataclass(frozen=True, slots=True)
class Blob:
    data: bytes
    signature: str
    valid_until: float


class GitHubDouble:
    """A context manager: `with GitHubDouble() as github: ...`. At its end the official description has the last word
    on every exchange; who has sent or scripted something that GitHub would not has taken it out of `exchanges` before.

    `clock` is the double's time; give a simulated one together with a client whose waiting moves it on.
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.time, worker: Worker | None = None, enterprise: bool = False
    ) -> None:
        """`enterprise`: a GitHub Enterprise Server 3.19, held against its own description."""
        self.repository = "octo-org/octo-repo"
        self.token = "ghs_" + secrets.token_hex(8)
        self.tokens = {self.token: ALL}
        self.hub = Hub(clock, worker or ScriptedWorker())
        self.lock = threading.RLock()
        self.faults = Faults()
        self.rate = Rate()
        self.prefix = "/api/v3" if enterprise else ""
        self.description = "ghes-3.19.slim.json" if enterprise else "github-actions.slim.json"
        self.returns_run_details = not enterprise  # not on GitHub Enterprise Server up to 3.20
        self.most_inputs = 10 if enterprise else 25
        self.settings = RepositorySettings()
        self.comments: list[Comment] = []
        self.blobs: dict[str, Blob] = {}
        self.token_leaks: list[str] = []  # signed URLs that were asked for with our token
        self.exchanges: list[Exchange] = []
        self._servers: list[Server] = []

    def __enter__(self) -> Self:
        self._servers = [Server(ApiHandler, self), Server(BlobHandler, self)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._servers:
            server.close()
        if error is None and (found := self.findings()):
            raise AssertionError("\n".join(found))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._servers[0].port}{self.prefix}"

    def workflow(self, file: str, text: str, *, branches: frozenset[str] = frozenset({"main"})) -> None:
        """Put a workflow file into the repository."""
        self.hub.workflows[file] = Workflow(file, text, self.hub.next_id(), branches)

    def fault(self, fault: Fault) -> None:
        self.faults.add(fault)

    def grant(self, *permissions: str) -> str:
        """A token that may do only this."""
        token = "ghs_" + secrets.token_hex(8)
        self.tokens[token] = frozenset(permissions)
        return token

    def signed(self, name: str, data: bytes) -> str:
        """A download address as GitHub gives it: another host, valid for one minute."""
        blob = Blob(data, secrets.token_hex(8), self.hub.clock() + 60)
        self.blobs[name] = blob
        return f"http://localhost:{self._servers[1].port}/{name}?sig={blob.signature}"

    def record(self, exchange: Exchange) -> None:
        with self.lock:
            self.exchanges.append(exchange)

    def asked(self, method: str, part: str = "") -> list[Exchange]:
        """The recorded requests with this method and this text in their URL."""
        return [x for x in self.exchanges if x.method == method and part in x.url]

    def findings(self) -> list[str]:
        """Everything the official description objects to, in what was sent and in what was answered."""
        description = described(self.description, self.prefix)
        return [
            f"{x.method} {x.url} {x.status}: {finding}"
            for x in list(self.exchanges)
            if "/_double/" not in x.url
            for finding in description.findings(x)
        ]
