"""What is known of GitHub's behaviour and no description says, as the double has it. No HTTP where none is needed."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests

from tests.github_double import GitHubDouble, Script, ScriptedWorker
from tests.github_double.entities import Conflict, Run
from tests.github_double.state import Hub
from tests.github_double.workflows import Refused, Workflow
from tests.integration.github_client import client_of
from tests.integration.test_github_double import WORKER

DAY = 86_400.0
GROUPED = WORKER.replace("jobs:", "concurrency:\n  group: fleet\njobs:")


class Time:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class World:
    """Two runners for the label x, jobs of 100 seconds."""

    def __init__(self, text: str = WORKER, *, runners: int = 2) -> None:
        self.time = Time()
        self.hub = Hub(self.time, ScriptedWorker(lambda job: Script(seconds=100, dies_after=self.dies)))
        self.dies: float | None = None
        self.hub.workflows["w.yml"] = Workflow("w.yml", text, 1)
        for number in range(runners):
            self.hub.add_runner(f"x-{number}", "x")

    def dispatch(self, *shards: str) -> Run:
        include = [{"shard": shard, "labels": ["x"]} for shard in shards or ("a",)]
        inputs = {"matrix": json.dumps({"include": include}), "dispatch_id": "d"}
        run = self.hub.dispatch(self.hub.workflows["w.yml"], "main", inputs)
        self.hub.tick()
        return run

    def later(self, seconds: float) -> None:
        self.time.now += seconds
        self.hub.tick()


def test_a_job_that_waits_for_a_day_is_cancelled_without_a_word() -> None:
    world = World(runners=0)
    [job] = world.dispatch().jobs
    world.later(DAY - 1)
    assert job.status == "queued"
    world.later(2)
    assert (job.conclusion, job.runner, job.steps, job.annotations) == ("cancelled", None, [], [])


def test_a_concurrency_group_runs_one_and_keeps_one_waiting() -> None:
    world = World(GROUPED)
    first, second, third = world.dispatch(), world.dispatch(), world.dispatch()
    assert [run.status for run in (first, second, third)] == ["in_progress", "completed", "pending"]
    assert second.conclusion == "cancelled"
    assert "higher priority waiting request for fleet" in second.jobs[0].annotations[0][1]
    world.later(101)
    assert (first.conclusion, third.status) == ("success", "in_progress")


def test_with_queue_max_everybody_gets_a_turn() -> None:
    world = World(GROUPED.replace("group: fleet", "group: fleet\n  queue: max"))
    runs = [world.dispatch() for _ in range(4)]
    assert [run.status for run in runs] == ["in_progress", "pending", "pending", "pending"]
    for _ in range(4):
        world.later(101)
    assert [run.conclusion for run in runs] == ["success"] * 4


def test_ids_of_artifacts_do_not_grow_with_attempts_and_names_have_rules() -> None:
    world = World()
    run = world.dispatch()
    early = world.hub.upload(run, "report-a1", b"1")
    world.later(101)
    world.hub.rerun(run, lambda _job: True)
    late = world.hub.upload(run, "report-a2", b"2")
    assert late.id < early.id
    with pytest.raises(Conflict, match="already exists"):
        world.hub.upload(run, "report-a2", b"3")
    for name in ("a/b", "a:b", "a?b", "a\nb"):
        with pytest.raises(Conflict, match="not valid"):
            world.hub.upload(run, name, b"")
    for number in range(499):
        world.hub.upload(run, f"n{number}", b"")
    with pytest.raises(Conflict, match="500 artifacts"):
        world.hub.upload(run, "one-more", b"")


@pytest.mark.parametrize("shape", [("in_progress", None), ("completed", "cancelled")])
def test_a_lost_runner_has_two_shapes(shape: tuple[str, str | None]) -> None:
    world = World()
    world.dies, world.hub.lost_step = 5.0, shape
    [job] = world.dispatch().jobs
    world.later(600)
    assert job.conclusion == "failure"
    assert (job.steps[-1].status, job.steps[-1].conclusion) == shape


def test_a_job_that_no_runner_acquires_is_cancelled_and_says_so() -> None:
    world = World(runners=0)
    [job] = world.dispatch().jobs
    world.hub.refuse(job)
    assert (job.conclusion, job.steps) == ("cancelled", [])
    assert "was not acquired by Runner of type self-hosted" in job.annotations[0][1]


def test_values_of_inputs_are_checked() -> None:
    text = "on: {workflow_dispatch: {inputs: {a: {type: choice, options: [x, y]}, b: {type: boolean}}}}\njobs: {}"
    workflow = Workflow("w.yml", text, 1)
    assert workflow.accepted("main", {"a": "x", "b": True}) == {"a": "x", "b": "true"}
    for given in ({"a": "z"}, {"b": "maybe"}):
        with pytest.raises(Refused, match="not in the list of allowed values"):
            workflow.accepted("main", given)


def asked(
    github: GitHubDouble, method: str, path: str, body: dict[str, Any] | None = None, *, version: str = "2022-11-28"
) -> requests.Response:
    headers = {"Authorization": f"Bearer {github.token}", "X-GitHub-Api-Version": version}
    url = f"{github.url}/repos/{github.repository}/actions/{path}"
    return requests.request(method, url, headers=headers, json=body, timeout=5)


def test_a_dispatch_needs_the_file_on_the_default_branch_and_its_answer_depends_on_the_version() -> None:
    with GitHubDouble() as github:
        github.workflow("w.yml", WORKER)
        github.workflow("elsewhere.yml", WORKER, branches=frozenset({"feature"}))
        inputs = {"matrix": json.dumps({"include": [{"shard": "a", "labels": ["x"]}]}), "dispatch_id": "d"}
        send = {"ref": "main", "inputs": inputs}
        path, details = "workflows/w.yml/dispatches", {**send, "return_run_details": True}
        assert asked(github, "POST", path, send).status_code == 204
        assert asked(github, "POST", path, details).json()["workflow_run_id"] in github.hub.runs
        assert asked(github, "POST", path, send, version="2026-03-10").json()["workflow_run_id"] in github.hub.runs
        assert asked(github, "POST", path, details, version="2026-03-10").status_code == 400
        elsewhere = asked(github, "POST", "workflows/elsewhere.yml/dispatches", {**send, "ref": "feature"})
        assert elsewhere.status_code == 404


def test_a_runner_of_githubs_own_is_told_by_its_group() -> None:
    with GitHubDouble(worker=ScriptedWorker(lambda _job: Script(seconds=600))) as github:
        github.workflow("w.yml", WORKER)
        github.hub.add_runner("GitHub Actions 7", "ubuntu-latest")
        github.hub.add_runner("moruk", "x")
        include = [{"shard": name, "labels": [name]} for name in ("x", "ubuntu-latest")]
        inputs = {"matrix": json.dumps({"include": include}), "dispatch_id": "d"}
        run = github.hub.dispatch(github.hub.workflows["w.yml"], "main", inputs)
        github.hub.tick()
        api = client_of(github)
        jobs = api.jobs(run.id)
        assert api.in_progress() == (run.id,)
        assert {job.runner: job.hosted for job in jobs} == {"moruk": False, "GitHub Actions 7": True}
        api.client.close()


def test_a_page_has_at_most_a_hundred_and_a_waiting_job_no_runner_in_either_form() -> None:
    with GitHubDouble() as github:
        github.workflow("w.yml", WORKER)
        include = [{"shard": f"s{n}", "labels": ["x"]} for n in range(150)]
        inputs = {"matrix": json.dumps({"include": include}), "dispatch_id": "d"}
        run = github.hub.dispatch(github.hub.workflows["w.yml"], "main", inputs)
        jobs = asked(github, "GET", f"runs/{run.id}/jobs?per_page=1000").json()["jobs"]
        assert len(jobs) == 100
        assert {(job["runner_id"], job["runner_name"]) for job in jobs} == {(None, None), (0, "")}
