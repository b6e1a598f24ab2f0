"""GitHub's REST API without HTTP: what each server can do, a machine's runners, refusals."""

from __future__ import annotations

import pytest

from ci_dispatch.core.errors import UsageError
from ci_dispatch.core.events import MachineChecked
from ci_dispatch.core.model import MachineName, MachineSpec
from ci_dispatch.fleets.actions.rest.errors import RateLimited, RequestRefused, Unavailable, refusal
from ci_dispatch.fleets.actions.rest.models import (
    JobPage,
    RunnerView,
    StepView,
    runner_is,
    runners_of,
    view,
    with_runners,
)
from ci_dispatch.fleets.actions.rest.server import EVERYTHING, PUBLIC_API, ActionsMode, Capability, server_at


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
    assert server_at("https://api.octo.ghe.com/").capabilities == EVERYTHING
    enterprise = server_at("https://github.example.com/api/v3")
    assert (enterprise.can(Capability.RUN_DETAILS), enterprise.api_version) == (False, None)
    assert enterprise.missing(ActionsMode.DISPATCH) == ()
    assert enterprise.missing(ActionsMode.ONE_WORKFLOW) == (Capability.UPLOAD_ARTIFACT_4,)
    enterprise.require(*ActionsMode)
    with pytest.raises(UsageError, match=r"lacks version 4 .*\n  try: the two workflows"):
        enterprise.require(ActionsMode.ONE_WORKFLOW)
    gitea = server_at("https://git.example.com/api/v1")
    assert gitea.missing(ActionsMode.DISPATCH) == (Capability.DYNAMIC_MATRIX, Capability.CANCEL)
    assert gitea.missing(ActionsMode.ONE_WORKFLOW) == (Capability.DYNAMIC_MATRIX,)
    assert server_at("http://127.0.0.1:8080").api_url == "http://127.0.0.1:8080"
    for bad in ("github.com", "ftp://github.com", "https://", "http://github.example.com/api/v3"):
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


def test_what_github_shows_is_decoded_by_its_types_and_null_is_nothing() -> None:
    body = {"id": 7, "name": "shard a", "status": "queued", "conclusion": None, "runner_id": None, "runner_name": None}
    steps = [{"name": "Set up job", "status": "in_progress", "conclusion": None, "number": 1}]
    page = view(JobPage, {"total_count": 1, "jobs": [body | {"steps": steps, "run_attempt": 2}]})
    [job] = page.items
    assert (job.completed, job.taken, job.attempt, job.conclusion) == (False, False, 2, "")
    assert job.steps == (StepView(name="Set up job", status="in_progress"),)
    wrong: list[object] = [{"total_count": 1}, {"total_count": 1, "jobs": [body | {"id": "7"}]}, {"jobs": 7}, []]
    for bad in wrong:
        with pytest.raises(ValueError, match=r"Expected|missing"):
            view(JobPage, bad)
