"""The double is a GitHub that others believe too: GitHub's own client works with it, its own description agrees."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import requests

from tests.github_double import Fault, GitHubDouble, Script, ScriptedWorker, zipped
from tests.github_double.entities import Job

OCTOKIT = Path(__file__).parent / "js" / "octokit"

WORKER = """
name: Shards
run-name: "Shards [${{ inputs.dispatch_id }}]"
on:
  workflow_dispatch:
    inputs:
      matrix: {type: string, required: true}
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


def goes(job: Job) -> Script:
    """Shard s2 fails at its first attempt; everybody uploads a report."""
    failing = job.name == "shard s2" and job.attempt == 1
    report = {f"junit-{job.matrix['shard']}-a{job.attempt}": zipped({"junit.xml": "<testsuites/>"})}
    return Script(seconds=0.01, conclusion="failure" if failing else "success", artifacts=report, log=b"hello log")


@pytest.mark.needs("octokit")
def test_octokit_walks_through_the_double() -> None:
    with GitHubDouble(worker=ScriptedWorker(goes)) as github:
        github.workflow("worker.yml", WORKER)
        for name in ("moruk-1", "moruk-2"):
            github.hub.add_runner(name, "moruk")
        ran = subprocess.run(
            ["node", OCTOKIT / "walk.mjs", github.url, github.repository, "worker.yml"],
            env={**os.environ, "OCTOKIT_TOKEN": github.token},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert ran.returncode == 0, ran.stderr
        seen = json.loads(ran.stdout)
        assert github.findings() == []
    assert seen["title"] == "Shards [from-octokit]"
    assert seen["conclusions"] == ["failure", "success"]
    assert [job.split(" on ")[0] for job in seen["jobs"]] == [
        "shard s1 success",
        "shard s2 failure",
        "shard s3 success",
    ]
    assert seen["again"] == ["shard s2 success"]
    assert sorted(seen["artifacts"]) == ["junit-s1-a1", "junit-s2-a1", "junit-s2-a2", "junit-s3-a1"]
    assert (seen["magic"], seen["log"], seen["refused"]) == ("PK", "hello log", 404)
    assert seen["annotation"] == "Process completed with exit code 1."
    assert seen["runners"] == ["moruk-1", "moruk-2"]


def test_the_description_objects_to_what_nobody_may_send() -> None:
    with GitHubDouble() as github:
        github.workflow("worker.yml", WORKER)
        api = f"{github.url}/repos/{github.repository}"
        headers = {"Authorization": f"Bearer {github.token}"}
        requests.post(
            f"{api}/actions/workflows/worker.yml/dispatches", json={"ref": 7, "wish": 1}, headers=headers, timeout=5
        )
        requests.get(f"{api}/actions/runs?per_page=ten&colour=blue", headers=headers, timeout=5)
        requests.delete(f"{api}/actions/runs/1", headers=headers, timeout=5)
        found = "\n".join(github.findings())
    for objection in (
        "request ref: 7 is not of type 'string'",
        "request field wish is not described",
        "query per_page: (top): 'ten' is not of type 'integer'",
        "query parameter colour is not described",
        "no such operation: DELETE",
    ):
        assert objection in found


def test_the_description_objects_to_an_answer_that_github_would_not_give() -> None:
    with GitHubDouble() as github:
        github.fault(Fault(path="/actions/runs/1$", status=200, body='{"id": "one"}'))
        requests.get(f"{github.url}/repos/{github.repository}/actions/runs/1", timeout=5)
        found = "\n".join(github.findings())
    assert "answer id: 'one' is not of type 'integer'" in found
    assert "'workflow_id' is a required property" in found


def test_the_storage_refuses_a_token_and_an_old_signature() -> None:
    now = [1000.0]
    with GitHubDouble(clock=lambda: now[0]) as github:
        address = github.signed("report.zip", b"zip")
        assert requests.get(address, timeout=5).content == b"zip"
        assert requests.get(address, headers={"Authorization": "Bearer x"}, timeout=5).status_code == 400
        now[0] += 61
        assert requests.get(address, timeout=5).status_code == 403
        assert len(github.token_leaks) == 1


def test_the_double_moves_on_by_its_own_clock_and_a_dead_runner_stays_silent() -> None:
    now = [1_700_000_000.0]
    worker = ScriptedWorker(lambda job: Script(dies_after=5) if job.name == "shard a" else Script(seconds=30))
    with GitHubDouble(clock=lambda: now[0], worker=worker) as github:
        github.workflow("worker.yml", WORKER)
        github.hub.add_runner("pi", "pi")
        github.hub.add_runner("moruk", "moruk")
        include = [
            {"shard": "a", "labels": ["pi"]},
            {"shard": "b", "labels": ["moruk"]},
            {"shard": "c", "labels": ["moruk"]},
        ]
        hub = github.hub
        run = hub.dispatch(
            hub.workflows["worker.yml"], "main", {"matrix": json.dumps({"include": include}), "dispatch_id": "x"}
        )

        def words() -> list[str]:
            hub.tick()
            return [job.conclusion or job.status for job in run.jobs]

        assert words() == ["in_progress", "in_progress", "queued"]
        now[0] += 100  # one look after everything: the events in between still come in their own order
        assert words() == ["in_progress", "success", "success"]
        assert [job.completed for job in run.jobs] == [None, 1_700_000_030.0, 1_700_000_060.0]
        assert [runner.online for runner in hub.runners] == [False, True]
        now[0] += 600
        assert words() == ["failure", "success", "success"]
        assert "lost communication" in run.jobs[0].annotations[0][1]
        assert run.status == "completed"
