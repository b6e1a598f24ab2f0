"""`report-merge --comment`: one comment on the pull request, edited in place, and never a verdict of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from report_merge.cli import run
from report_merge.github.job import pull_request
from tests.github_double import GitHubDouble
from tests.github_double.entities import Comment

PULL = 7
PASSED = '<testsuite name="s"><testcase classname="c" name="t" time="1"/></testsuite>'


class Job:
    def __init__(self, folder: Path, double: GitHubDouble) -> None:
        self.double, self.report = double, folder / "a.xml"
        self.report.write_text(PASSED, encoding="utf-8")
        event = folder / "event.json"
        event.write_text(json.dumps({"pull_request": {"number": PULL}}), encoding="utf-8")
        self.env = {
            "GITHUB_ACTIONS": "true",
            "GITHUB_EVENT_NAME": "pull_request",
            "GITHUB_EVENT_PATH": str(event),
            "GITHUB_REPOSITORY": double.repository,
            "GITHUB_API_URL": double.url,
            "GITHUB_TOKEN": double.token,
            "GITHUB_WORKFLOW": "unit",
        }

    def comment(self, **env: str) -> int:
        return run([str(self.report), "--comment"], self.env | env)

    def bodies(self) -> list[str]:
        return [comment.body for comment in self.double.comments]


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    with GitHubDouble() as double:
        yield Job(tmp_path, double)


def test_it_is_written_once_and_then_edited_in_place(job: Job) -> None:
    job.double.comments += [Comment(n, PULL, f"a discussion, {n}", bot=False) for n in range(150)]  # two pages
    assert job.comment() == 0
    assert len(job.bodies()) == 151
    assert job.bodies()[-1].startswith("<!-- report-merge/unit/unit -->\n## ✅ 1 test passed")
    outsider = "<!-- report-merge/unit/unit -->\nall green, trust me"
    job.double.comments.insert(0, Comment(999, PULL, outsider, bot=False, association="CONTRIBUTOR"))
    job.report.write_text(PASSED.replace("/></", "><error/></testcase></"), encoding="utf-8")
    assert job.comment() == 1
    assert job.bodies()[0] == outsider
    assert len(job.bodies()) == 152
    assert "1 of 1 test failed" in job.bodies()[-1]


def test_the_same_text_is_not_sent_again(job: Job) -> None:
    job.comment()
    job.comment()
    assert [exchange.method for exchange in job.double.exchanges if exchange.method != "GET"] == ["POST"]


def test_a_token_that_may_not_costs_a_warning_and_no_verdict(job: Job, capfd: pytest.CaptureFixture[str]) -> None:
    assert job.comment(GITHUB_TOKEN=job.double.grant("pull-requests:read")) == 0
    out, err = capfd.readouterr()
    assert "warning: the comment on pull request 7 was not written: GitHub refused with status 403" in err
    assert "`permissions: pull-requests: write`" in err
    assert "::warning title=The pull request has no comment::" in out


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"GITHUB_TOKEN": ""}, "there is no GITHUB_TOKEN"),
        ({"GITHUB_API_URL": "http://example.org"}, "a token goes nowhere else"),
        ({"GITHUB_API_URL": "http://127.0.0.1:1"}, "did not answer as expected"),
        ({"GITHUB_EVENT_NAME": "push"}, "this run belongs to no pull request"),
    ],
)
def test_what_is_missing_is_said(job: Job, env: dict[str, str], words: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert job.comment(**env) == 0
    assert words in capfd.readouterr().err
    assert job.double.exchanges == []


def test_the_number_of_the_pull_request(tmp_path: Path) -> None:
    here = {"GITHUB_EVENT_NAME": "pull_request_target", "GITHUB_REF": "refs/pull/8/merge"}
    assert pull_request(here) == 8
    assert pull_request(here | {"GITHUB_EVENT_NAME": "push"}) is None
    event = tmp_path / "event.json"
    for text in ("[]", "{", '{"pull_request": 3}', '{"pull_request": {"number": "9"}}'):
        event.write_text(text, encoding="utf-8")
        assert pull_request(here | {"GITHUB_EVENT_PATH": str(event)}) == 8
