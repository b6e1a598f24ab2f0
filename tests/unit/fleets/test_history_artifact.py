"""Which histories a run of a branch goes on with: its own newest, the default branch's, and never a fork's."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from ci_dispatch.fleets.actions.history_artifact import artifact_name, candidates
from ci_dispatch.fleets.actions.rest.models import ArtifactOrigin, ArtifactView


def artifact(number: int, branch: str, day: int, *, expired: bool = False, head: int = 1) -> ArtifactView:
    origin = ArtifactOrigin(branch=branch, repository=1, head_repository=head)
    created = datetime(2026, 11, day, tzinfo=UTC)
    return ArtifactView(id=number, name="x", expired=expired, created=created, origin=origin)


def chosen(*artifacts: ArtifactView, branch: str = "topic") -> list[int]:
    return [each.id for each in candidates(artifacts, branch, "main")]


def test_the_newest_of_each_branch_then_one_more_of_each() -> None:
    """By the day: a re-run has smaller ids."""
    of_main = [artifact(9, "main", 20), artifact(5, "main", 2), artifact(4, "main", 1)]
    assert chosen(*of_main, artifact(8, "topic", 3), artifact(7, "topic", 12), artifact(6, "other", 25)) == [7, 9, 8, 5]


def test_the_default_branch_is_not_offered_twice() -> None:
    assert chosen(artifact(1, "main", 2), artifact(2, "main", 1), branch="main") == [1, 2]


def test_a_branch_that_nobody_knows_is_none() -> None:
    assert chosen(artifact(1, "", 2), artifact(2, "main", 1), branch="") == [2]


@pytest.mark.parametrize(
    "untold",
    [
        artifact(1, "topic", 5, expired=True),
        artifact(1, "topic", 5, head=2),
        artifact(1, "main", 5, head=2),
        artifact(1, "main", 5, head=0),
        ArtifactView(id=1, name="x", created=datetime(2026, 11, 5, tzinfo=UTC)),
        ArtifactView(id=1, name="x", origin=ArtifactOrigin(branch="topic", repository=1, head_repository=1)),
    ],
    ids=["expired", "a fork", "a fork with a branch main", "nobody says whose it is", "without a run", "without a day"],
)
def test_what_cannot_be_trusted_is_no_candidate(untold: ArtifactView) -> None:
    assert chosen(untold) == []


def test_every_title_has_a_name_that_github_takes_and_no_other_title_has() -> None:
    titles = ["Shop", "shop", "Läden: ✓", "店", "店舗", "", "a/b", "a-b", "x" * 1000, "lone \ud800"]
    names = [artifact_name(title) for title in titles]
    assert len(set(names)) == len(titles)
    assert all(re.fullmatch(r"ci-dispatch-history-[A-Za-z0-9._-]{1,60}", name) for name in names), names
    assert artifact_name("Shop").startswith("ci-dispatch-history-Shop-")
