"""Which server is asked, and what it can do: the only place that knows. Everything else asks for a capability.

- github.com and GitHub Enterprise Cloud can do everything named here.
- GitHub Enterprise Server (`/api/v3`), by its own description (npm @octokit/openapi 23.0.2, 3.17 to 3.19): a dispatch
  is answered with 204 and takes ten inputs; the field that asks for the run's id is refused with status 400 up to 3.20
  (https://github.com/cli/cli/issues/12672). It has no version 4 of upload-artifact, and no `queue` in `concurrency`.
- Gitea (`/api/v1`), measured on 1.26.0 with three runners: a matrix from an expression is never expanded, so that one
  job with an empty label stays queued (https://github.com/go-gitea/gitea/issues/25179), nothing can cancel it, and
  there are no annotations. Lists take `limit` instead of `per_page`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from ci_dispatch.config.value_types import is_address
from ci_dispatch.core.errors import UsageError

PUBLIC_API = "https://api.github.com"
API_VERSION = "2022-11-28"  # from 2026-03-10 on, `return_run_details` is gone and always on


class Capability(StrEnum):
    """What a server can do, in the words of a message that says what is missing."""

    DYNAMIC_MATRIX = "a job matrix from an expression (`matrix: ${{ fromJSON(...) }}`)"
    CANCEL = "cancelling a run"
    RERUN = "running failed jobs again"
    RUN_DETAILS = "the run's id in the answer to a dispatch"
    ANNOTATIONS = "annotations of jobs"
    UPLOAD_ARTIFACT_4 = "version 4 or later of actions/upload-artifact"
    QUEUE = "`queue` in a concurrency group"


class ActionsMode(StrEnum):
    """The two ways through GitHub Actions."""

    ONE_WORKFLOW = "plan, shards and merge in one workflow"
    DISPATCH = "dispatch"


NEEDS = {
    ActionsMode.ONE_WORKFLOW: (Capability.DYNAMIC_MATRIX, Capability.UPLOAD_ARTIFACT_4),
    ActionsMode.DISPATCH: (Capability.DYNAMIC_MATRIX, Capability.CANCEL, Capability.RERUN),
}
"""Without these a mode begins nothing. The others only help: what is done without them is in docs/other-servers.md.

In one workflow the action itself uploads what the next job reads; a dispatched shard can be given another upload step.
"""

EVERYTHING = frozenset(Capability)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One server and its capabilities."""

    api_url: str
    capabilities: frozenset[Capability] = EVERYTHING
    most_inputs: int = 25  # of a dispatch
    page_size: str = "per_page"  # the query parameter for it
    api_version: str | None = API_VERSION

    def can(self, capability: Capability) -> bool:
        return capability in self.capabilities

    def missing(self, mode: ActionsMode) -> tuple[Capability, ...]:
        """What `mode` needs and this server does not have."""
        return tuple(capability for capability in NEEDS[mode] if not self.can(capability))

    def require(self, *modes: ActionsMode, what: str = "") -> None:
        """Raises UsageError when this server can do none of `modes`: nothing must be queued there.

        `what`: what did not happen then, where nothing was to be begun.
        """
        if all(self.missing(mode) for mode in modes):
            raise UsageError(
                what or f"{modes[0].capitalize()} was not begun, and nothing was queued",
                why=f"the server at {self.api_url} lacks {'; '.join(self.missing(modes[0]))}",
                hint=self.instead(),
            )

    def instead(self) -> str:
        """What works here where a mode does not."""
        if not self.missing(ActionsMode.DISPATCH):
            return "the two workflows, with `command: dispatch` (docs/other-servers.md)"
        return (
            "one job of a workflow there, or a terminal, that runs `ci-dispatch run`: it reaches the machines over SSH "
            "and needs nothing of the server (docs/other-servers.md)"
        )


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
    path = urlsplit(url).path
    if path.endswith("/api/v3"):
        without = {Capability.RUN_DETAILS, Capability.UPLOAD_ARTIFACT_4, Capability.QUEUE}
        return Server(api_url=url, capabilities=EVERYTHING - without, most_inputs=10, api_version=None)
    if path.endswith("/api/v1"):
        can = frozenset({Capability.RERUN, Capability.UPLOAD_ARTIFACT_4})
        return Server(api_url=url, capabilities=can, page_size="limit", api_version=None)
    return Server(api_url=url)
