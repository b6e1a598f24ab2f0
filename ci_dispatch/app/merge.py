"""Reports of a run that GitHub keeps: earlier attempts of a shard, runs nobody here dispatched, a merged JUnit file."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from ci_dispatch.app.github_target import connect, find_run, repository_of
from ci_dispatch.app.run_spec import RunSpec
from ci_dispatch.app.say import say
from ci_dispatch.app.settings import Settings
from ci_dispatch.config.kept import public
from ci_dispatch.core.codec import replace
from ci_dispatch.core.errors import CiDispatchError, ExitCode, UnreadableReport, UsageError, worst
from ci_dispatch.core.events import RunStarted
from ci_dispatch.core.model import ANY_MACHINE, AttemptResult, MachineSpec, Shard, ShardId, ShardKind
from ci_dispatch.fleets.actions import shard_report
from ci_dispatch.fleets.actions.coverage import Coverage, attempt_numbers, coverage
from ci_dispatch.fleets.actions.environment import ActionsEnvironment
from ci_dispatch.fleets.actions.messages import SavedDispatch
from ci_dispatch.fleets.actions.rest.api import GitHubApi
from ci_dispatch.fleets.actions.rest.artifacts import ArtifactLimits, fetch
from ci_dispatch.fleets.actions.rest.models import ArtifactView
from ci_dispatch.fleets.actions.run.batches import Batch, DispatchPlan, unpack
from ci_dispatch.fleets.actions.run.dispatch_state import DispatchFile, EarlierAttempt
from ci_dispatch.fleets.actions.run.matrix import MatrixJob
from ci_dispatch.run.run_folder import RunFolder

_OURS = re.compile(re.escape(shard_report.PREFIX) + r"-.+-a\d+")
ONE_RUN = 86_400.0  # seconds; how much earlier than one of its dispatches a run may have begun
LOOK_AGAIN = 20.0  # seconds, for a run that has not uploaded anything yet


def earlier_attempts(
    settings: Settings, here: ActionsEnvironment, dispatch: str, shard: ShardId
) -> list[AttemptResult]:
    """What earlier attempts of this shard said, oldest first; without permission, or when they are gone, nothing."""
    found: list[tuple[int, AttemptResult]] = []
    try:
        github = connect(settings.config, settings.environ, repository_of(settings))
        with closing(github.client), tempfile.TemporaryDirectory() as scratch:
            for artifact in github.artifacts(here.run or 0):
                attempt = shard_report.attempt_of(artifact.name, dispatch, shard)
                if attempt is not None and attempt < here.attempt:
                    folder = Path(scratch) / str(artifact.id)
                    fetch(github, artifact, folder, ArtifactLimits())
                    found.append((attempt, shard_report.read(folder).result))
    except CiDispatchError as error:
        why = f"{error.what}: {error.why}" if error.why else error.what
        say(f"note: the earlier attempts cannot be seen, so the whole shard is run: {why}", err=True)
        return []
    return [result for _, result in sorted(found, key=lambda pair: pair[0])]


def adopt(settings: Settings, run: int, folder: RunFolder, spec: RunSpec) -> tuple[RunStarted, DispatchFile]:
    """A run that no folder here knows, from what its shards have uploaded: its plan, and what is known already.

    Raises UsageError when it never uploads anything that tells.
    """
    assert spec.target is not None
    github = connect(settings.config, settings.environ, spec.target.repository)
    with closing(github.client):
        first = _first_report(settings, github, run, folder)
        view = github.run(run)
        past = _past(github, run, view.attempt, folder, first.dispatch)
    target, sent = replace(spec.target, commit=first.commit), unpack(first.plan)
    batch = Batch(id=first.dispatch, jobs=_jobs(sent), inputs={})
    saved = SavedDispatch(batch=batch, run=run, attempt=view.attempt, leases={})
    started = RunStarted(
        run=folder.id,
        title=view.title or f"run {run}",
        runner="",
        tests=tuple(test for tests in sent.tests.values() for test in tests),
        machines=(*map(public, settings.config.fleet), MachineSpec(name=ANY_MACHINE)),
        max_retries=settings.config.retry.max_retries,
        fail_if_all_skipped=settings.config.run.fail_if_all_skipped,
        flaky_is_failure=settings.config.retry.flaky_is_failure,
        settings=replace(spec, target=target).as_data(),
    )
    return started, DispatchFile(target=target, dispatches=(saved,), earlier=past)


def _jobs(sent: DispatchPlan) -> tuple[MatrixJob, ...]:
    return tuple(
        MatrixJob(
            shard=Shard(id=shard, kind=ShardKind.HEAD, tests=tuple(test.id for test in tests)),
            machine=ANY_MACHINE,
            labels=(),
        )
        for shard, tests in sent.tests.items()
    )


def _first_report(settings: Settings, github: GitHubApi, run: int, folder: RunFolder) -> shard_report.ShardReport:
    """Any report of the run; waits for the first as long as a job may wait for a runner."""
    until = time.monotonic() + settings.config.github.queue_timeout
    while True:
        for artifact in _ours(github, run):
            try:
                return _read(github, artifact, folder)
            except CiDispatchError:
                continue
        if github.run(run).completed or time.monotonic() >= until:
            raise UsageError(
                f"Run {run} cannot be watched from here",
                why="its run folder is not here, and no shard has uploaded a report that tells the plan",
                hint="watch it where it was dispatched, or give the id of a worker run",
            )
        say(f"Run {run} has no report yet; looking again in {LOOK_AGAIN:.0f} s.", err=True)
        time.sleep(LOOK_AGAIN)


def _past(github: GitHubApi, run: int, attempt: int, folder: RunFolder, dispatch: str) -> tuple[EarlierAttempt, ...]:
    """What the attempts before the current one said, in their order."""
    found: list[EarlierAttempt] = []
    for artifact in _ours(github, run) if attempt > 1 else []:
        try:
            told = _read(github, artifact, folder)
        except CiDispatchError:
            continue
        if told.dispatch == dispatch and told.attempt < attempt:
            found.append(EarlierAttempt(shard=told.shard, attempt=told.attempt, result=told.result))
    return tuple(sorted(found, key=lambda past: past.attempt))


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
        options = ["--attempt-from", rf"/attempt-(\d+)-{shard_report.PREFIX}"]
        options += ["--expect", _expectation(covered, Path(scratch))] if covered.missing else []
        code = report_merge([scratch, "-o", str(output), *options], settings.environ)
    problems = [*collected.unusable, *covered.problems]
    if not collected.reports:
        problems.append("no shard has uploaded a report")
    for problem in problems:
        say(f"INCOMPLETE: {problem}", err=True)
    if problems and code == ExitCode.NOTHING_TO_RUN:
        return ExitCode.INCOMPLETE
    codes = [ExitCode(code), ExitCode.INCOMPLETE if problems else ExitCode.PASSED]
    return worst((*codes, ExitCode.TESTS_FAILED if covered.failed else ExitCode.PASSED))


@dataclass(slots=True)
class _Collected:
    """The reports of a run, each unpacked into the folder of its name."""

    reports: dict[str, shard_report.ShardReport] = field(default_factory=dict)  # by artifact
    plans: dict[str, DispatchPlan] = field(default_factory=dict)  # by their text
    unusable: list[str] = field(default_factory=list)  # what is wrong with the others

    def plan(self, text: str) -> None:
        if text and text not in self.plans:
            self.plans[text] = unpack(text)


def _collect(github: GitHubApi, found: tuple[RunFolder, DispatchFile] | int, folder: Path) -> _Collected:
    collected = _Collected()
    if isinstance(found, int):
        runs = _all_of_its_run(github, found)
    else:
        runs = [saved.run for saved in found[1].dispatches if saved.run is not None]
        for saved in found[1].dispatches:
            collected.plan(saved.batch.inputs.get("plan", ""))
    listed = [artifact for run in runs for artifact in github.artifacts(run) if _OURS.fullmatch(artifact.name)]
    for artifact in {each.name: each for each in sorted(listed, key=lambda each: each.id)}.values():
        into = folder / artifact.name
        try:
            fetch(github, artifact, into, ArtifactLimits())
            report = shard_report.read(into)
            if shard_report.artifact_name(report.dispatch, report.shard, report.attempt) != artifact.name:
                raise UnreadableReport(f"The artifact {artifact.name} was not used", why="its report is of another job")
            collected.plan(report.plan)
        except CiDispatchError as error:
            shutil.rmtree(into, ignore_errors=True)
            collected.unusable.append(f"{error.what}: {error.why}" if error.why else error.what)
        else:
            collected.reports[artifact.name] = report
    return collected


def _expectation(covered: Coverage, folder: Path) -> str:
    """A file for `report-merge --expect`, so that the merged report names what is missing."""
    file = folder / "expected.json"
    tests = [{"classname": test.classname or test.file, "name": test.name} for test in covered.missing]
    file.write_text(json.dumps({"tests": tests}), encoding="utf-8")
    return str(file)


def _all_of_its_run(github: GitHubApi, number: int) -> list[int]:
    """The worker runs of all dispatches of the run that this one belongs to, by their titles."""
    view = github.run(number)
    found = re.search(r"\[([\w-]+)\.\d[\d.]*\]", view.title)
    if found is None or view.created is None:
        return [number]
    since = view.created.timestamp() - ONE_RUN
    return sorted({number, *(run.id for run in github.titled(view.workflow, f"[{found[1]}.", since))})


def _ours(github: GitHubApi, run: int) -> list[ArtifactView]:
    return [artifact for artifact in github.artifacts(run) if _OURS.fullmatch(artifact.name) and not artifact.expired]


def _read(github: GitHubApi, artifact: ArtifactView, folder: RunFolder) -> shard_report.ShardReport:
    into = folder.path / "adopted" / str(artifact.id)
    if not into.exists():
        fetch(github, artifact, into, ArtifactLimits())
    told = shard_report.read(into)
    if not told.plan:
        raise UnreadableReport(f"The artifact {artifact.name} does not tell the plan")
    return told
