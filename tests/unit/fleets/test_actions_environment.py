"""A job's environment in GitHub Actions and what it writes, hostile text included."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from ci_dispatch.fleets.actions.environment import ActionsEnvironment, StoppedCommands

HERE = {"GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": "octo/repo", "GITHUB_EVENT_NAME": "pull_request"}


def event(tmp_path: Path, data: object) -> ActionsEnvironment:
    file = tmp_path / "event.json"
    file.write_text(json.dumps(data))
    return ActionsEnvironment({**HERE, "GITHUB_EVENT_PATH": str(file)})


def test_a_pull_request_from_elsewhere_is_told_from_ours(tmp_path: Path) -> None:
    assert event(tmp_path, {"pull_request": {"head": {"repo": {"full_name": "octo/repo"}}}}).fork() == ""
    assert event(tmp_path, {"pull_request": {"head": {"repo": {"full_name": "x/fork"}}}}).fork() == "x/fork"
    assert "gone" in event(tmp_path, {"pull_request": {"head": {"repo": None}}}).fork()
    assert "gone" in event(tmp_path, ["what"]).fork()  # what cannot be read is not ours
    assert "gone" in ActionsEnvironment(HERE).fork()
    assert ActionsEnvironment({**HERE, "GITHUB_EVENT_NAME": "push"}).fork() == ""


def test_the_number_of_the_pull_request(tmp_path: Path) -> None:
    ours = {"head": {"repo": {"full_name": "octo/repo"}}}
    assert event(tmp_path, {"pull_request": {"number": 7, **ours}}).pull_request() == 7
    unnumbered = dict(event(tmp_path, {"pull_request": ours}).environ)
    assert ActionsEnvironment(unnumbered | {"GITHUB_REF": "refs/pull/8/merge"}).pull_request() == 8
    assert ActionsEnvironment(unnumbered | {"GITHUB_REF": "refs/heads/pull/8/merge"}).pull_request() is None
    fork = {"number": 9, "head": {"repo": {"full_name": "x/fork"}}}
    assert event(tmp_path, {"pull_request": fork}).pull_request() is None
    assert (
        ActionsEnvironment({**HERE, "GITHUB_EVENT_NAME": "push", "GITHUB_REF": "refs/pull/8/merge"}).pull_request()
        is None
    )


def test_the_default_branch_is_the_event_s_or_a_schedule_s_own(tmp_path: Path) -> None:
    assert event(tmp_path, {"repository": {"default_branch": "trunk"}}).default_branch == "trunk"
    for untold in ({}, {"repository": None}, {"repository": {"default_branch": None}}, ["what"]):
        here = event(tmp_path, untold)
        assert here.default_branch == ""
        scheduled = {"GITHUB_EVENT_NAME": "schedule", "GITHUB_REF_NAME": "main"}
        assert ActionsEnvironment({**here.environ, **scheduled}).default_branch == "main"


def test_outputs_may_hold_anything(tmp_path: Path) -> None:
    file = tmp_path / "output"
    here = ActionsEnvironment({"GITHUB_OUTPUT": str(file)})
    here.set_outputs({"verdict": "passed\nverdict=failed\nEOF", "run": "a"})
    lines = file.read_text().splitlines()
    name, _, delimiter = lines[0].partition("<<")
    assert (name, len(delimiter) > 30) == ("verdict", True)
    assert lines[1:5] == ["passed", "verdict=failed", "EOF", delimiter]
    assert lines[5].startswith("run<<")
    assert lines[5] != f"run<<{delimiter}"


def test_off_github_nothing_is_written_and_nothing_annotated() -> None:
    stream = io.StringIO()
    here = ActionsEnvironment({})
    here.set_outputs({"a": "b"})
    here.add_summary("x")
    here.annotate(["::error::x"], stream)
    assert (stream.getvalue(), here.summary_used(), here.attempt, here.run) == ("", 0, 1, None)


def test_the_summary_is_appended_to_and_its_size_known(tmp_path: Path) -> None:
    file = tmp_path / "summary"
    file.write_text("by another step\n")
    here = ActionsEnvironment({"GITHUB_STEP_SUMMARY": str(file)})
    assert here.summary_used() == 16
    here.add_summary("ours")
    assert file.read_text() == "by another step\nours\n"


def test_foreign_output_cannot_command_the_runner_nor_end_the_stop() -> None:
    stream = io.StringIO()
    with StoppedCommands(stream, on_github=True) as log:
        token = stream.getvalue().removeprefix("::stop-commands::").strip()
        log.write("::error::owned\n")
        log.write(f"::{token}::\n::set-output name=x::y\n")
    lines = stream.getvalue().splitlines()
    assert lines[0] == f"::stop-commands::{token}"
    assert lines[-1] == f"::{token}::"
    assert lines[1:-1].count(f"::{token}::") == 0


def test_at_a_desk_output_is_passed_on_as_it_is() -> None:
    stream = io.StringIO()
    with StoppedCommands(stream, on_github=False) as log:
        log.write("plain\n")
    assert stream.getvalue() == "plain\n"


@pytest.mark.parametrize(
    ("actor", "author", "expected"),
    [
        ("mona", "mona", False),
        ("mona", "dependabot[bot]", True),  # somebody ran its pull request again
        ("dependabot[bot]", None, True),  # it pushed
        ("mona", 7, False),
    ],
)
def test_what_dependabot_wrote_is_nobody_s_of_ours(tmp_path: Path, actor: str, author: object, expected: bool) -> None:
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"pull_request": {"user": {"login": author}}} if author else {}))
    environ = {"GITHUB_ACTOR": actor, "GITHUB_EVENT_PATH": str(event)}
    assert ActionsEnvironment(environ).dependabot() is expected
