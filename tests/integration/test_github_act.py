"""The real workflows and the real action.yml, executed by act and joined to the double: from a push to a verdict."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ci_dispatch.core.codec import replace
from report_merge.junit.document import read
from tests.fleet.fixtures import Loopback, loopback, ssh_keys  # noqa: F401
from tests.github_double import GitHubDouble
from tests.github_double.acting import Act, ActWorker, commit, platform, repository

FLEET = ("local", "moruk", "ilko2", "pi")
SHARDS = os.environ.get("GITHUB_ACT_SHARDS", "8")
PROJECT = "desktop" if SHARDS == "8" else ""  # GITHUB_ACT_SHARDS=48 is the whole reference: 198 tests
NEEDED = ("act", "node", "npm", "playwright", "chromium")


class Stage:
    """A checkout, a double whose jobs act runs, and the orchestrator's own act."""

    def __init__(self, folder: Path, *, dies: str = "", mode: str = "", project: str = "desktop") -> None:
        self.checkout = repository(folder / "checkout")
        config = self.checkout / "examples/reference-suite/fleet.toml"
        text = re.sub(r"(cores = \d+)", r"\1\nworkers = 1", config.read_text())  # all four machines are this one
        text += '\n[github]\nstrategy = "pinned"\n'
        config.write_text(text.replace("[suite]", f'[suite]\nargs = ["--project={project}"]' if project else "[suite]"))
        door = self.checkout / ".github/workflows/e2e.yml"  # a push brings no inputs: this one is cut finer than usual
        door.write_text(door.read_text().replace("${{ inputs.shards }}", f'"{SHARDS}"'))
        commit(self.checkout)
        (folder / "state").mkdir()
        self.scratch = folder / "act"
        self.scratch.mkdir()
        env = {
            "E2E_MODE": mode,
            "FULLY_PARALLEL": "1",  # every test may be sent by itself: 36 files would not fill 48 shards
            "E2E_STATE": str(folder / "state"),
            "CI_DISPATCH_GITHUB_POLL_INTERVAL": "2s",
            "CI_DISPATCH_HEALTH_MAX_LOAD_PER_CORE": "1000",  # this machine plays four, and runs the tests
        }
        self.act = Act(checkout=self.checkout, scratch=self.scratch, env=env)
        self.worker = ActWorker(self.act, dies=lambda job: 4.0 if job.runner and job.runner.name == dies else None)
        self.double = GitHubDouble(worker=self.worker)
        self.worker.double = self.double
        self.double.hub.lock_seconds = 10.0
        for name in ("e2e-shard.yml",):
            self.double.workflow(name, (self.checkout / ".github/workflows" / name).read_text())
        for name in FLEET:
            self.double.hub.add_runner(name, name)

    def orchestrate(self, event: str, payload: dict[str, Any], **more: str) -> list[dict[str, Any]]:
        """Run e2e.yml for an event; what act says, line by line."""
        env = {
            **self.act.env,
            "GITHUB_API_URL": self.double.url,
            "GITHUB_REPOSITORY": self.double.repository,
            "DOUBLE_UPLOAD": f"{self.double.url}/_double/upload/1",
            **more,
        }
        act = replace(self.act, env=env)
        token = f"--secret=GITHUB_TOKEN={self.double.token}"
        command = act.command(event, "e2e.yml", payload, token, *platform(["ubuntu-latest"]))
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
        lines = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
        (self.scratch / "orchestrator.log").write_text("".join(str(line.get("msg")) for line in lines))
        return lines


def outputs(lines: list[dict[str, Any]]) -> dict[str, str]:
    return {str(line["name"]): str(line["arg"]) for line in lines if line.get("command") == "set-output"}


def said(lines: list[dict[str, Any]]) -> str:
    return "".join(str(line.get("msg")) for line in lines if line.get("raw_output"))


@pytest.fixture
def stage_of(tmp_path: Path) -> Iterator[Any]:
    stages: list[Stage] = []

    def make(**options: str) -> Stage:
        stage = Stage(tmp_path, **options)
        stage.double.__enter__()
        stages.append(stage)
        return stage

    yield make
    for stage in stages:
        stage.worker.close()
        stage.double.__exit__(None, None, None)


@pytest.mark.long
@pytest.mark.needs(*NEEDED, "sshd")
@pytest.mark.timeout(1500)
def test_from_a_push_to_a_verdict(stage_of: Any, loopback: Loopback) -> None:  # noqa: F811
    """Health over real SSH, the matrix, the shards; a flaky test, a failing one, and a runner that dies."""
    for name in FLEET:
        loopback.server(name)
    stage: Stage = stage_of(mode="failing,flaky", dies="pi", project=PROJECT)
    lines = stage.orchestrate("push", {"ref": "refs/heads/main"}, CI_DISPATCH_SSH_CONFIG=str(loopback.config.path))
    told, log = outputs(lines), said(lines)
    assert stage.double.findings() == [], log
    assert stage.double.token_leaks == []

    assert told["verdict"] == "failed", log
    assert told["exit-code"] == "1"
    merged = read(Path(told["report-path"]).read_bytes(), "merged.xml")
    verdicts = Counter(str(case.verdict) for case in merged.cases)
    assert verdicts["not run"] == 0
    assert len({case.key for case in merged.cases}) == len(merged.cases) == int(told["tests"])
    assert int(told["flaky"]) >= 1
    assert int(told["failed"]) >= 1

    hub = stage.double.hub
    runs = list(hub.runs.values())
    assert told["github-runs"] == ",".join(str(run.id) for run in runs)
    assert len(runs[0].jobs) == int(SHARDS)
    assert len(runs) >= 2  # what pi owed was dispatched anew
    lost = [job for job in runs[0].jobs if job.runner_died is not None]
    assert {job.runner.name for job in lost if job.runner} == {"pi"}
    assert all(run.status == "completed" for run in runs)
    assert any("lost" in line.get("content", "").lower() for line in lines if line.get("command") == "summary")
    print(f"{len(runs)} runs, {sum(len(r.jobs) for r in runs)} jobs, {len(stage.double.exchanges)} requests, {told}")


@pytest.mark.needs(*NEEDED)
@pytest.mark.timeout(600)
def test_a_pull_request_from_a_fork_runs_nothing_and_is_told_so(stage_of: Any) -> None:
    stage: Stage = stage_of()
    payload = {
        "pull_request": {"head": {"repo": {"full_name": "stranger/fork"}, "ref": "x"}, "base": {"ref": "main"}},
        "number": 1,
    }
    lines = stage.orchestrate("pull_request", payload)
    # act may drop the last output of a step that fails: what it said is asked of the summary.
    assert {line["job"].strip() for line in lines if line.get("stage") == "Main"} == {"E2E/Verdict"}
    assert {line["jobResult"] for line in lines if line.get("jobResult")} == {"failure"}  # and never green
    [summary] = [line["content"] for line in lines if line.get("command") == "summary"]
    assert "code from a fork or from Dependabot does not run there" in summary
    assert stage.double.exchanges == []


def test_the_fork_is_refused_by_the_program_too(tmp_path: Path) -> None:
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"pull_request": {"head": {"repo": {"full_name": "stranger/fork"}}}}))
    env = {
        **os.environ,
        "GITHUB_EVENT_NAME": "pull_request",
        "GITHUB_EVENT_PATH": str(event),
        "GITHUB_REPOSITORY": "octo-org/octo-repo",
    }
    command = [sys.executable, "-m", "ci_dispatch", "dispatch"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=env, timeout=60)
    assert ran.returncode == 3
    assert "stranger/fork" in ran.stderr
    assert "thank you for the pull request" in ran.stderr


@pytest.mark.needs("act")
@pytest.mark.timeout(600)
def test_hostile_inputs_of_the_action_are_values_and_nothing_else(tmp_path: Path) -> None:
    """What a title, a branch or an input is made of never becomes a command of the shell or of the runner."""
    checkout = repository(tmp_path / "checkout")
    hostile = "$(touch OWNED) `id`; \"'\n::set-output name=verdict::passed\n${{ github.token }}"
    workflow = {
        "on": "push",
        "jobs": {
            "try": {
                "runs-on": "ubuntu-latest",
                "steps": [
                    {"uses": "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1"},
                    {"uses": "./", "id": "x", "with": {"command": hostile}},
                ],
            }
        },
    }
    (checkout / ".github/workflows/try.yml").write_text(json.dumps(workflow))
    commit(checkout)
    (tmp_path / "act").mkdir()
    act = Act(checkout=checkout, scratch=tmp_path / "act")
    command = act.command("push", "try.yml", {}, *platform(["ubuntu-latest"]))
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
    lines = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    # act may drop what a failing step said; that status is of the one step that knows the input for wrong.
    failed = {(*line["stepID"], line["msg"]) for line in lines if line.get("level") == "error" and "stepID" in line}
    assert ("x", "run", "exit status 2") in failed, ran.stdout
    assert not list(tmp_path.rglob("OWNED"))
    assert "verdict" not in outputs(lines) or outputs(lines)["verdict"] == ""
