"""A workflow run without GitHub: jobs are calls, artifacts are folders, and a shard's report is what a test says."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ci_dispatch.app import kept_listing, waves
from ci_dispatch.app.run_spec import RunSpec
from ci_dispatch.app.settings import Settings, read_settings
from ci_dispatch.core.errors import ExitCode
from ci_dispatch.core.model import (
    AttemptResult,
    Ended,
    FailureCause,
    Test,
    TestId,
    TestResult,
    UnitId,
    UnlistedResult,
    Verdict,
)
from ci_dispatch.fleets.actions import shard_report
from ci_dispatch.fleets.actions.shard_report import ShardReport
from ci_dispatch.run.ports import Listing
from ci_dispatch.suites import open_suite

COMMIT = "c0ffee" * 6 + "c0ff"
NAMES = ("a", "b", "c", "d")

CONFIG = """
[suite]
runner = "command"
list = "true"
command = "true {tests_file} {junit}"

[health]
skip = true

[github]
strategy = "pinned"

[[machine]]
name = "moruk"
cores = 4

[[machine]]
name = "ilko2"
cores = 4
"""


class ListedSuite:
    """A suite whose tests are known."""

    name = "command"

    def __init__(self, tests: Sequence[Test]) -> None:
        self.tests = tuple(tests)

    def list_tests(self, deadline: float) -> Listing:
        return Listing(tests=self.tests)


def suite_of(*names: str) -> tuple[Test, ...]:
    return tuple(Test(id=TestId(name), unit=UnitId(name), title=(name,), runner_id=name) for name in names)


@dataclass
class WavesRoom:
    """One workflow run; `attempt` grows when somebody runs it again."""

    folder: Path
    tests: tuple[Test, ...] = field(default_factory=lambda: suite_of(*NAMES))
    config: str = CONFIG
    env: dict[str, str] = field(default_factory=dict)
    attempt: int = 1
    sha: str = COMMIT
    plan_id: str = ""
    outputs: dict[str, str] = field(default_factory=dict)
    matrix: list[dict[str, Any]] = field(default_factory=list)  # of the job that planned last
    clock: float = 1000.0
    _steps: int = 0

    def __post_init__(self) -> None:
        (self.folder / "artifacts").mkdir(parents=True)
        (self.folder / "checkout").mkdir()
        (self.folder / "checkout/ci-dispatch.toml").write_text(self.config)
        (self.folder / "event.json").write_text('{"repository": {"default_branch": "main"}}')

    def checkout(self, name: str, text: str) -> None:
        (self.folder / "checkout" / name).write_text(text)

    def commit(self) -> None:
        """A real commit of the checkout, which is tested from now on."""
        git = ["git", "-C", str(self.folder / "checkout"), "-c", "user.name=test", "-c", "user.email=t@example.org"]
        for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "suite"]):
            subprocess.run([*git, *command], check=True)
        told = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
        self.sha = told.stdout.strip()

    @property
    def artifacts(self) -> Path:
        return self.folder / "artifacts"

    @property
    def shards(self) -> list[str]:
        return [entry["shard"] for entry in self.matrix if entry["shard"] != "none"]

    def settings(self, options: Mapping[str, str] | None = None) -> Settings:
        self._steps += 1
        environ = {
            "GITHUB_ACTIONS": "true",
            "SSH_AUTH_SOCK": "/agent",  # there is a way to log in
            "GITHUB_RUN_ATTEMPT": str(self.attempt),
            "GITHUB_RUN_ID": "7",
            "GITHUB_EVENT_PATH": str(self.folder / "event.json"),
            "GITHUB_SHA": self.sha,
            "GITHUB_REPOSITORY": "octo-org/octo-repo",
            "GITHUB_OUTPUT": str(self.folder / f"output-{self._steps}"),
            "GITHUB_STEP_SUMMARY": str(self.folder / "summary.md"),
            **self.env,
        }
        return read_settings(None, options or {}, environ, self.folder / "checkout")

    def plan(self, options: Mapping[str, str] | None = None, *, shards: int = 0) -> ExitCode:
        settings = self.settings(options)
        listing = self.folder / "listing.json"
        spec = RunSpec(root=settings.root, config=settings.config, arguments=settings.config.suite.args)
        suite = open_suite(settings.config.suite, settings.root)
        suite.list_tests = ListedSuite(self.tests).list_tests  # type: ignore[method-assign]
        kept_listing.write(listing, spec, suite)
        code = waves.plan(
            settings, commit=self.sha, output=self.folder / "planned", shards=shards, extra=(), listing=listing
        )
        self._uploaded(settings)
        self.plan_id = self.outputs["plan"]
        return code

    def again(self, wave: int) -> bool:
        """Whether the wave has anything to run."""
        settings = self.settings()
        output = self.folder / "planned"
        waves.again(settings, self.plan_id, wave=wave, artifacts=self.artifacts, output=output)
        self._uploaded(settings)
        return self.outputs["owed"] == "true"

    def merge(self) -> ExitCode:
        settings = self.settings()
        try:
            return waves.merge(settings, self.plan_id, artifacts=self.artifacts)
        finally:
            self._read_outputs(settings)

    def run_json(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads(Path(self.outputs["run-json-path"]).read_text())
        return data

    def verdict_of(self, test: str) -> str:
        return str(next(one["verdict"] for one in self.run_json()["tests"] if one["id"] == test))

    def report(
        self,
        shard: str,
        verdicts: Mapping[str, Verdict],
        *,
        ended: Ended = Ended.EXITED,
        cause: FailureCause = FailureCause.NONE,
        reason: str = "",
        machine: str = "",
        commit: str = "",
        unlisted: tuple[UnlistedResult, ...] = (),
    ) -> None:
        """The shard ran and uploaded: `verdicts` by test."""
        results = tuple(
            TestResult(
                test=TestId(test), verdict=verdict, message="expected 1, got 2" if verdict is Verdict.FAILED else ""
            )
            for test, verdict in verdicts.items()
        )
        self.clock += 10
        told = ShardReport(
            dispatch=self.plan_id,
            shard=shard,  # type: ignore[arg-type]
            attempt=self.attempt,
            machine=machine or next((e["machine"] for e in self.matrix if e["shard"] == shard), "moruk"),
            result=AttemptResult(ended=ended, cause=cause, reason=reason, results=results, unlisted=unlisted),
            started=self.clock,
            ended=self.clock + 5,
            commit=commit or self.sha,
        )
        name = shard_report.artifact_name(self.plan_id, told.shard, self.attempt)
        (self.artifacts / name).mkdir()  # a name that exists is refused
        shard_report.write(self.artifacts / name, told)

    def all_pass(self, *, but: Mapping[str, Verdict] | None = None, without: str = "") -> None:
        """Every job of the last plan reports: all its tests passed, but for some; the machine `without` never does."""
        for entry in self.matrix:
            if entry["machine"] != without:
                tests = self.tests_of(entry["shard"])
                self.report(entry["shard"], {test: (but or {}).get(test, Verdict.PASSED) for test in tests})

    def tests_of(self, shard: str) -> list[str]:
        for file in self.artifacts.rglob("plan.json"):
            for job in json.loads(file.read_text()).get("jobs", ()):
                if job["shard"]["id"] == shard:
                    return list(job["shard"]["tests"])
        raise AssertionError(f"no plan has the shard {shard}")

    def _uploaded(self, settings: Settings) -> None:
        self._read_outputs(settings)
        self.matrix = json.loads(self.outputs["matrix"])["include"]
        if self.outputs["owed"] != "true":  # then the action uploads nothing
            return
        place = self.artifacts / self.outputs["artifact-name"]
        place.mkdir()
        Path(self.outputs["report-path"]).rename(place / "plan.json")

    def _read_outputs(self, settings: Settings) -> None:
        file = Path(settings.environ["GITHUB_OUTPUT"])
        text = file.read_text() if file.exists() else ""
        found = re.findall(r"^([\w-]+)<<(\w+)\n(.*?)\n\2$", text, re.MULTILINE | re.DOTALL)
        self.outputs = {name: value for name, _, value in found}
