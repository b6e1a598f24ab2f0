"""A dispatched run whose folder is not here, from what its shards have uploaded: `ci-dispatch watch` from anywhere.

A run may have several dispatches: batches of a plan that was too large for one, and tests that were sent elsewhere.
All of them belong to it: what one of them expects is never just absent.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import reduce

from ci_dispatch.app.github_target import connect
from ci_dispatch.app.run_spec import RunSpec
from ci_dispatch.app.say import say
from ci_dispatch.app.settings import Settings
from ci_dispatch.app.uploaded import all_of_its_run, fetched, listed
from ci_dispatch.config.kept import public
from ci_dispatch.core.codec import replace
from ci_dispatch.core.errors import CiDispatchError, UsageError
from ci_dispatch.core.events import RunStarted
from ci_dispatch.core.model import ANY_MACHINE, MachineSpec, Shard, ShardKind
from ci_dispatch.fleets.actions.coverage import coverage
from ci_dispatch.fleets.actions.messages import SavedDispatch
from ci_dispatch.fleets.actions.rest.api import GitHubApi
from ci_dispatch.fleets.actions.rest.models import RunView
from ci_dispatch.fleets.actions.run.batches import Batch, DispatchPlan, run_and_dispatch, unpack
from ci_dispatch.fleets.actions.run.dispatch_state import DispatchFile, EarlierAttempt
from ci_dispatch.fleets.actions.run.matrix import MatrixJob
from ci_dispatch.fleets.actions.shard_report import ShardReport
from ci_dispatch.planning.grouping import both
from ci_dispatch.run.run_folder import RunFolder
from report_merge.render.escape import terminal

LOOK_AGAIN = 20.0  # seconds, for a run that has not uploaded anything yet


@dataclass(frozen=True, slots=True, kw_only=True)
class _Dispatch:
    """One worker run, and what its shards have told; without a report its plan is not known."""

    view: RunView
    reports: tuple[ShardReport, ...] = ()
    plan: DispatchPlan | None = None

    @property
    def number(self) -> int:
        return run_and_dispatch(self.reports[0].dispatch)[1]


def adopt(settings: Settings, run: int, folder: RunFolder, spec: RunSpec) -> tuple[RunStarted, DispatchFile]:
    """A run that no folder here knows: its plan, and what is known already.

    Raises UsageError when what was uploaded does not tell all of its plan.
    """
    assert spec.target is not None
    github = connect(settings.config, settings.environ, spec.target.repository)
    with closing(github.client):
        seen = _wait_for_reports(settings, github, run, folder)
    told = sorted((each for each in seen if each.plan), key=lambda each: each.number)
    plans = [each.plan for each in told if each.plan]
    covered = coverage([], plans)
    if covered.unplanned or not plans:
        missing = f"{covered.unplanned} of its tests were sent with dispatches of which" if plans else "of it"
        raise UsageError(
            f"Run {run} cannot be watched from here",
            why=f"its run folder is not here, and {missing} no shard has uploaded a report that tells the plan",
            hint="watch it where it was dispatched, or give the id of a worker run",
        )
    target = replace(spec.target, commit=told[0].reports[0].commit)
    started = RunStarted(
        run=folder.id,
        title=next((each.view.title for each in told if each.view.id == run), "") or f"run {run}",
        runner="",
        tests=covered.missing,  # nothing was told yet: all of them
        groups=reduce(both, (plan.groups for plan in plans)),
        machines=(*map(public, settings.config.fleet), MachineSpec(name=ANY_MACHINE)),
        max_retries=settings.config.retry.max_retries,
        fail_if_all_skipped=settings.config.run.fail_if_all_skipped,
        flaky_is_failure=settings.config.retry.flaky_is_failure,
        settings=replace(spec, target=target).as_data(),
    )
    saved, earlier = _sorted_out(told, target.commit)
    return started, DispatchFile(target=target, dispatches=saved, earlier=earlier)


def _sorted_out(told: Sequence[_Dispatch], commit: str) -> tuple[tuple[SavedDispatch, ...], tuple[EarlierAttempt, ...]]:
    """The shards that are still to be followed, and what those said that are over, oldest first.

    A shard is over when a later dispatch has tests of it.
    """
    newest = {
        test.id: place
        for place, each in enumerate(told)
        for tests in (each.plan.tests.values() if each.plan else ())
        for test in tests
    }
    saved, earlier = [], []
    for place, each in enumerate(told):
        assert each.plan is not None
        shards = {shard: tuple(test.id for test in tests) for shard, tests in each.plan.tests.items()}
        over = {shard for shard, tests in shards.items() if any(newest[test] != place for test in tests)}
        earlier += [
            EarlierAttempt(shard=report.shard, tests=shards.get(report.shard, ()), result=report.result)
            for report in sorted(each.reports, key=lambda report: report.attempt)
            if report.commit == commit and (report.shard in over or report.attempt < each.view.attempt)
        ]
        jobs = tuple(
            MatrixJob(shard=Shard(id=shard, kind=ShardKind.HEAD, tests=tests), machine=ANY_MACHINE, labels=())
            for shard, tests in shards.items()
            if shard not in over
        )
        if jobs:
            batch = Batch(id=each.reports[0].dispatch, jobs=jobs, inputs={})
            saved.append(SavedDispatch(batch=batch, run=each.view.id, attempt=each.view.attempt, leases={}))
    return tuple(saved), tuple(earlier)


def _wait_for_reports(settings: Settings, github: GitHubApi, run: int, folder: RunFolder) -> list[_Dispatch]:
    """All dispatches of the run, once each has a report or ended without one; no longer than a job may wait."""
    known: dict[int, ShardReport] = {}
    until = time.monotonic() + settings.config.github.queue_timeout
    while True:
        seen = [_look(github, number, folder, known) for number in all_of_its_run(github, run)]
        silent = [str(each.view.id) for each in seen if each.plan is None and not each.view.completed]
        if not silent or time.monotonic() >= until:
            return seen
        say(f"No report yet of run {', '.join(silent)}; looking again in {LOOK_AGAIN:.0f} s.", err=True)
        time.sleep(LOOK_AGAIN)


def _look(github: GitHubApi, number: int, folder: RunFolder, known: dict[int, ShardReport]) -> _Dispatch:
    """A worker run with its reports; `known` are those that were fetched before, by artifact."""
    artifacts = listed(github, [number])
    for artifact in artifacts:
        try:
            if artifact.id not in known:
                into = folder.path / "adopted" / str(artifact.id)
                known[artifact.id] = fetched(github, artifact, into)
        except CiDispatchError as error:
            say(terminal(f"warning: {error}"), err=True)
    view = github.run(number)
    reports = [known[artifact.id] for artifact in artifacts if artifact.id in known]
    for report in reports:
        try:
            plan = unpack(report.plan)
        except UsageError:
            continue
        mine = tuple(other for other in reports if other.dispatch == report.dispatch)
        return _Dispatch(view=view, reports=mine, plan=plan)
    return _Dispatch(view=view)
