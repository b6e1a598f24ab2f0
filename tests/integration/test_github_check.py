"""`ci-dispatch github check` as a person types it, against the double: a repository before its first push."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from ci_dispatch.app import github_probe
from ci_dispatch.core.codec import replace
from ci_dispatch.fleets.actions.check import probe
from ci_dispatch.fleets.actions.check.github_rules import MachineLabels
from tests.components import ROOT
from tests.github_double import GitHubDouble, Script, ScriptedWorker
from tests.github_double.entities import Job
from tests.integration.cli_process import Ended, ci_dispatch
from tests.integration.github_client import client_of
from tests.integration.test_github_commands import CONFIG, RealClock
from tests.unit.fleets.test_workflow_checks import ORCHESTRATOR, SHARDS

EXAMPLES = ROOT / "examples" / "github"
EVERYTHING = ("actions:write", "contents:read", "administration:read", "secrets:read")


class Repository:
    """A repository with the two workflows of the examples, committed, and the GitHub it would be pushed to."""

    def __init__(self, folder: Path, double: GitHubDouble) -> None:
        self.folder, self.double = folder, double
        self.workflows = folder / ".github/workflows"
        self.workflows.mkdir(parents=True)
        for name, text in (("e2e.yml", ORCHESTRATOR), ("e2e-shard.yml", SHARDS)):
            (self.workflows / name).write_text(text)
            double.workflow(name, text)
            double.settings.files.add(f".github/workflows/{name}")
        (folder / "ci-dispatch.toml").write_text(CONFIG)
        self.git("init", "-q", "-b", "main")
        self.git("add", "-A")
        for name in ("moruk", "pi"):
            double.hub.add_runner(name, name)
        double.settings.others.add("acme/ci-dispatch/action.yml@v1")
        self.token = double.grant(*EVERYTHING)

    def git(self, *words: str) -> None:
        subprocess.run(["git", "-C", str(self.folder), *words], check=True, capture_output=True)

    def check(self, *words: str, **env: str) -> Ended:
        return self.command("github", "check", *words, **env)

    def command(self, *words: str, **env: str) -> Ended:
        environ = {
            "GITHUB_API_URL": self.double.url,
            "GITHUB_REPOSITORY": self.double.repository,
            "GITHUB_TOKEN": self.token,
            **env,
        }
        return ci_dispatch(*words, cwd=self.folder, environ=environ)

    def findings(self, *words: str, **env: str) -> tuple[int, list[dict[str, Any]]]:
        ended = self.check("--json", *words, **env)
        document = json.loads(ended.out)
        assert document["exit_code"] == ended.code
        assert sum(document["counts"].values()) == len(document["findings"])
        return ended.code, document["findings"]


@pytest.fixture(params=[False])
def repository(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Repository]:
    """On Enterprise Server when the test says so: `parametrize("repository", [True], indirect=True)`."""
    worker = ScriptedWorker(answers)
    with GitHubDouble(clock=RealClock().now, worker=worker, enterprise=request.param) as double:
        yield Repository(tmp_path, double)
        assert double.findings() == []
        assert double.token_leaks == []


def answers(job: Job) -> Script:
    """A runner with an old Python on pi, and everything on moruk."""
    version = "3.9.2" if "pi" in job.labels else "3.13.1"
    lines = ["@probe system Linux x86_64", f"@probe python python3 {version}", "@probe registry python3 yes"]
    log = "".join(f"2026-11-28T12:00:00.1234567Z {line}\n" for line in [*lines, "@probe end"])
    return Script(seconds=1.0, log=log.encode())


def bad(findings: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(found["level"], found["topic"]) for found in findings if found["level"] != "fine"]


def test_a_repository_that_is_set_up_has_no_failure(repository: Repository) -> None:
    code, findings = repository.findings()
    assert bad(findings) == [("warning", "required checks")]
    assert code == 0
    text = repository.check()
    assert text.code == 0
    assert "0 would fail, 1 warnings" in text.out
    assert "try: require its last job" in text.out
    dry = repository.command("dispatch", "--dry-run")
    assert (dry.code, dry.out) == (0, text.out)
    assert repository.double.hub.runs == {}


def test_everything_that_would_fail_is_said_at_once(repository: Repository) -> None:
    double = repository.double
    door = repository.workflows / "e2e.yml"
    door.write_text(door.read_text().replace("actions: write", "actions: read"))
    (repository.workflows / "broken.yml").write_text("on: [push\n")
    double.settings.files.remove(".github/workflows/e2e-shard.yml")
    double.settings.workflow_state["e2e.yml"] = "disabled_inactivity"
    double.settings.merge_queue = True
    double.settings.private = False
    double.settings.required = ["Suite"]
    double.settings.others.clear()
    double.hub.runners[0].version = "2.320.0"
    double.hub.runners[1].online = False
    code, findings = repository.findings()
    said = {(found["topic"], found["level"], found.get("where", "")): found["what"] for found in findings}
    expected = {
        ("workflows", "warning", ".github/workflows/broken.yml"): "no YAML",
        ("workflows", "failure", ".github/workflows/e2e-shard.yml"): "not on main, the default branch",
        ("workflows", "failure", ".github/workflows/e2e.yml"): "disabled_inactivity",
        ("permissions", "failure", ".github/workflows/e2e.yml, job suite"): "actions: write",
        ("labels", "failure", "pi: self-hosted, pi"): "offline",
        ("runners", "failure", "moruk"): "2.327.1",
        ("required checks", "failure", ".github/workflows/e2e.yml"): "merge queue",
        ("required checks", "warning", ".github/workflows/e2e.yml, job suite"): "can be skipped",
        ("exposure", "warning", ""): "public",
        ("workflows", "warning", ""): "acme/ci-dispatch has no action.yml at v1",
    }
    for key, part in expected.items():
        assert part in said[key], key
    assert all(found["remedy"] for found in findings if found["level"] != "fine")
    assert code == 5  # GitHub would refuse the dispatch before any machine is asked


def test_what_the_token_may_not_ask_is_a_finding_and_no_failure(repository: Repository) -> None:
    repository.token = repository.double.grant("actions:read")
    code, findings = repository.findings()
    unasked = [found["what"] for found in findings if found["level"] == "unknown"]
    assert code == 0
    for permission in ("contents: read", "secrets: read", "administration: read"):
        assert any(f"lacks the permission `{permission}`" in text for text in unasked), permission
    with_another = repository.double.grant("administration:read")
    _, more = repository.findings(CI_RUNNERS_TOKEN=with_another)
    assert ("unknown", "labels") not in bad(more)


def test_without_a_token_or_a_right_one_or_an_answer(repository: Repository) -> None:
    code, findings = repository.findings(GITHUB_TOKEN="")
    assert code == 0
    assert next(found for found in findings if found["level"] == "unknown")["remedy"].startswith("in a workflow")
    code, findings = repository.findings(GITHUB_TOKEN="ghs_wrong")
    assert code == 5
    assert ("failure", "server") in bad(findings)
    code, findings = repository.findings(GITHUB_API_URL="http://127.0.0.1:9")
    assert (code, bad(findings)[0]) == (5, ("failure", "server"))


def test_a_runner_of_the_organisation_counts(repository: Repository) -> None:
    double = repository.double
    double.settings.organisation = True
    last = double.hub.runners.pop()
    others = [replace(last, name=f"other-{number}", labels=("self-hosted",)) for number in range(100)]
    double.settings.organisation_runners = [*others, last]  # behind a whole page
    _, findings = repository.findings()
    assert ("unknown", "labels") in bad(findings)  # they may not be seen
    repository.token = double.grant(*EVERYTHING, "organization_self_hosted_runners:read")
    _, findings = repository.findings()
    assert {level for level, topic in bad(findings) if topic == "labels"} == set()


@pytest.mark.parametrize("repository", [True], indirect=True)
def test_enterprise_server_is_asked_what_it_describes_and_told_what_it_lacks(repository: Repository) -> None:
    code, findings = repository.findings()
    assert [(found["topic"], found["what"][:36]) for found in findings if found["level"] == "failure"] == [
        ("server", "this server has no version 4 of uplo"),
    ]
    assert code == 4
    assert len([found for found in findings if found["topic"] == "runners"]) == 2
    worker = repository.workflows / "e2e-shard.yml"
    worker.write_text(worker.read_text().replace("command: shard", 'command: shard\n          upload: "false"'))
    assert repository.findings()[0] == 0


def test_nothing_is_set_up(tmp_path: Path) -> None:
    ended = ci_dispatch("github", "check", cwd=tmp_path)
    assert ended.code == 2
    assert "no workflow here uses ci-dispatch" in ended.out
    assert "try: ci-dispatch github init" in ended.out


def test_each_machine_is_probed_by_a_job_of_its_own(repository: Repository) -> None:
    double = repository.double
    double.workflow(probe.WORKFLOW, (EXAMPLES / "probe.yml").read_text(encoding="utf-8"))
    code, findings = repository.findings("--probe")
    tools = {(found["where"], found["level"]): found["what"] for found in findings if found["topic"] == "tools"}
    assert tools["pi", "failure"] == "python3 is 3.9.2, older than 3.11"
    assert ("moruk", "failure") not in tools
    assert code == 4
    (run,) = double.hub.runs.values()
    assert [job.name for job in run.jobs] == ["probe moruk", "probe pi"]


def test_no_job_of_a_probe_stays_queued(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is off takes no job; neither does it take one tomorrow."""
    double = repository.double
    double.workflow(probe.WORKFLOW, (EXAMPLES / "probe.yml").read_text(encoding="utf-8"))
    double.hub.runners[1].online = False
    monkeypatch.setattr(github_probe, "SECONDS", 3.0)
    monkeypatch.setattr(github_probe, "LOOK", 0.3)
    wanted = [MachineLabels(name, ("self-hosted", name)) for name in ("moruk", "pi")]
    github = client_of(double)
    said: list[str] = []
    found = list(
        github_probe.probe_machines(
            github, "main", wanted, tools=(), python="python3", needs_node=False, say=said.append
        )
    )
    github.client.close()
    assert [(f.level, f.where) for f in found if f.level != "fine"] == [("failure", "pi")]
    assert "no runner took the probe's job" in next(f for f in found if f.where == "pi").what
    (run,) = double.hub.runs.values()
    assert run.cancelled_at is not None
    assert said == ["The probe runs on 2 machines, for at most 0 minutes."]


def test_a_probe_that_is_not_there_says_how_to_get_it(repository: Repository) -> None:
    code, findings = repository.findings("--probe")
    assert code == 0
    assert any("ci-dispatch-probe.yml was not started" in found["what"] for found in findings)


def test_our_own_workflows_would_work() -> None:
    """This repository is the first user: whatever is changed in `.github` has to pass."""
    suite = ROOT / "examples" / "reference-suite"
    words = ("--config", "fleet.toml", "github", "check", "--workflow", "e2e-shard.yml", "--json")
    findings = json.loads(ci_dispatch(*words, cwd=suite).out)["findings"]
    assert any(found["what"] == "uses ci-dispatch" for found in findings)
    wrong = [found["what"] for found in findings if found["level"] in ("failure", "warning")]
    assert all("still names OWNER" in what for what in wrong), wrong  # which whoever publishes it replaces


# -- the probe's script, run for real ---------------------------------------------------------------------------------


def probed(path: str, **env: str) -> str:
    """What it says with this PATH."""
    document = YAML(typ="safe", pure=True).load((EXAMPLES / "probe.yml").read_text(encoding="utf-8"))
    script = document["jobs"]["probe"]["steps"][0]["run"]
    command = ["/bin/sh", "-e", "-c", script]
    return subprocess.run(command, env={"PATH": path, **env}, capture_output=True, text=True, check=True).stdout


def tool(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def said(log: str, *, python: str = "python3", node: bool = False) -> list[str]:
    found = probe.check_answer("moruk", probe.read_log(log), python=python, needs_node=node)
    return [f"{f.level}: {f.what}" + (f" > {f.remedy}" if f.remedy else "") for f in found]


def test_the_script_tells_what_a_machine_has(tmp_path: Path) -> None:
    tool(tmp_path, "python3", 'case "$1" in -c) echo 3.9.2 ;; *) exit 1 ;; esac')
    tool(tmp_path, "python3.12", 'case "$1" in -c) echo 3.12.4 ;; *) exit 0 ;; esac')
    tool(tmp_path, "node", "echo v16.1.0")
    machine = MachineLabels("moruk", ("self-hosted", "Moruk"))
    (wanted,) = json.loads(probe.matrix_of([machine], ["git", "no-such-tool"], "python3"))["include"]
    assert wanted["labels"] == ["self-hosted", "Moruk"]
    log = probed(f"{tmp_path}:/usr/bin:/bin", PYTHONS=wanted["pythons"], TOOLS=wanted["tools"])
    for text in (log, "".join(f"2026-11-28T12:00:00.1234567Z {line}\n" for line in log.splitlines())):
        found = said(text, node=True)
        assert found[0] == "failure: python3 is 3.9.2, older than 3.11 > the action's input python: python3.12"
        assert any(line.startswith("fine: git: /") for line in found)
        assert any("PATH has no no-such-tool" in line for line in found)
        assert any("node is v16.1.0" in line for line in found)
        assert found[-1] == "fine: a package index answers"
        assert said(text, python="python3.12")[0] == "fine: python3.12 is 3.12.4"


def test_a_python_without_venv_and_a_machine_without_an_index(tmp_path: Path) -> None:
    tool(tmp_path, "python3", "echo \"ModuleNotFoundError: No module named 'ensurepip'\"; exit 1")
    found = said(probed(f"{tmp_path}:/usr/bin:/bin", PYTHONS="python3", TOOLS=""))
    assert found[0] == "failure: python3 has no venv module > Debian and Ubuntu: apt-get install python3-venv"
    assert found[-1].startswith("warning: pip reaches no package index")
