"""A job's environment and what it writes, hostile text included; a machine's runners; servers; refusals."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from ci_dispatch.core.errors import UsageError
from ci_dispatch.core.events import MachineChecked
from ci_dispatch.core.model import MachineName, MachineSpec
from ci_dispatch.fleets.actions.environment import ActionsEnvironment, StoppedCommands
from ci_dispatch.fleets.actions.rest.errors import RateLimited, RequestRefused, Unavailable, refusal
from ci_dispatch.fleets.actions.rest.models import RunnerView, runner_is, runners_of, with_runners
from ci_dispatch.fleets.actions.rest.server import PUBLIC_API, server_at

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
    ("runner", "machine", "expected"),
    [("moruk", "moruk", True), ("moruk-2", "moruk", True), ("moruk_e2e", "moruk", True), ("moruk2", "moruk", False),
     ("pi", "pi2", False), ("", "pi", False)],
)  # fmt: skip
def test_a_runner_is_known_by_its_machines_name(runner: str, machine: str, expected: bool) -> None:
    assert runner_is(runner, machine) is expected


def test_a_healthy_machine_without_a_runner_online_gets_no_work() -> None:
    spec = MachineSpec(name=MachineName("moruk"), labels=("self-hosted", "Moruk"))
    fine = MachineChecked(machine=spec.name, healthy=True, reachable=True, text="ok")

    def runner(name: str, *labels: str, online: bool = True) -> RunnerView:
        return RunnerView(name=name, online=online, labels=labels)

    assert with_runners(fine, spec, [runner("moruk-1"), runner("moruk-2", online=False)]) == fine
    off = with_runners(fine, spec, [runner("moruk-1", online=False)])
    assert (off.healthy, off.reachable, off.problems) == (False, True, ("its GitHub runner is offline: moruk-1",))
    assert "GitHub has no runner of it" in with_runners(fine, spec, []).problems
    by_label = runner("build-7", "self-hosted", "moruk", "x64")
    assert runners_of(spec, [by_label, runner("other", "self-hosted")]) == [by_label]


def test_what_each_server_can_do() -> None:
    assert server_at("").api_url == PUBLIC_API
    assert server_at("https://api.octo.ghe.com/").run_details
    enterprise = server_at("https://github.example.com/api/v3")
    assert (enterprise.run_details, enterprise.api_version) == (False, None)
    for bad in ("github.com", "ftp://github.com", "https://"):
        with pytest.raises(UsageError, match="GITHUB_API_URL"):
            server_at(bad)


def test_refusals_are_told_apart() -> None:
    def of(status: int, text: str, **headers: str) -> Exception:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return refusal("It was not done", status, text, named, permission="actions: write", now=1000.0)

    assert isinstance(of(502, "Bad Gateway"), Unavailable)
    limited = of(403, "API rate limit exceeded for user", x_ratelimit_reset="1100")
    assert isinstance(limited, RateLimited)
    assert limited.seconds == 101
    weak = of(403, "Resource not accessible by personal access token", x_accepted_github_permissions="actions=write")
    assert isinstance(weak, RequestRefused)
    assert "lacks the permission `actions: write`" in str(weak)
    assert "GitHub accepts: actions: write" in str(weak)
    assert "set GITHUB_TOKEN" in str(of(401, "Bad credentials"))
    running = of(403, "This workflow is already running")
    assert isinstance(running, RequestRefused)
    assert running.status == 403
