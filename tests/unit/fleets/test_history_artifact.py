"""Which history a run of a branch goes on with: its own newest, else the default branch's, and never a fork's."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ci_dispatch.fleets.actions.history_artifact import PREFIX, candidates
from ci_dispatch.fleets.actions.rest.models import ArtifactOrigin, ArtifactView


def artifact(number: int, branch: str, day: int, *, expired: bool = False, head: int = 1) -> ArtifactView:
    origin = ArtifactOrigin(branch=branch, repository=1, head_repository=head)
    created = datetime(2026, 11, day, tzinfo=UTC)
    return ArtifactView(id=number, name=PREFIX, expired=expired, created=created, origin=origin)


def chosen(*artifacts: ArtifactView, branch: str = "topic") -> list[int]:
    return [each.id for each in candidates(artifacts, branch, "main")]


def test_its_own_branch_comes_first_and_the_newest_of_it() -> None:
    """By the day: a re-run has smaller ids."""
    assert chosen(
        artifact(9, "main", 20), artifact(8, "topic", 3), artifact(7, "topic", 12), artifact(6, "other", 25)
    ) == [7, 8, 9]


def test_the_default_branch_is_not_offered_twice() -> None:
    assert chosen(artifact(1, "main", 2), artifact(2, "main", 1), branch="main") == [1, 2]


@pytest.mark.parametrize(
    "untold",
    [
        artifact(1, "topic", 5, expired=True),
        artifact(1, "topic", 5, head=2),
        artifact(1, "main", 5, head=0),
        ArtifactView(id=1, name=PREFIX, created=datetime(2026, 11, 5, tzinfo=UTC)),
        ArtifactView(id=1, name=PREFIX, origin=ArtifactOrigin(branch="topic", repository=1, head_repository=1)),
    ],
    ids=["expired", "a fork called its branch the same", "nobody says whose it is", "without a run", "without a day"],
)
def test_what_cannot_be_trusted_is_no_candidate(untold: ArtifactView) -> None:
    assert chosen(untold) == []
