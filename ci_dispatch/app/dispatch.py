"""A run through GitHub Actions: from listing to verdict, and on from its folder or from what its shards uploaded."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from ci_dispatch.app import github_output, history_travel, kept_listing, result_files
from ci_dispatch.app.adopt import adopt
from ci_dispatch.app.chosen_machines import choose
from ci_dispatch.app.drive import OpenFleet, RunParts, drive_run
from ci_dispatch.app.github_target import (
    commit_of,
    connect,
    find_run,
    refuse_strangers,
    repository_of,
    server_of,
    target_of,
    token_of,
    unpublished,
)
from ci_dispatch.app.reachable import with_possible_checks
from ci_dispatch.app.run_spec import (
    Expected,
    RunSpec,
    expect,
    first_events,
    first_events_of_resume,
    head_share,
    new_id,
    read_run,
    read_spec,
)
from ci_dispatch.app.say import say, say_json
from ci_dispatch.app.settings import Settings
from ci_dispatch.app.uploaded import all_of_its_run
from ci_dispatch.config.choices import Strategy
from ci_dispatch.core.codec import replace
from ci_dispatch.core.errors import ExitCode, UsageError
from ci_dispatch.core.events import Event, Warned
from ci_dispatch.core.model import ANY_MACHINE, MachineSpec
from ci_dispatch.fleets.actions import messages as g
from ci_dispatch.fleets.actions.environment import ActionsEnvironment
from ci_dispatch.fleets.actions.executor import ActionsExecutor
from ci_dispatch.fleets.actions.fleet import ActionsFleet
from ci_dispatch.fleets.actions.rest.server import ActionsMode
from ci_dispatch.fleets.actions.run.batches import MAX_JOBS, batches
from ci_dispatch.fleets.actions.run.dispatch_planner import ActionsPolicy
from ci_dispatch.fleets.actions.run.dispatch_state import FILE, DispatchFile, DispatchTarget, dumps, load, restore
from ci_dispatch.fleets.actions.run.matrix import matrix_jobs, strategy_for
from ci_dispatch.planning import planner
from ci_dispatch.planning.constraints import Constraints
from ci_dispatch.run import run_folder
from ci_dispatch.run.ports import Suite
from ci_dispatch.run.run_folder import RunFolder
from ci_dispatch.run.run_report import ReportCache
from ci_dispatch.run.state import RunState
from ci_dispatch.suites import open_suite
from report_merge.render.wording import some


def list_only(settings: Settings, file: Path, extra: tuple[str, ...]) -> ExitCode:
    """The first step of `begin`, which executes the repository's code, by itself: needs no token and no key."""
    refuse_strangers(settings)
    server_of(settings.config, settings.environ).require(*ActionsMode)
    return kept_listing.make(settings, file, extra)


def begin(
    settings: Settings, *, shards: int, matrix_only: bool, extra: tuple[str, ...], listing: Path | None = None
) -> ExitCode:
    """A new run, from listing to verdict; `listing` is a file that `list_only` has written."""
    refuse_strangers(settings)
    settings = with_possible_checks(settings)
    config = settings.config
    modes = tuple(ActionsMode) if matrix_only else (ActionsMode.DISPATCH,)
    server_of(config, settings.environ).require(*modes)
    target = None if matrix_only else target_of(settings)
    if target:
        _refuse_unknown_commit(target)
        token_of(config, settings.environ)  # a missing one is said before a minute is spent on listing
        for note in [] if ActionsEnvironment(settings.environ).on_github else unpublished(settings.root, target.commit):
            say(f"warning: {note}", err=True)
    spec = RunSpec(root=settings.root, config=config, arguments=(*config.suite.args, *extra), target=target)
    suite = open_suite(config.suite, settings.root, spec.arguments)
    brought = bring_history(settings, suite, target) if target else []
    expected = expect(spec, suite, kept_listing.read(listing, spec, suite) if listing else None)
    if target is None:  # nobody watches a matrix, so no machine could join later
        spec = spec.as_planned(expected)
        return _show_matrix(settings, spec, expected, actions_policy(spec, shards))
    spec, selection = choose(spec, expected)
    policy = actions_policy(spec, shards)
    folder = run_folder.create(spec.runs_folder, new_id())
    started = first_events(spec, folder.id, suite, expected, machines_of(spec, policy), selection=selection)
    first = [*started, *brought]
    with folder.held():
        return drive_run(
            spec,
            suite,
            folder,
            RunState(),
            first,
            lambda parts: open_actions_fleet(parts, policy, DispatchFile(target=target)),
            environ=settings.environ,
        )


def watch(settings: Settings, name: str) -> ExitCode:
    """Finish a dispatched run: from its folder, or from what its shards have uploaded."""
    found = find_run(settings, name)
    if not isinstance(found, int):
        folder = found[0]
        with folder.held():
            state, lost = read_run(folder)
            if state.finished is not None:
                return result_files.say_again(state, folder, settings.config, settings.environ)
            spec = read_spec(state, settings.config)
            spec = spec if spec.target else replace(spec, target=found[1].target)
            suite = open_suite(spec.config.suite, spec.root, spec.arguments)
            brought = bring_history(settings, suite, found[1].target)
            first = [*first_events_of_resume(folder, lost, notes=spec.notes), *brought]
            return go_on(spec, suite, folder, state, first, environ=settings.environ)
    server_of(settings.config, settings.environ).require(ActionsMode.DISPATCH, what=f"Run {found} was not watched")
    target = target_of(settings)
    spec = RunSpec(root=settings.root, config=settings.config, target=target)
    suite = open_suite(spec.config.suite, spec.root)
    brought = bring_history(settings, suite, target)
    folder = run_folder.create(spec.runs_folder, new_id())
    started, file = adopt(settings, found, folder, spec)
    spec = replace(spec, target=file.target)
    policy = actions_policy(spec, 0)
    with folder.held():
        return drive_run(
            spec,
            suite,
            folder,
            RunState(),
            [started, *brought],
            lambda parts: open_actions_fleet(parts, policy, file),
            environ=settings.environ,
        )


def bring_history(settings: Settings, suite: Suite, target: DispatchTarget) -> list[Event]:
    """Fetch what earlier runs left on GitHub; a warning says what stood in the way."""
    here = ActionsEnvironment(settings.environ)
    repository, branch = here.repository or target.repository, here.ref or target.ref
    problems = history_travel.bring(settings, suite.title, repository=repository, branch=branch)
    return [Warned(source="history", text=text) for text in problems]


def go_on(
    spec: RunSpec,
    suite: Suite,
    folder: RunFolder,
    state: RunState,
    first: Sequence[Event],
    *,
    environ: Mapping[str, str],
) -> ExitCode:
    """The rest of a dispatched run whose folder is here."""
    assert spec.target is not None
    file = load(folder.path) or DispatchFile(target=spec.target)
    policy = actions_policy(spec, 0)
    return drive_run(
        spec,
        suite,
        folder,
        state,
        first,
        lambda parts: open_actions_fleet(parts, policy, file),
        environ=environ,
    )


def cancel(settings: Settings, name: str) -> ExitCode:
    """Cancel everything a run has dispatched."""
    server_of(settings.config, settings.environ).require(ActionsMode.DISPATCH, what="Nothing was cancelled")
    found = find_run(settings, name)
    repository = repository_of(settings) if isinstance(found, int) else found[1].target.repository
    github = connect(settings.config, settings.environ, repository)
    with closing(github.client):
        if isinstance(found, int):
            runs = all_of_its_run(github, found)
        else:
            runs = [saved.run for saved in found[1].dispatches if saved.run is not None]
        for run in runs:
            github.cancel(run)
            say(f"Run {run} of {repository} is told to end.")
    if not runs:
        say("Nothing of it runs on GitHub.")
    return ExitCode.PASSED


def open_actions_fleet(parts: RunParts, policy: ActionsPolicy, file: DispatchFile) -> OpenFleet:
    """One repository's worker workflow."""
    config, target = parts.spec.config, file.target
    clients = [connect(config, parts.environ, target.repository) for _ in range(2)]
    for github in clients:
        parts.stack.enter_context(closing(github.client))

    def save(dispatches: tuple[g.SavedDispatch, ...]) -> None:
        run_folder.write_whole(parts.folder.path / FILE, dumps(DispatchFile(target=target, dispatches=dispatches)))

    fleet = ActionsFleet(
        parts.state,
        [*parts.machines, ANY_MACHINE],
        policy,
        restored=restore(file.dispatches, parts.state.ledger, parts.clock.now()),
        earlier=file.earlier,
    )
    executor = ActionsExecutor(
        *clients,
        workflow=target.workflow,
        ref=target.ref,
        commit=target.commit,
        attempts=parts.folder.attempts,
        save=save,
        threads=parts.threads(),
    )

    def finish(state: RunState, reports: ReportCache) -> None:
        here = ActionsEnvironment(parts.environ)
        history_travel.keep(parts.suite.title, parts.spec.runs_folder, parts.folder, parts.environ)
        github_output.tell(state, reports, parts.folder, [run.id for run in fleet.runs], here)
        github_output.comment(config, parts.environ, state, reports, target)

    see = github_output.runner_sight(config, parts.environ, target.repository, parts.stack)
    return OpenFleet(fleet=fleet, executor=executor, see=see, finish=finish)


def actions_policy(spec: RunSpec, shards: int) -> ActionsPolicy:
    config = spec.config
    return ActionsPolicy(
        strategy=config.github.strategy,
        head_share=head_share(config),
        shards=shards,
        pool=config.github.pool_labels,
        pooled=frozenset(machine.name for machine in config.machines),
        extra=spec.arguments,
        commit=spec.target.commit if spec.target else "",
        poll_interval=config.github.poll_interval,
        queue_timeout=config.github.queue_timeout,
        shard_timeout=config.run.shard_timeout + config.github.setup_time,
    )


def _show_matrix(settings: Settings, spec: RunSpec, expected: Expected, policy: ActionsPolicy) -> ExitCode:
    """`--matrix-only`: what would be dispatched, as JSON and as outputs, which hold one dispatch: none is left out."""
    here, fleet = ActionsEnvironment(settings.environ), spec.config.fleet
    constraints = Constraints(expected.groups, expected.tests, fleet)
    bound = [group.spec.name for group in expected.groups if not all(constraints.of(t).planned for t in group.tests)]
    if bound:
        raise UsageError(
            "No matrix was made",
            why=f"nobody would keep what groups ask for, once all jobs of it run: {some(bound, 3)}",
            hint="use one workflow (`command: plan`), or dispatch: both keep it",
        )
    jobs = matrix_jobs(
        planner.units_of(expected.tests, expected.seconds),
        fleet,
        strategy=strategy_for(policy.strategy, [spec.name for spec in fleet], policy.pooled),
        pool=policy.pool,
        head_share=policy.head_share,
        shards=policy.shards,
    )
    tests = {test.id: test for test in expected.tests}
    made = batches(
        jobs,
        tests,
        name=new_id(),
        timeout_minutes=policy.timeout_minutes,
        commit=commit_of(settings),
        extra=policy.extra,
    )
    if here.takes_outputs and len(made) > 1:
        raise UsageError(
            "No matrix was made",
            why=f"{len(jobs)} jobs with {len(tests)} tests need {len(made)} dispatches, and a job's outputs hold one",
            hint=f"--shards {MAX_JOBS} or fewer; if that is not it, larger units or several suites",
        )
    shown = [{**batch.inputs, "matrix": json.loads(batch.inputs["matrix"])} for batch in made]
    say_json({"dispatches": shown}, indent=None)
    first = made[0].inputs
    here.set_outputs({"matrix": first["matrix"], "plan": first["plan"], "dispatch-id": first["dispatch_id"]})
    return ExitCode.PASSED


def _refuse_unknown_commit(target: DispatchTarget) -> None:
    if not target.commit:
        raise UsageError(
            "Nothing was dispatched",
            why="it cannot be told which commit the tests are listed from: this is no git work tree",
            hint="check the repository out with git (actions/checkout does), and install git where this runs",
        )


def machines_of(spec: RunSpec, policy: ActionsPolicy) -> tuple[MachineSpec, ...]:
    """The fleet, and whoever takes a pooled job where jobs may be pooled."""
    pool = () if policy.strategy is Strategy.PINNED else (MachineSpec(name=ANY_MACHINE),)
    return (*spec.config.fleet, *pool)
