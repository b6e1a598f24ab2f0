"""Drives a run: opens what it needs from its spec, lets the loop run to the verdict, writes what it came to."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from random import Random

from ci_dispatch.app import result_files
from ci_dispatch.app.github_target import default_branch
from ci_dispatch.app.machines import job_environment, open_machines
from ci_dispatch.app.reporters import delivering, exit_code, open_reporters
from ci_dispatch.app.run_history import RunHistory
from ci_dispatch.app.run_spec import RunSpec, head_share
from ci_dispatch.app.signals import signals
from ci_dispatch.config import Config
from ci_dispatch.core.codec import replace
from ci_dispatch.core.errors import ExitCode
from ci_dispatch.core.events import Event, MachineChecked, RunStarted, Warned
from ci_dispatch.core.model import MachineName, MachineSpec
from ci_dispatch.reporters import ReporterContext
from ci_dispatch.run.checks import CheckExecutor
from ci_dispatch.run.control import RunControl, RunPolicy
from ci_dispatch.run.event_bus import EventBus
from ci_dispatch.run.journal import Journal
from ci_dispatch.run.loop import Inbox, SystemClock, drive
from ci_dispatch.run.messages import Noticed
from ci_dispatch.run.ports import Executor, Fleet, Machine, Suite
from ci_dispatch.run.retry import RetryPolicy
from ci_dispatch.run.run_folder import RunFolder
from ci_dispatch.run.run_report import ReportCache
from ci_dispatch.run.state import RunState
from ci_dispatch.run.worker_threads import WorkerThreads

CHECK_SLACK = 10.0  # seconds a health check may take beyond its own limit, until the run goes on without its answer
REPORT_GRACE = 90.0  # seconds; what GitHub needs to upload the reports of a cancelled job
RUNNER_GRACE = 3.0  # seconds; a runner gives a cancelled orchestrator seven in all
Machines = Mapping[MachineName, Machine]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunParts:
    """What a fleet is opened from. What is entered into `stack` is closed when the run has ended."""

    spec: RunSpec
    suite: Suite
    folder: RunFolder
    state: RunState
    machines: Machines
    environ: Mapping[str, str]
    clock: SystemClock
    stack: ExitStack
    threads: Callable[[], WorkerThreads]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenFleet:
    """A fleet and its executor."""

    fleet: Fleet
    executor: Executor
    see: Callable[[MachineChecked, MachineSpec], MachineChecked] = lambda checked, _spec: checked  # what it adds
    finish: Callable[[RunState, ReportCache], None] = lambda _state, _reports: None  # once the results are written


def drive_run(
    spec: RunSpec,
    suite: Suite,
    folder: RunFolder,
    state: RunState,
    first: Sequence[Event],
    open_fleet: Callable[[RunParts], OpenFleet],
    *,
    environ: Mapping[str, str],
    follow: str = "",
    arrange: Callable[[Machines], Machines] = lambda machines: machines,
) -> ExitCode:
    """The run from its first events to its exit code, for whoever holds its folder. Everything opened here is closed.

    `arrange` may put other machines in place of the opened ones (the demo's).

    Raises:
        CiDispatchError: when a fleet refused and that left the run incomplete.
    """
    clock, inbox, config = SystemClock(state.now), Inbox(), spec.config
    with ExitStack() as stack:
        begun = state.started or next(event for event in first if isinstance(event, RunStarted))
        history = RunHistory(
            spec.runs_folder,
            config,
            lambda text: inbox.post(Noticed("history", text)),
            default_branch=lambda: default_branch(spec.root, environ),
        )
        reports = ReportCache(result_files.run_context(begun, environ), history.look_back)
        shown = open_reporters(
            ReporterContext(
                config=config,
                folder=folder,
                reports=reports,
                environ=environ,
                warn=lambda source, text: inbox.post(Noticed(source, text)),
                memory=history.memory,
                before=lambda: history.before(reports.context),
                earlier=lambda test: history.outcomes(reports.context, test),
                follow=follow,
            )
        )
        bus = EventBus(state, clock, shown, Journal(folder.open_journal()))
        stack.callback(bus.close)
        through_github = spec.target is not None  # whose workers have an environment of their own
        given = None if through_github else job_environment(config, environ)
        machines = arrange(open_machines(config, suite.tools(), given, through_github=through_github))
        for machine in machines.values():
            stack.enter_context(closing(machine))
        opened = open_fleet(
            RunParts(
                spec=spec,
                suite=suite,
                folder=folder,
                state=state,
                machines=machines,
                environ=environ,
                clock=clock,
                stack=stack,
                threads=lambda: WorkerThreads(inbox.post, clock),
            )
        )
        with bus.step():
            for event in first:
                bus.publish(event)
        control = RunControl(
            state,
            bus.publish,
            fleets=[opened.fleet],
            policy=run_policy(spec),
            classify=result_files.classifier(config, spec.root),
            random=Random(),
        )

        def check(name: MachineName, busy: bool) -> MachineChecked:  # noqa: FBT001  # as CheckExecutor calls it
            machine = machines[name]
            return opened.see(machine.check(config.health.connect_timeout, busy=busy), machine.spec)

        checks = CheckExecutor(check, WorkerThreads(inbox.post, clock))
        with signals(inbox.post):
            drive(control, [checks, opened.executor], bus, inbox, clock)
        bus.close(*delivering(shown))  # what could not be delivered belongs into the summary
        history.record(state, reports.context)
        for text in history.untold(state):
            bus.publish(Warned(source="history", text=text))
        result_files.write(state, reports.of(state), folder, head_share(config), reports.past(state).comparison)
        opened.finish(state, reports)
    if control.refusal is not None and not state.ledger.complete:
        raise control.refusal
    return exit_code(config, state)


def run_policy(spec: RunSpec) -> RunPolicy:
    """The numbers of the whole run, from its configuration."""
    config = spec.config
    common = RunPolicy(
        retry=_retry_policy(config),
        head_share=head_share(config),
        check_first=not config.health.skip,
        check_interval=math.inf if config.health.skip else config.health.interval,
        check_deadline=config.health.connect_timeout + CHECK_SLACK,
        give_up_after=config.run.give_up_after,
        deadline=config.run.deadline,
    )
    if spec.target is None:
        return common
    return replace(
        common,
        checks=not config.health.skip,
        await_health=True,
        deadline=config.github.deadline,
        report_grace=REPORT_GRACE,
        signal_grace=RUNNER_GRACE,
        force_grace=0.0,
    )


def _retry_policy(config: Config) -> RetryPolicy:
    retry = config.retry
    return RetryPolicy(
        max_retries=retry.max_retries,
        max_reassignments=retry.max_reassignments,
        backoff=retry.backoff,
        max_backoff=retry.max_backoff,
        jitter=retry.jitter,
    )
