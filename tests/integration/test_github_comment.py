"""The comment on a pull request: written once, edited in place, and never a verdict of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.github_double import GitHubDouble
from tests.github_double.entities import Comment
from tests.integration.github_run import World, double_of
from tests.integration.test_github_commands import FLEET, Desk, RealClock

PULL = 7
WANTED = {"CI_DISPATCH_GITHUB_COMMENT": "true"}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """In a job of pull request 7, which comes from the repository itself."""
    with double_of(World(seconds=1.0), RealClock(), FLEET) as double:
        desk = Desk(tmp_path, World(), double)
        event = tmp_path / "event.json"
        head = {"repo": {"full_name": double.repository}}
        event.write_text(json.dumps({"pull_request": {"number": PULL, "head": head}}))
        desk.env |= {
            "GITHUB_ACTIONS": "true",
            "GITHUB_EVENT_NAME": "pull_request",
            "GITHUB_EVENT_PATH": str(event),
            "GITHUB_HEAD_REF": "main",
        }
        yield desk
        assert double.findings() == []


def bodies(double: GitHubDouble) -> list[str]:
    return [comment.body for comment in double.comments if comment.pull == PULL]


def test_the_comment_is_written_once_and_then_edited_in_place(desk: Desk) -> None:
    desk.double.comments += [Comment(n, PULL, f"a discussion, {n}", bot=False) for n in range(150)]  # two pages
    code, _, err = desk.run("dispatch", **WANTED)
    assert code == 0, err
    first = bodies(desk.double)[150:]
    assert len(first) == 1
    assert first[0].startswith("<!-- ci-dispatch/")
    assert "12" in first[0]
    marker = first[0].partition("\n")[0]
    desk.double.comments[-1].body = f"{marker}\nof an older run"
    outsider = f"{marker}\nall green, trust me"
    desk.double.comments.insert(0, Comment(999, PULL, outsider, bot=False, association="CONTRIBUTOR"))
    code, _, err = desk.run("dispatch", **WANTED)
    assert code == 0, err
    assert bodies(desk.double)[0] == outsider
    assert len(bodies(desk.double)) == 152
    assert bodies(desk.double)[-1].startswith(marker)
    assert "older run" not in bodies(desk.double)[-1]


def test_a_token_that_may_not_comment_costs_a_warning_and_no_verdict(desk: Desk) -> None:
    token = desk.double.grant("actions:write", "checks:read", "pull-requests:read")
    code, out, err = desk.run("dispatch", GITHUB_TOKEN=token, **WANTED)
    assert code == 0, err
    assert "PASSED 12 tests" in out
    assert "warning: The comment on pull request 7 was not written" in err
    assert "give the job `permissions: pull-requests: write`" in err
    assert "::warning title=The pull request has no comment::" in err
    assert desk.double.comments == []


@pytest.mark.parametrize(
    "env",
    [
        {},  # not asked for
        {**WANTED, "GITHUB_EVENT_NAME": "push"},
        {**WANTED, "GITHUB_REPOSITORY": "octo-org/other"},  # a pull request there, a dispatch here
    ],
)
def test_elsewhere_nobody_is_told(desk: Desk, env: dict[str, str]) -> None:
    fork = {"number": PULL, "head": {"repo": {"full_name": env.get("GITHUB_REPOSITORY", desk.double.repository)}}}
    Path(desk.env["GITHUB_EVENT_PATH"]).write_text(json.dumps({"pull_request": fork}))
    code, _, err = desk.run("dispatch", CI_DISPATCH_REPOSITORY=desk.double.repository, **env)
    assert code == 0, err
    assert desk.double.asked("GET", "/issues/") == []
    assert desk.double.comments == []
