"""A worker that runs the real workflow: each job is an `act` process in host mode, its uploads become the artifacts.

act (https://nektosact.com) has no runners and no queue: those are the double's. It gets one matrix entry at a time.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.components import ROOT, tool
from tests.github_double.entities import Job, Step

if TYPE_CHECKING:
    from tests.github_double.double import GitHubDouble
    from tests.github_double.state import Hub
    from tests.github_double.worker import Event

STANDINS = Path(__file__).parent / "standins"  # of actions/*: the real ones want GitHub's own services
PINS = {
    "checkout": "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1",
    "upload-artifact": "actions/upload-artifact@bbbca2ddaa5d8feaa63e36b76fdaad77386f024f",
    "download-artifact": "actions/download-artifact@3e5f45b2cfb9172054b4087a40e8e0b5a5461e7c",
    "setup-python": "actions/setup-python@5fda3b95a4ea91299a34e894583c3862153e4b97",
}
COPIED = (
    ".github",
    "action.yml",
    "report-merge",
    "ci_dispatch",
    "report_merge",
    "requirements",
    "scripts",
    "examples/reference-suite",
    ".gitignore",
)


def repository(into: Path) -> Path:
    """A checkout of this project as a runner would have it: what act copies for actions/checkout."""
    skip = shutil.ignore_patterns("node_modules", "__pycache__", "test-results", ".ci-dispatch")
    for name in COPIED:
        source = ROOT / name
        target = into / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=skip)
        else:
            shutil.copy(source, target)
    subprocess.run(["git", "init", "-q", "-b", "main", str(into)], check=True, capture_output=True)
    commit(into)
    return into


def commit(checkout: Path) -> None:
    """Commit what is there: a job checks out a commit, never files that only lie about."""
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    for command in (["add", "-A"], [*identity, "commit", "-q", "-m", "all of it"]):
        subprocess.run(["git", "-C", str(checkout), *command], check=True, capture_output=True)


@dataclass(kw_only=True)
class Act:
    """How act is called; `env` reaches every step."""

    checkout: Path
    scratch: Path
    env: Mapping[str, str] = field(default_factory=dict)

    def command(self, event: str, workflow: str, payload: Mapping[str, Any], *more: str) -> list[str]:
        file = self.scratch / f"event-{time.monotonic_ns()}.json"
        file.write_text(json.dumps(payload), encoding="utf-8")
        program = tool("act")
        assert program is not None
        local = [f"--local-repository={pin}={STANDINS / name}" for name, pin in PINS.items()]
        given = {**self.env, "DOUBLE_ORIGIN": self.checkout, "HARNESS": ROOT}
        env = [f"--env={name}={value}" for name, value in given.items()]
        return [
            program, event, f"--workflows=.github/workflows/{workflow}", f"--eventpath={file}", "--json",
            f"--directory={self.checkout}", f"--action-cache-path={self.scratch / 'cache'}", "--no-cache-server",
            "--no-skip-checkout", "--concurrent-jobs=1", *local, *env, *more,
        ]  # fmt: skip


def platform(labels: Iterable[str]) -> list[str]:
    """Every label is this machine itself, without a container."""
    return [f"--platform={label}=-self-hosted" for label in labels]


class ActWorker:
    """Runs the jobs of the double with act, one process each."""

    def __init__(self, act: Act, *, dies: Callable[[Job], float | None] = lambda _job: None) -> None:
        """`dies(job)`: after so many seconds the machine under that job is gone; None: it lives."""
        self.act, self._dies = act, dies
        self.double: GitHubDouble | None = None
        self._processes: dict[int, subprocess.Popen[str]] = {}
        self._threads: list[threading.Thread] = []

    def start(self, hub: Hub, job: Job) -> None:
        thread = threading.Thread(target=self._run, args=(hub, job), name=job.name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def stop(self, job: Job) -> None:
        self._kill(job)

    def events(self, hub: Hub) -> Iterable[Event]:
        return ()

    def close(self) -> None:
        for process in list(self._processes.values()):
            _end(process)
        for thread in self._threads:
            thread.join(timeout=20)

    def _run(self, hub: Hub, job: Job) -> None:
        assert self.double is not None
        run = hub.runs[job.run]
        command = self.act.command(
            "workflow_dispatch",
            run.workflow.file,
            {"inputs": dict(run.inputs), "ref": f"refs/heads/{run.ref}"},
            f"--matrix=shard:{job.matrix['shard']}",
            f"--secret=GITHUB_TOKEN={self.double.token}",
            *platform(job.labels),
            *(f"--env={name}={value}" for name, value in self._variables(job).items()),
        )
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env=clean_environment(),
        )
        self._processes[job.id] = process
        doom = self._dies(job)
        timer = threading.Timer(doom, self._die, args=(hub, job)) if doom is not None else None
        if timer:
            timer.daemon = True
            timer.start()
        self._follow(hub, job, process)

    def _variables(self, job: Job) -> dict[str, str]:
        assert self.double is not None
        return {
            "GITHUB_API_URL": self.double.url,
            "GITHUB_REPOSITORY": self.double.repository,
            "GITHUB_RUN_ID": str(job.run),
            "GITHUB_RUN_ATTEMPT": str(job.attempt),
            "RUNNER_NAME": job.runner.name if job.runner else "",
            "DOUBLE_UPLOAD": f"{self.double.url}/_double/upload/{job.run}",
        }

    def _follow(self, hub: Hub, job: Job, process: subprocess.Popen[str]) -> None:
        assert self.double is not None
        assert process.stdout is not None
        log: list[str] = []
        with process:
            for line in process.stdout:
                with self.double.lock:
                    self._line(job, line, log)
        with self.double.lock:
            if job.status == "completed" or job.runner_died is not None:
                return  # cancelled, or its machine is gone: no result arrives
            job.log = "".join(log).encode()
            failed = any(step.conclusion == "failure" for step in job.steps) or not job.steps[1:]
            annotation = "Process completed with exit code 1." if failed else ""
            hub.finish(job, "failure" if failed else "success", annotation)

    @staticmethod
    def _line(job: Job, line: str, log: list[str]) -> None:
        try:
            said = json.loads(line)
        except ValueError:
            log.append(line)
            return
        if said.get("raw_output"):
            log.append(str(said.get("msg", "")))
        if said.get("stage") != "Main" or len(said.get("stepID", ())) != 1:
            return
        if result := said.get("stepResult"):
            job.steps[-1:] = [Step(name=str(said.get("step")), conclusion=str(result))]
        elif str(said.get("msg", "")).startswith("\N{WHITE MEDIUM STAR} Run"):
            job.steps.append(Step(name=str(said.get("step")), status="in_progress", conclusion=None))

    def _die(self, hub: Hub, job: Job) -> None:
        assert self.double is not None
        with self.double.lock:
            if job.status != "completed":
                hub.die(job, hub.clock())
        self._kill(job)

    def _kill(self, job: Job) -> None:
        if process := self._processes.get(job.id):
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def clean_environment() -> dict[str, str]:
    """Our own environment without what would make act believe it is on GitHub already."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("GITHUB_", "CI_DISPATCH_"))}
