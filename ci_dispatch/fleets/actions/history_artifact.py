"""Which artifact holds the history that a run of a branch goes on with. Pure.

A run on GitHub keeps its history with its result; the next one, on another machine, finds it by its name.
"""

from __future__ import annotations

from collections.abc import Sequence

from ci_dispatch.fleets.actions.rest.models import ArtifactView

PREFIX = "ci-dispatch-history"


def candidates(artifacts: Sequence[ArtifactView], branch: str, default_branch: str) -> list[ArtifactView]:
    """Those that may be used, the best first: of `branch`, then of `default_branch`, the newest of each first.

    What has expired is none, and what a fork's code uploaded is never read: whoever opens a pull request could tell any
    story. Ids do not tell which is newer.
    """
    dated = [(artifact.created, artifact) for artifact in artifacts if artifact.created is not None]
    newest = [artifact for _, artifact in sorted(dated, key=lambda pair: (pair[0], pair[1].id), reverse=True)]
    trusted = [artifact for artifact in newest if not artifact.expired and artifact.origin.own]
    of = {
        name: [artifact for artifact in trusted if artifact.origin.branch == name] for name in (branch, default_branch)
    }
    return [*of[branch], *(of[default_branch] if default_branch != branch else [])]
