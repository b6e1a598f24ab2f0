"""Under which name a run on GitHub keeps its history, and which of those that are there the next one takes in. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from ci_dispatch.fleets.actions.rest.models import ArtifactView

FILE = "history.db"  # in the artifact
_EACH = 2  # of each branch: two runs at one time know nothing of each other, and one may be damaged
_UNPLAIN = re.compile(r"[^A-Za-z0-9._-]+")
_SHOWN = 50  # characters of a title


def artifact_name(title: str) -> str:
    """The same for every run of the suite with this title, on whatever branch; another for each other title."""
    digest = hashlib.sha256(title.encode("utf-8", "backslashreplace")).hexdigest()[:8]
    return "-".join(filter(None, ("ci-dispatch-history", _UNPLAIN.sub("-", title)[:_SHOWN].strip("-"), digest)))


def candidates(artifacts: Sequence[ArtifactView], branch: str, default_branch: str) -> list[ArtifactView]:
    """Those to take in, the most wanted first: the newest of `branch`, of `default_branch`, then one more of each.

    What has expired is none, and what a fork's code uploaded is never read: whoever opens a pull request could tell any
    story. Ids do not tell which is newer.
    """
    dated = [(artifact.created, artifact) for artifact in artifacts if artifact.created is not None]
    newest = [artifact for _, artifact in sorted(dated, key=lambda pair: (pair[0], pair[1].id), reverse=True)]
    trusted = [artifact for artifact in newest if not artifact.expired and artifact.origin.own]
    names = dict.fromkeys(filter(None, (branch, default_branch)))
    of_branches = [[one for one in trusted if one.origin.branch == name] for name in names]
    return [of[place] for place in range(_EACH) for of in of_branches if place < len(of)]
