"""The double is a GitHub that others believe too: GitHub's own client works with it, its own description agrees."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from tests.components import JS, ROOT
from tests.github_double import Fault, GitHubDouble, Script, ScriptedWorker, Stop, failed_cancel, zipped
from tests.github_double.acting import STANDINS
from tests.github_double.description import described
from tests.github_double.entities import CANCELED, Job, Run
from tests.github_double.repository_settings import RepositorySettings
from tests.github_double.routes import ROUTES
from tests.github_double.workflows import Workflow
from tests.integration.test_github_client import WORKER as CLIENT_WORKER

OCTOKIT = JS / "octokit"
FOLDERS = (ROOT / ".github" / "workflows", ROOT / "examples" / "github")
FILES = [file.read_text("utf-8") for folder in FOLDERS for file in sorted(folder.glob("*.yml"))]
DISPATCHED = [text for text in FILES if "fromJSON(inputs.matrix)" in text]

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
    seconds = 600.0 if job.name == "shard slow" else 0.01
    return Script(seconds=seconds, conclusion="failure" if failing else "success", artifacts=report, log=b"hello log")


@pytest.mark.needs("workflow-tools")
def test_githubs_own_parser_and_expressions_make_the_same_jobs_of_a_dispatch() -> None:
    """Of the workers of this repository, of its examples and of its tests, with hostile texts in the matrix."""
    entries = [
        {"shard": "head-1", "labels": ["self-hosted", "moruk"], "timeout_minutes": 35, "commit": "c0ffee"},
        {"shard": "a'b\"c ${{ x }} | $(y)\n::error::", "labels": ["Ünïcode", "日本"], "timeout_minutes": 1.5},
        {"shard": True, "labels": ["x"], "commit": "x" * 3000},
        {"shard": None, "labels": ["x"]},
        {"shard": 7, "labels": "moruk", "timeout_minutes": True, "commit": None},
    ]
    inputs = {"matrix": json.dumps({"include": entries}), "plan": "cGxhbg==", "dispatch_id": "r1.1 ${{ z }}"}
    cases = []
    for text in (*DISPATCHED, WORKER, CLIENT_WORKER):
        workflow = Workflow("worker.yml", text, 1)
        described = workflow.document["on"]["workflow_dispatch"]["inputs"]
        cases.append((workflow, workflow.accepted("main", {k: v for k, v in inputs.items() if k in described})))
    told = judged([{"text": workflow.text, "inputs": given} for workflow, given in cases])
    for (workflow, given), said in zip(cases, told, strict=True):
        ours = [
            {"name": job.name, "labels": list(job.labels), "matrix": dict(job.matrix)} for job in workflow.jobs(given)
        ]
        assert said == {"errors": [], "title": workflow.title(given), "jobs": ours}
    [bad] = judged([{"text": "on: push\njobs: {a: {runs-on: x, needs: nobody, steps: [{rum: x}]}}", "inputs": {}}])
    assert bad["errors"]


def judged(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    folder = JS / "workflow-tools"
    command = ["node", "--no-warnings", "--import", f"{folder}/json-imports.mjs", f"{folder}/jobs.mjs"]
    ran = subprocess.run(command, input=json.dumps(cases), capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 0, ran.stderr
    said: list[dict[str, Any]] = json.loads(ran.stdout)
    return said


@pytest.mark.needs("octokit")
def test_octokit_walks_through_the_double() -> None:
    with GitHubDouble(worker=ScriptedWorker(goes)) as github:
        github.workflow("worker.yml", WORKER)
        for name in ("moruk-1", "moruk-2"):
            github.hub.add_runner(name, "moruk")
        github.settings = RepositorySettings(
            files={"ci-dispatch.toml"},
            others={"acme/ci-dispatch/action.yml@v1"},
            secrets=["KEY"],
            organisation_secrets=["SHARED"],
            merge_queue=True,
            required=["E2E"],
            protected=["CI"],
            organisation_runners=[github.hub.add_runner("moruk-3", "moruk")],
        )
        github.tokens[github.token] |= {"secrets:read", "organization_self_hosted_runners:read"}
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
    assert seen["called"] == [[seen["artifacts"][0], "main"]]
    assert (seen["magic"], seen["log"], seen["refused"]) == ("PK", "hello log", 404)
    assert seen["annotation"] == "Process completed with exit code 1."
    assert seen["runners"] == ["moruk-1", "moruk-2", "moruk-3"]
    assert seen["settings"] == [
        *("ci-dispatch.toml", "action.yml", ["KEY"], ["SHARED"], "read"),
        *(["merge_queue", "required_status_checks"], ["CI"], ["moruk-3"]),
    ]
    assert seen["repository"] == [github.repository, "main"]
    assert seen["workflows"] == [1, ".github/workflows/worker.yml"]
    assert seen["runs"] == [1, 1]
    assert seen["attempt"] == [1, "shard s1"]
    assert seen["conflict"] == [202, 409, 202, 409]
    assert seen["comments"] == ["second"]
    assert seen["left"]
    asked = {(x.method, urlsplit(x.url).path) for x in github.exchanges}
    repository = f"/repos/{github.repository}"
    for route in ROUTES:
        whole = route.pattern.pattern.startswith(("/repos/", "/orgs/"))
        path = re.compile(route.pattern.pattern if whole else re.escape(repository) + route.pattern.pattern)
        judged_by = [method for method, url in asked if method == route.method and path.fullmatch(url)]
        assert judged_by, f"GitHub's own client has not asked {route.method} {route.pattern.pattern}"


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
        with pytest.raises(AssertionError) as objected:  # without being asked
            github.__exit__(None, None, None)
        found = str(objected.value)
        github.exchanges.clear()
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
        found = "\n".join(described().answer(github.exchanges[0]))
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


def test_uploads_follow_the_rules_of_upload_artifact(tmp_path: Path) -> None:
    """Patterns, exclusions, hidden files, names that are refused, and one artifact a name and attempt."""
    report = tmp_path / "report"
    (report / "deep").mkdir(parents=True)
    for name in ("attempt.json", "junit.xml", "deep/more.xml", "shot.png", ".hidden"):
        (report / name).write_text(name)
    world = Running(Script(seconds=600))
    with world.double as github:
        run = world.start()

        def upload(name: str, *lines: str, required: bool = True) -> tuple[int, str]:
            env = {"NAME": name, "FILES": "\n".join(lines), "IF_NONE": "error" if required else "warn"}
            env |= {"DOUBLE_UPLOAD": f"{github.url}/_double/upload/{run.id}", "PATH": os.environ["PATH"]}
            env |= {"PYTHONPATH": str(ROOT)}
            command = [sys.executable, str(STANDINS / "upload-artifact" / "upload.py")]
            ran = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=30)
            return ran.returncode, ran.stderr

        def held(name: str) -> list[str]:
            [artifact] = [each for each in github.hub.artifacts if each.name == name]
            return sorted(zipfile.ZipFile(io.BytesIO(artifact.data)).namelist())

        assert upload("report", f"{report}/attempt.json", f"{report}/**/*.xml")[0] == 0
        assert held("report") == ["attempt.json", "deep/more.xml", "junit.xml"]
        assert upload("files", str(report), f"!{report}/attempt.json")[0] == 0
        assert held("files") == ["deep/more.xml", "junit.xml", "shot.png"]
        assert "HTTP Error 409" in upload("files", str(report))[1]
        assert "not valid" in upload("a/b", str(report))[1]
        assert upload("none", f"{report}/*.zip") == (1, "No files were found with the provided path\n")
        assert upload("none", f"{report}/*.zip", required=False)[0] == 0
        (report / "pays: why?.png").write_text("x")
        assert "not valid: 'pays: why?.png'" in upload("all", str(report))[1]
        assert upload("report-again", f"{report}/attempt.json", f"{report}/**/*.xml")[0] == 0


class Running:
    """A run with the jobs a, b and c, one on each machine, on a clock that the test moves; a goes by `script`."""

    def __init__(self, script: Script) -> None:
        self.now = 1_700_000_000.0
        worker = ScriptedWorker(lambda job: script if job.name == "shard a" else Script(seconds=600))
        self.double = GitHubDouble(clock=lambda: self.now, worker=worker)
        self.double.workflow("worker.yml", WORKER)
        for name in "abc":
            self.double.hub.add_runner(f"runner-{name}", name)

    def start(self) -> Run:
        include = [{"shard": name, "labels": [name]} for name in "abc"]
        inputs = {"matrix": json.dumps({"include": include}), "dispatch_id": "x"}
        run = self.double.hub.dispatch(self.double.hub.workflows["worker.yml"], "main", inputs)
        self.double.hub.tick()  # the runners take their jobs now
        return run

    def call(self, method: str, path: str) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.double.token}"}
        url = f"{self.double.url}/repos/{self.double.repository}{path}"
        return requests.request(method, url, headers=headers, timeout=5)

    def jobs(self, run: Run) -> dict[str, str]:
        """What the API shows: each job's conclusion, or else its status."""
        shown = self.call("GET", f"/actions/runs/{run.id}/jobs").json()["jobs"]
        return {job["name"][-1]: job["conclusion"] or job["status"] for job in shown}

    def run(self, run: Run) -> tuple[str, str | None]:
        shown = self.call("GET", f"/actions/runs/{run.id}").json()
        return shown["status"], shown["conclusion"]

    def annotations(self, job: Job) -> list[str]:
        return [note["message"] for note in self.call("GET", f"/check-runs/{job.id}/annotations").json()]


def test_a_job_over_its_time_limit_is_cancelled_and_its_run_goes_on() -> None:
    report = {"junit-a-a1": zipped({"junit.xml": "<testsuites/>"})}
    world = Running(Script(seconds=90, stop=Stop.TIME_LIMIT, artifacts=report))
    with world.double as github:
        run = world.start()
        world.now += 100
        assert world.jobs(run) == {"a": "cancelled", "b": "in_progress", "c": "in_progress"}
        assert world.run(run) == ("in_progress", None)
        assert world.annotations(run.jobs[0]) == ["The job has exceeded the maximum execution time of 1m30s", CANCELED]
        assert run.jobs[0].steps[-1].conclusion == "cancelled"
        listed = world.call("GET", f"/actions/runs/{run.id}/artifacts").json()["artifacts"]
        assert [artifact["name"] for artifact in listed] == ["junit-a-a1"]
        world.now += 600
        assert world.run(run) == ("completed", "cancelled")
        assert github.findings() == []


def test_a_stopped_runner_cancels_its_job_with_nothing_but_the_bare_words() -> None:
    world = Running(Script(seconds=30, stop=Stop.RUNNER, artifacts={"report": b"never uploaded"}))
    with world.double as github:
        run = world.start()
        world.now += 60
        assert world.jobs(run) == {"a": "cancelled", "b": "in_progress", "c": "in_progress"}
        assert world.run(run) == ("in_progress", None)
        assert world.annotations(run.jobs[0]) == [CANCELED]
        assert github.hub.artifacts == []
        shown = world.call("GET", "/actions/runners").json()["runners"]
        assert [(r["name"], r["status"], r["busy"]) for r in shown] == [
            ("runner-a", "offline", False),
            ("runner-b", "online", True),
            ("runner-c", "online", True),
        ]
        world.now += 600
        assert world.run(run) == ("completed", "cancelled")
        assert github.findings() == []


@pytest.mark.parametrize("processed", [False, True])
def test_a_cancel_request_may_fail_before_it_is_accepted(processed: bool) -> None:
    world = Running(Script(seconds=600))
    with world.double as github:
        github.fault(failed_cancel(status=502, times=2, processed=processed))
        run = world.start()
        answers = [world.call("POST", f"/actions/runs/{run.id}/cancel").status_code for _ in range(3)]
        assert answers == [502, 502, 409 if processed else 202]  # 409: the first one had taken effect
        assert world.run(run) == ("completed", "cancelled")
        assert github.findings() == []


def test_a_job_that_always_runs_is_ended_by_force_cancel_only() -> None:
    world = Running(Script(seconds=3600, always=True))
    with world.double as github:
        run = world.start()
        world.now += 5
        assert world.jobs(run)["a"] == "in_progress"
        assert world.call("POST", f"/actions/runs/{run.id}/cancel").status_code == 202
        world.now += 900
        assert world.jobs(run) == {"a": "in_progress", "b": "cancelled", "c": "cancelled"}
        assert world.run(run) == ("in_progress", None)
        assert world.call("POST", f"/actions/runs/{run.id}/cancel").status_code == 202
        assert world.run(run) == ("in_progress", None)
        github.fault(failed_cancel(force=True))
        answers = [world.call("POST", f"/actions/runs/{run.id}/force-cancel").status_code for _ in range(3)]
        assert answers == [500, 202, 409]
        assert world.run(run) == ("completed", "cancelled")
        assert github.findings() == []


def test_a_run_that_a_person_cancels_says_so_on_each_of_its_jobs() -> None:
    world = Running(Script(seconds=5))
    with world.double as github:
        github.hub.runners[2].online = False
        run = world.start()
        world.now += 10
        github.hub.tick()
        github.hub.cancel(run, by="octocat")
        assert world.jobs(run) == {"a": "success", "b": "cancelled", "c": "cancelled"}
        assert world.run(run) == ("completed", "cancelled")
        by = "The run was canceled by @octocat."
        assert [world.annotations(job) for job in run.jobs] == [[], [by, CANCELED], [by]]
        assert github.findings() == []
