"""Our client against the double: what it sends, how often, and what it makes of every kind of refusal."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from ci_dispatch.core.errors import ExitCode
from ci_dispatch.fleets.actions.rest.api import GitHubApi
from ci_dispatch.fleets.actions.rest.errors import RateLimited, RequestRefused, Unavailable
from tests.github_double import Fault, GitHubDouble, Script, ScriptedWorker, zipped
from tests.github_double.entities import Job
from tests.github_double.faults import message, secondary_limit
from tests.integration.github_client import client_of

WORKER = """
name: Shards
run-name: "Shards [${{ inputs.dispatch_id }}]"
on:
  workflow_dispatch:
    inputs:
      matrix: {type: string, required: true}
      plan: {type: string, required: true}
      dispatch_id: {type: string, required: true}
jobs:
  shard:
    name: shard ${{ matrix.shard }}
    strategy:
      matrix: ${{ fromJSON(inputs.matrix) }}
    runs-on: ${{ matrix.labels }}
    steps:
      - run: echo
"""


def inputs(*shards: str, dispatch_id: str = "d.1") -> dict[str, str]:
    include = [{"shard": shard, "labels": ["moruk"]} for shard in shards or ("head-1",)]
    return {"matrix": json.dumps({"include": include}), "plan": "p", "dispatch_id": dispatch_id}


def goes(job: Job) -> Script:
    failing = job.matrix["shard"] == "bad" and job.attempt == 1
    artifacts = {f"report-{job.matrix['shard']}-a{job.attempt}": zipped({"junit.xml": "<testsuites/>"})}
    return Script(seconds=5, conclusion="failure" if failing else "success", artifacts=artifacts)


class Clock:
    now = 1_700_000_000.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def double(clock: Clock) -> Iterator[GitHubDouble]:
    with GitHubDouble(clock=lambda: clock.now, worker=ScriptedWorker(goes)) as github:
        github.workflow("e2e-shard.yml", WORKER)
        github.hub.add_runner("moruk-1", "moruk")
        yield github
        assert github.findings() == []
        assert github.token_leaks == []


@pytest.fixture
def api(double: GitHubDouble) -> Iterator[GitHubApi]:
    api = client_of(double)
    yield api
    api.client.close()


def test_dispatch_watch_rerun_and_download(double: GitHubDouble, api: GitHubApi, clock: Clock) -> None:
    run = api.dispatch("e2e-shard.yml", "main", inputs("good", "bad"))
    assert run is not None
    assert [(job.name, job.runner) for job in api.jobs(run)] == [("shard good", "moruk-1"), ("shard bad", "")]
    clock.now += 60
    view = api.run(run)
    assert (view.completed, view.conclusion, view.attempt, view.title) == (True, "failure", 1, "Shards [d.1]")
    bad = next(job for job in api.jobs(run) if job.name == "shard bad")
    assert (bad.conclusion, bad.steps[-1].conclusion) == ("failure", "failure")
    assert api.annotations(bad.id) == ("Process completed with exit code 1.",)
    api.rerun_failed(run)
    clock.now += 60
    assert api.run(run).attempt == 2
    assert [job.name for job in api.jobs(run)] == ["shard bad"]  # the others keep their first attempt's result
    artifacts = api.artifacts(run)
    assert [artifact.name for artifact in artifacts] == ["report-good-a1", "report-bad-a1", "report-bad-a2"]
    assert api.artifact_address(artifacts[0]).startswith("http://localhost:")
    assert api.client.sent == len(double.exchanges)


def test_an_unchanged_answer_is_asked_for_with_its_etag_and_costs_nothing(double: GitHubDouble, api: GitHubApi) -> None:
    run = api.dispatch("e2e-shard.yml", "main", inputs())
    assert run
    first = api.jobs(run)
    spent = double.rate.used
    assert api.jobs(run) == first
    assert double.rate.used == spent
    assert [x.status for x in double.asked("GET", "/jobs")] == [200, 304]


def test_a_post_behind_a_502_is_sent_once(double: GitHubDouble, api: GitHubApi, clock: Clock) -> None:
    double.fault(Fault(method="POST", path="/dispatches", status=502, times=20, processed=True))
    with pytest.raises(Unavailable, match="502"):
        api.dispatch("e2e-shard.yml", "main", inputs(dispatch_id="only-one"))
    assert len(double.asked("POST", "/dispatches")) == 1
    found = api.find_run("e2e-shard.yml", "only-one", clock.now - 60)
    assert found in double.hub.runs
    assert api.find_run("e2e-shard.yml", "only-on", clock.now - 60) is None


def test_a_run_is_found_behind_a_hundred_newer_ones(double: GitHubDouble, api: GitHubApi, clock: Clock) -> None:
    """A controller that comes back after days looks for its dispatch in a busy repository."""
    wanted = api.dispatch("e2e-shard.yml", "main", inputs(dispatch_id="mine"))
    for number in range(120):
        double.hub.dispatch(double.hub.workflows["e2e-shard.yml"], "main", inputs(dispatch_id=f"other-{number}"))
    assert api.find_run("e2e-shard.yml", "mine", clock.now - 60) == wanted
    assert len(double.asked("GET", "/runs")) == 2


def test_a_lost_answer_is_unavailable_and_sent_once(double: GitHubDouble, api: GitHubApi) -> None:
    double.fault(Fault(method="POST", path="/dispatches", status=0, times=20, processed=True))
    with pytest.raises(Unavailable, match="no answer from"):
        api.dispatch("e2e-shard.yml", "main", inputs())
    assert len(double.asked("POST", "/dispatches")) == 1
    assert len(double.hub.runs) == 1


def test_a_get_survives_bad_gateways_and_broken_connections(double: GitHubDouble, api: GitHubApi) -> None:
    run = api.dispatch("e2e-shard.yml", "main", inputs())
    assert run
    double.fault(Fault(path="/jobs", status=502, times=1))
    double.fault(Fault(path="/jobs", status=0, times=1))
    assert len(api.jobs(run)) == 1
    assert api.client.sent == len(double.exchanges) == 4
    double.fault(Fault(path="/jobs", status=503, body="<html>maintenance</html>", times=9))
    with pytest.raises(Unavailable, match="503"):
        api.jobs(run)


def test_html_instead_of_json_is_no_answer(double: GitHubDouble, api: GitHubApi) -> None:
    double.fault(Fault(path="/actions/runs/1", status=200, body="<html>a proxy</html>"))
    with pytest.raises(Unavailable, match="not JSON"):
        api.run(1)
    double.exchanges.clear()


@pytest.mark.parametrize("body", ["<html>a proxy</html>", '"maintenance"', "[7]", '{"message": "later"}'])
@pytest.mark.parametrize(
    "call",
    ["dispatch", "find_run", "run", "jobs", "artifacts", "artifacts_called", "annotations", "runners", "comments"],
)
def test_no_call_takes_a_page_of_somebody_else_for_an_answer(
    double: GitHubDouble, api: GitHubApi, call: str, body: str
) -> None:
    calls: dict[str, Callable[[], object]] = {
        "dispatch": lambda: api.dispatch("e2e-shard.yml", "main", inputs()),
        "find_run": lambda: api.find_run("e2e-shard.yml", "d.1", 0.0),
        "run": lambda: api.run(1),
        "jobs": lambda: api.jobs(1),
        "artifacts": lambda: api.artifacts(1),
        "artifacts_called": lambda: api.artifacts_called("history"),
        "annotations": lambda: api.annotations(1),
        "runners": api.runners,
        "comments": lambda: api.comments(1),
    }
    for method in ("GET", "POST"):
        double.fault(Fault(method=method, path=".", status=200, body=body, times=5))
    with pytest.raises(Unavailable):
        calls[call]()
    assert len(double.exchanges) == 1
    double.exchanges.clear()


def test_json_of_another_shape_is_no_answer(double: GitHubDouble, api: GitHubApi) -> None:
    double.fault(Fault(path="/actions/runs/1", status=200, body='["surprise"]'))
    with pytest.raises(Unavailable, match="not what GitHub describes"):
        api.run(1)
    double.exchanges.clear()


def test_an_older_server_gets_the_dispatch_without_the_field_it_refuses(double: GitHubDouble, api: GitHubApi) -> None:
    double.returns_run_details = False
    assert api.dispatch("e2e-shard.yml", "main", inputs()) is None
    assert [x.status for x in double.asked("POST")] == [400, 204]
    assert len(double.hub.runs) == 1


@pytest.mark.parametrize(
    ("permissions", "call", "named"),
    [
        (("actions:read",), "dispatch", "actions: write"),
        (("actions:read",), "rerun", "actions: write"),
        (("actions:read",), "cancel", "actions: write"),
        (("contents:read",), "jobs", "actions: read"),
        (("actions:write",), "runners", "administration: read"),
    ],
)
def test_a_missing_permission_is_named(
    double: GitHubDouble, api: GitHubApi, permissions: tuple[str, ...], call: str, named: str
) -> None:
    run = api.dispatch("e2e-shard.yml", "main", inputs()) or 0
    weak = client_of(double, token=double.grant(*permissions))
    calls = {
        "dispatch": lambda: weak.dispatch("e2e-shard.yml", "main", inputs()),
        "rerun": lambda: weak.rerun_failed(run),
        "cancel": lambda: weak.cancel(run),
        "jobs": lambda: weak.jobs(run),
        "runners": weak.runners,
    }
    with pytest.raises(RequestRefused) as refused:
        calls[call]()
    assert f"lacks the permission `{named}`" in str(refused.value)
    assert "try: " in str(refused.value)
    assert refused.value.exit_code is ExitCode.GITHUB_REFUSED
    weak.client.close()


def test_annotations_are_a_help_and_no_condition(double: GitHubDouble, api: GitHubApi) -> None:
    run = api.dispatch("e2e-shard.yml", "main", inputs()) or 0
    weak = client_of(double, token=double.grant("actions:write"))
    assert weak.annotations(weak.jobs(run)[0].id) == ()
    weak.client.close()


@pytest.mark.parametrize(
    ("ref", "workflow", "given", "says", "hint"),
    [
        ("main", "nowhere.yml", inputs(), "404", "on the default branch"),
        ("0123abc", "e2e-shard.yml", inputs(), "No ref found for: 0123abc", "push it first"),
        ("main", "e2e-shard.yml", inputs() | {"wish": "1"}, 'Unexpected inputs provided: ["wish"]', "must declare"),
        ("main", "e2e-shard.yml", {"matrix": "{}"}, "Required input 'plan' not provided", "must declare"),
    ],
)
def test_a_refused_dispatch_says_what_to_change(
    double: GitHubDouble, api: GitHubApi, ref: str, workflow: str, given: dict[str, str], says: str, hint: str
) -> None:
    with pytest.raises(RequestRefused) as refused:
        api.dispatch(workflow, ref, given)
    assert says in str(refused.value)
    assert hint in str(refused.value)


def test_a_wrong_token_is_told_from_a_weak_one(double: GitHubDouble) -> None:
    stranger = client_of(double, token="nobody")
    with pytest.raises(RequestRefused, match="set GITHUB_TOKEN"):
        stranger.run(1)
    stranger.client.close()


def test_rate_limits_are_told_with_their_wait_and_never_slept_through(double: GitHubDouble, api: GitHubApi) -> None:
    for fault, seconds in (
        (secondary_limit("/runs/1", retry_after=7), 7.0),
        (secondary_limit("/runs/1", retry_after=3, status=429), 3.0),
        (secondary_limit("/runs/1"), 60.0),
        (secondary_limit("/runs/1", status=429), 60.0),
    ):
        double.fault(fault)
        with pytest.raises(RateLimited) as limited:
            api.run(1)
        assert limited.value.seconds == seconds
    double.rate.used = double.rate.limit
    with pytest.raises(RateLimited) as limited:
        api.run(1)
    assert 3590 < limited.value.seconds < 3610
    assert api.client.remaining == 0
    assert len(double.exchanges) == 5


def test_a_403_that_is_no_rate_limit_is_not_taken_for_one(double: GitHubDouble, api: GitHubApi) -> None:
    run = api.dispatch("e2e-shard.yml", "main", inputs()) or 0
    with pytest.raises(RequestRefused, match="already running") as refused:
        api.rerun_failed(run)
    assert refused.value.status == 403


def test_cancelling_what_has_ended_is_fine(double: GitHubDouble, api: GitHubApi, clock: Clock) -> None:
    run = api.dispatch("e2e-shard.yml", "main", inputs()) or 0
    clock.now += 60
    api.cancel(run)
    assert [x.status for x in double.asked("POST", "/cancel")] == [409]


def test_words_of_tomorrow_survive(double: GitHubDouble, api: GitHubApi) -> None:
    body = {
        "id": 5,
        "status": "hibernating",
        "conclusion": None,
        "run_attempt": 1,
        "display_title": "t",
        "html_url": "",
    }
    double.fault(Fault(path="/runs/5$", status=200, body=json.dumps(body)))
    assert api.run(5).status == "hibernating"
    job = {"id": 6, "name": "shard a", "status": "completed", "conclusion": "evaporated", "runner_id": 0}
    double.fault(Fault(path="/runs/5/jobs", status=200, body=json.dumps({"total_count": 1, "jobs": [job]})))
    assert [(j.completed, j.conclusion, j.taken) for j in api.jobs(5)] == [(True, "evaporated", False)]
    double.exchanges.clear()


def test_a_message_of_github_is_one_line(double: GitHubDouble, api: GitHubApi) -> None:
    double.fault(Fault(path="/runs/1", status=418, body=message("short\n::error::and stout")))
    with pytest.raises(RequestRefused) as refused:
        api.run(1)
    assert "short ::error::and stout" in str(refused.value)
    double.exchanges.clear()


def test_more_than_one_page_of_jobs(double: GitHubDouble, api: GitHubApi) -> None:
    run = api.dispatch("e2e-shard.yml", "main", inputs(*(f"head-{n}" for n in range(150)))) or 0
    assert len(api.jobs(run)) == 150
    assert len(double.asked("GET", "/jobs")) == 2
