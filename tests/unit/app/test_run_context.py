"""Where a run belongs to, in its reports: the commit that is tested and the branch that people know."""

from __future__ import annotations

from ci_dispatch.app.result_files import run_context
from ci_dispatch.core.codec import replace
from tests.simulation import make_tests, run_started

PULL_REQUEST = {
    "GITHUB_SHA": "a" * 40,
    "GITHUB_REF_NAME": "12/merge",
    "GITHUB_HEAD_REF": "mend-the-cart",
    "GITHUB_REPOSITORY": "octo-org/octo-repo",
    "GITHUB_RUN_ID": "7",
}


def test_a_pull_request_is_told_by_its_branch() -> None:
    assert run_context(None, PULL_REQUEST).branch == "mend-the-cart"
    assert run_context(None, {"GITHUB_REF_NAME": "main", "GITHUB_HEAD_REF": ""}).branch == "main"


def test_the_commit_is_the_one_that_was_dispatched_whatever_started_this_job() -> None:
    """`watch` may finish the run of another commit."""
    started = replace(run_started(make_tests(1), [], {}), settings={"target": {"commit": "b" * 40}})
    assert run_context(started, PULL_REQUEST).sha == "b" * 40
    for settings in ({"target": {"commit": ""}}, {"target": "x"}):
        assert run_context(replace(started, settings=settings), PULL_REQUEST).sha == "a" * 40
    assert run_context(run_started(make_tests(1), [], {}), PULL_REQUEST).sha == "a" * 40
