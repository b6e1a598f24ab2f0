"""`ci-dispatch merge`: one JUnit file of what the shards of a run have uploaded, complete or INCOMPLETE."""

from __future__ import annotations

import json
import shutil
import tempfile
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from ci_dispatch.app.github_target import connect, find_run, repository_of
from ci_dispatch.app.say import say
from ci_dispatch.app.settings import Settings
from ci_dispatch.app.uploaded import all_of_its_run, fetched, listed
from ci_dispatch.core.errors import CiDispatchError, ExitCode, worst
from ci_dispatch.fleets.actions.coverage import Coverage, attempt_numbers, coverage
from ci_dispatch.fleets.actions.environment import ActionsEnvironment
from ci_dispatch.fleets.actions.rest.api import GitHubApi
from ci_dispatch.fleets.actions.run.batches import DispatchPlan, unpack
from ci_dispatch.fleets.actions.run.dispatch_state import DispatchFile
from ci_dispatch.fleets.actions.shard_report import PREFIX, ShardReport
from ci_dispatch.run.run_folder import RunFolder
from report_merge.render.escape import terminal


def merge(settings: Settings, name: str, output: Path) -> int:
    """One JUnit file of every shard and attempt of all dispatches of a run.

    The exit code is report-merge's; incomplete when a test of the plan has no result, or a report cannot be used.
    """
    from report_merge.cli import run as report_merge

    here = ActionsEnvironment(settings.environ)
    found = here.run if not name and here.run is not None else find_run(settings, name)
    repository = repository_of(settings) if isinstance(found, int) else found[1].target.repository
    github = connect(settings.config, settings.environ, repository)
    with closing(github.client), tempfile.TemporaryDirectory() as scratch:
        collected = _collect(github, found, Path(scratch))
        covered = coverage(collected.reports.values(), collected.plans.values())
        for artifact, number in zip(collected.reports, attempt_numbers(collected.reports.values()), strict=True):
            (Path(scratch) / artifact).rename(Path(scratch) / f"attempt-{number}-{artifact}")
        options = ["--attempt-from", rf"/attempt-(\d+)-{PREFIX}"]
        options += ["--expect", _expectation(covered, Path(scratch))] if covered.missing else []
        code = report_merge([scratch, "-o", str(output), *options], settings.environ)
    problems = [*collected.unusable, *covered.problems]
    if not collected.reports:
        problems.append("no shard has uploaded a report")
    for problem in problems:
        say(terminal(f"INCOMPLETE: {problem}"), err=True)
    if problems and code == ExitCode.NOTHING_TO_RUN:
        return ExitCode.INCOMPLETE
    codes = [ExitCode(code), ExitCode.INCOMPLETE if problems else ExitCode.PASSED]
    return worst((*codes, ExitCode.TESTS_FAILED if covered.failed else ExitCode.PASSED))


@dataclass(slots=True)
class _Collected:
    """The reports of a run, each unpacked into the folder of its name."""

    reports: dict[str, ShardReport] = field(default_factory=dict)  # by artifact
    plans: dict[str, DispatchPlan] = field(default_factory=dict)  # by their text
    unusable: list[str] = field(default_factory=list)  # what is wrong with the others

    def plan(self, text: str) -> None:
        if text and text not in self.plans:
            self.plans[text] = unpack(text)


def _collect(github: GitHubApi, found: tuple[RunFolder, DispatchFile] | int, folder: Path) -> _Collected:
    collected = _Collected()
    if isinstance(found, int):
        runs = all_of_its_run(github, found)
    else:
        runs = [saved.run for saved in found[1].dispatches if saved.run is not None]
        for saved in found[1].dispatches:
            collected.plan(saved.batch.inputs.get("plan", ""))
    for artifact in listed(github, runs):
        into = folder / artifact.name
        try:
            report = fetched(github, artifact, into)
            collected.plan(report.plan)
        except CiDispatchError as error:
            shutil.rmtree(into, ignore_errors=True)
            collected.unusable.append(error.without_hint)
        else:
            collected.reports[artifact.name] = report
    return collected


def _expectation(covered: Coverage, folder: Path) -> str:
    """A file for `report-merge --expect`, so that the merged report names what is missing."""
    file = folder / "expected.json"
    tests = [{"classname": test.classname or test.file, "name": test.name} for test in covered.missing]
    file.write_text(json.dumps({"tests": tests}), encoding="utf-8")
    return str(file)
