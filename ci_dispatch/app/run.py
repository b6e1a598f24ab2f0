"""A run straight over the machines: from listing to verdict, and on from its journal when its controller died."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from ci_dispatch.app import result_files, work_tree
from ci_dispatch.app.chosen_machines import choose
from ci_dispatch.app.drive import Machines, OpenFleet, RunParts, drive_run
from ci_dispatch.app.machines import job_environment
from ci_dispatch.app.run_spec import (
    RunSpec,
    expect,
    expect_more,
    first_events,
    first_events_of_resume,
    head_share,
    new_id,
    read_run,
    read_spec,
)
from ci_dispatch.config import Config
from ci_dispatch.core.errors import ExitCode
from ci_dispatch.fleets.machines.executor import MachineExecutor
from ci_dispatch.fleets.machines.fleet import LeasePolicy, MachineFleet
from ci_dispatch.run import run_folder
from ci_dispatch.run.run_report import ReportCache
from ci_dispatch.run.state import RunState
from ci_dispatch.suites import open_suite


def begin(
    spec: RunSpec,
    *,
    environ: Mapping[str, str],
    follow: str = "",
    arrange: Callable[[Machines], Machines] = lambda machines: machines,
) -> ExitCode:
    """A new run; `arrange` may put other machines in place of the opened ones (the demo's)."""
    job_environment(spec.config, environ)  # a missing secret is said before a minute is spent on listing
    suite = open_suite(spec.config.suite, spec.root, spec.arguments)
    before = work_tree.stamps(spec.config, spec.root)
    expected = expect(spec, suite)
    if work_tree.stamps(spec.config, spec.root) != before:
        expected = expect_more(spec, suite, expected)
    spec, selection = choose(spec, expected)
    folder = run_folder.create(spec.runs_folder, new_id())
    with folder.held():
        tree = work_tree.freeze(spec.config, spec.root, folder)
        first = first_events(spec, folder.id, suite, expected, spec.config.fleet, tree=tree.state, selection=selection)
        return drive_run(
            spec,
            suite,
            folder,
            RunState(),
            first,
            open_machine_fleet,
            environ=environ,
            follow=follow,
            arrange=arrange,
        )


def resume(
    base: Path, name: str, *, environ: Mapping[str, str], shown: Config, follow: str = "", deadline: float = 0.0
) -> ExitCode:
    """Finish the run `name` (or the newest) whose controller died; a run that is over only says how it ended.

    `shown` says which progress display and dashboard the one who resumes wants, `deadline` (seconds, 0: as it was)
    how long the whole run may take, time without a controller not counted.
    """
    folder = run_folder.find(base, name)
    with folder.held():
        state, lost = read_run(folder)
        if state.finished is not None:
            work_tree.forget(folder)
            return result_files.say_again(state, folder, shown, environ)
        spec = read_spec(state, shown, deadline)
        suite = open_suite(spec.config.suite, spec.root, spec.arguments)
        first = first_events_of_resume(folder, lost, deadline, spec.notes)
        if spec.target is not None:
            from ci_dispatch.app.dispatch import go_on

            return go_on(spec, suite, folder, state, first, environ=environ)
        return drive_run(spec, suite, folder, state, first, open_machine_fleet, environ=environ, follow=follow)


def lease_policy(config: Config) -> LeasePolicy:
    """The numbers of leases on machines, from a run's configuration."""
    return LeasePolicy(
        head_share=head_share(config),
        lease=config.run.lease,
        shard_timeout=config.run.shard_timeout,
        copies=config.run.copies,
        start_grace=2 * config.run.sync_timeout,  # the copy, and making it ready
    )


def open_machine_fleet(parts: RunParts) -> OpenFleet:
    """The machines of the configuration, over SSH or this computer itself."""
    config = parts.spec.config
    policy = lease_policy(config)
    executor = MachineExecutor(
        run=parts.folder.id,
        machines=parts.machines,
        suite=parts.suite,
        tree=work_tree.frozen(config, parts.spec.root, parts.folder, parts.state),
        folder=parts.folder.attempts,
        threads=parts.threads(),
        lease_seconds=config.run.lease,
        shard_timeout=config.run.shard_timeout,
        sync_timeout=config.run.sync_timeout,
        prepare=config.suite.prepare,
        extra=parts.spec.arguments,
    )

    def finish(state: RunState, reports: ReportCache) -> None:
        if state.finished is not None:
            work_tree.forget(parts.folder)
        if parts.environ.get("GITHUB_ACTIONS") == "true":
            from ci_dispatch.app import github_output
            from ci_dispatch.fleets.actions.environment import ActionsEnvironment

            github_output.tell(state, reports, parts.folder, [], ActionsEnvironment(parts.environ))

    fleet = MachineFleet(parts.state, parts.machines, policy)
    return OpenFleet(fleet=fleet, executor=executor, finish=finish)
