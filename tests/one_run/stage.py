"""Where a workflow run happens: a repository with a suite of its own, machines that are this one, act around them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.components import ROOT, tool
from tests.github_double.acting import PINS, clean_environment, platform

HERE = Path(__file__).parent
ACTION = (".github", "action.yml", "ci_dispatch", "report_merge", "requirements", "scripts")
MACHINES = ("moruk", "ilko2", "pi")

CONFIG = """
[suite]
runner = "command"
list = "python3 run.py"
command = "python3 run.py {tests_file} {junit}"
title = "Shop"

[github]
strategy = "pinned"
"""

RUN = '''
"""Tests that do what a file of their name in $STATE says: `flaky` fails once, `broken` until the file is gone."""
import os, sys, pathlib
from xml.sax.saxutils import quoteattr

TESTS = ["buys", "pays", "leaves: in <peace>", "flaky", "broken", "returns"]
if len(sys.argv) == 1:
    print("\\n".join(TESTS))
    sys.exit()
state = pathlib.Path(os.environ["STATE"])
wanted, junit = pathlib.Path(sys.argv[1]).read_text().splitlines(), pathlib.Path(sys.argv[2])
cases, bad = "", False
for test in wanted:
    with open(state / "ran", "a") as ran:
        ran.write(test + "\\n")
    mode = state / test
    fails = mode.exists()
    if fails and mode.read_text() == "once":
        mode.unlink()
    bad = bad or fails
    failure = '<failure message="expected 1, got 2"/>' if fails else ""
    cases += f"<testcase name={quoteattr(test)}>{failure}</testcase>"
junit.write_text(f"<testsuite>{cases}</testsuite>")
(junit.parent / "trace: 1.txt").write_text("a name that upload-artifact refuses")
sys.exit(bad)
'''

NPM = """#!/bin/sh
# `npm ci` of the examples. With a file $STATE/dies the first shard that comes here ends as one on a lost runner does.
if [ "$GITHUB_JOB" = wave-1 ] && [ -e "$STATE/dies" ] && mkdir "$STATE/died" 2>/dev/null; then
    for process in $(grep -l ci_dispatch.__main__ /proc/[0-9]*/cmdline | cut -d/ -f3); do
        if [ "$(readlink /proc/$process/cwd)" = "$PWD" ]; then kill -KILL "$process"; fi # its own job's alone
    done
    sleep 1
fi
"""


@dataclass
class Job:
    """What act told of one job.

    act may drop the last output of a step that fails: for what such a step said ask `summary`, not `log`.
    """

    name: str
    conclusion: str = ""
    steps: list[str] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)
    summary: str = ""
    log: str = ""


class Stage:
    """One repository; each `run` is one workflow run, or another attempt of it."""

    def __init__(self, folder: Path, tools: Path, *, machines: Sequence[str] = MACHINES, owner: str = "OWNER") -> None:
        """`tools` outlives the stage: what the action keeps on a machine. `owner`: whose ci-dispatch is called."""
        self.folder, self.owner = folder, owner
        self.state, self.store, self.origin, self.action = (
            folder / name for name in ("state", "artifacts", "origin", "action")
        )
        for path in (self.state, self.store, self.origin, self.action, folder / "bin"):
            path.mkdir(parents=True)
        (folder / "bin" / "npm").write_text(NPM)
        (folder / "bin" / "npm").chmod(0o755)
        for name in ACTION:
            source, target = ROOT / name, self.action / name
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__")) if source.is_dir() else (
                shutil.copy(source, target)
            )
        self.file(
            "ci-dispatch.toml", CONFIG + "".join(f'[[machine]]\nname = "{name}"\ncores = 1\n' for name in machines)
        )
        self.file("run.py", RUN)
        tools.mkdir(parents=True, exist_ok=True)
        (folder / "cache").mkdir()
        (folder / "cache" / "tool_cache").symlink_to(tools)  # act's RUNNER_TOOL_CACHE
        self.committed = False
        self.git("init", "-q", "-b", "main")
        self.git("config", "uploadpack.allowAnySHA1InWant", "true")

    def file(self, name: str, text: str) -> None:
        (self.origin / name).parent.mkdir(parents=True, exist_ok=True)
        (self.origin / name).write_text(text)

    def workflow(self, text: str) -> None:
        """What the next run executes; a commit of its own only at first: a second attempt is of the same commit."""
        self.file(".github/workflows/suite.yml", text)
        self.git("add", "-A")
        self.git(
            "-c", "user.name=test", "-c", "user.email=test@example.org", "commit", "-q", "--allow-empty", "-m", "x"
        )

    def git(self, *arguments: str) -> str:
        command = ["git", "-C", str(self.origin), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    @property
    def ran(self) -> list[str]:
        """The tests that were executed, in order."""
        file = self.state / "ran"
        return file.read_text().splitlines() if file.exists() else []

    @property
    def artifacts(self) -> list[str]:
        return sorted(file.stem for file in self.store.iterdir())

    def run(
        self, event: str, payload: Mapping[str, Any] | None = None, *, attempt: int = 1, whole_names: bool = False
    ) -> dict[str, Job]:
        """Its jobs by name, with or without those of their workflows; those that were skipped are not there."""
        file = self.folder / "event.json"
        file.write_text(json.dumps({"ref": "refs/heads/main", **(payload or {})}))
        program = tool("act")
        assert program is not None
        env = {
            "STATE": self.state,
            "STORE": HERE / "store.py",
            "HARNESS": ROOT,
            "ARTIFACTS": self.store,
            "ORIGIN": self.origin,
            "GITHUB_RUN_ATTEMPT": attempt,
            "GITHUB_REPOSITORY": "octo-org/octo-repo",
        }
        command = [
            program, event, "--workflows=.github/workflows/suite.yml", f"--eventpath={file}", "--json",
            f"--directory={self.origin}", f"--action-cache-path={self.folder / 'cache'}", "--no-cache-server",
            "--no-skip-checkout", "--concurrent-jobs=2", *platform(["ubuntu-latest", *MACHINES]),
            *(f"--local-repository={owner}/ci-dispatch@v1={self.action}" for owner in {"OWNER", self.owner}),
            *(f"--local-repository={PINS[standin.name]}={standin}" for standin in (HERE / "standins").iterdir()),
            *(f"--env={name}={value}" for name, value in env.items()),
        ]  # fmt: skip
        path = f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        ran = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=500, env={**clean_environment(), "PATH": path}
        )
        (self.folder / f"act-{attempt}.jsonl").write_text(ran.stdout + ran.stderr)
        return _jobs(ran.stdout, whole_names=whole_names)

    def failed_jobs_again(self, before: Mapping[str, Job], jobs: Sequence[str], text: str) -> str:
        """The workflow as GitHub runs it after `Re-run failed jobs`.

        `plan` has succeeded, so its outputs are taken over; of wave 1 only the failed jobs are in it, and all that
        depends on them follows.
        """
        document: dict[str, Any] = dict(YAML(typ="safe", pure=True).load(text))
        plan = before["Plan"].outputs
        entries = [entry for entry in json.loads(plan["matrix"])["include"] if entry["shard"] in jobs]
        kept = json.dumps({"include": entries})
        body = json.dumps({**document, "jobs": {name: job for name, job in document["jobs"].items() if name != "plan"}})
        body = body.replace(
            "${{ fromJSON(needs.plan.outputs.matrix) }}", json.dumps("${{ fromJSON('" + kept + "') }}")[1:-1]
        )
        body = body.replace("${{ needs.plan.outputs.plan }}", plan["plan"])
        again: dict[str, Any] = json.loads(body.replace(" || needs.plan.outputs.matrix", ""))
        for job in again["jobs"].values():
            needs = job.get("needs", [])
            job["needs"] = [name for name in ([needs] if isinstance(needs, str) else needs) if name != "plan"]
        return json.dumps(again)


def _jobs(told: str, *, whole_names: bool) -> dict[str, Job]:
    jobs: dict[str, Job] = {}
    for line in told.splitlines():
        said = json.loads(line) if line.startswith("{") else {}
        if "job" not in said or not said.get("jobID"):
            continue
        name = str(said["job"]).strip()
        name = name if whole_names else name.rpartition("/")[2]
        job = jobs.setdefault(name, Job(name))
        if said.get("command") == "set-output" and len(said.get("stepID", ())) == 1:
            job.outputs[str(said["name"])] = str(said["arg"])
        if said.get("command") == "summary":
            job.summary += str(said["content"])
        if said.get("stage") == "Main" and said.get("stepResult"):
            job.steps.append(str(said["step"]))
        if said.get("raw_output"):
            job.log += str(said.get("msg"))
        if result := said.get("jobResult"):
            job.conclusion = str(result)
    return jobs
