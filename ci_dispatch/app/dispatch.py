"""The composition root of a run through GitHub: builds the edges, drives the dispatcher, writes what it came to."""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from random import Random

import click

from ci_dispatch.app import github_output, reporters, result_files, run
from ci_dispatch.app.clock import SystemClock
from ci_dispatch.app.github_target import connect, find_run, repository_of, target_of, token_of
from ci_dispatch.app.machines import open_machines
from ci_dispatch.app.merge import adopt
from ci_dispatch.app.signals import signals
from ci_dispatch.cli.settings import Settings
from ci_dispatch.config import Config
from ci_dispatch.core.errors import ExitCode, NothingToRun
from ci_dispatch.core.events import Event, MachineChecked, RunResumed, RunStarted, Warned
from ci_dispatch.core.model import MachineName, MachineSpec, RunId
from ci_dispatch.fleets.actions.driver import Inbox, Lanes, drive
from ci_dispatch.fleets.actions.environment import ActionsEnvironment
from ci_dispatch.fleets.actions.executor import Hands
from ci_dispatch.fleets.actions.fleet import Dispatcher
from ci_dispatch.fleets.actions.run.batches import batches
from ci_dispatch.fleets.actions.run.dispatch_planner import Terms
from ci_dispatch.fleets.actions.run.dispatch_state import FILE, Dispatched, Target, dumps, restore
from ci_dispatch.fleets.actions.run.matrix import ANY_MACHINE, Strategy, matrix_jobs
from ci_dispatch.planning import planner
from ci_dispatch.reporters import ReporterContext
from ci_dispatch.run import run_folder
from ci_dispatch.run.event_bus import EventBus
from ci_dispatch.run.journal import Journal, JournalReader, replay
from ci_dispatch.run.messages import Noticed
from ci_dispatch.run.ports import Suite
from ci_dispatch.run.retry import RetryPolicy
from ci_dispatch.run.run_folder import RunFolder
from ci_dispatch.run.run_report import ReportCache
from ci_dispatch.run.state import RunState
from ci_dispatch.suites import open_suite

WORKER_GRACE = 300.0  # beyond a shard's own limit: checkout, set-up, upload, and GitHub noticing


def begin(settings: Settings, *, shards: int, matrix_only: bool, extra: tuple[str, ...]) -> ExitCode:
    """A new run, from listing to verdict."""
    _refuse_forks(ActionsEnvironment(settings.environ))
    config = settings.config
    setting = run.RunSpec(root=settings.root, config=config, extra=(*config.suite.args, *extra))
    target = None if matrix_only else target_of(settings)
    if target:
        token_of(config, settings.environ)  # a missing one is said before a minute is spent on listing
    suite = open_suite(config.suite, settings.root, setting.extra)
    expected = run.expect(setting, suite)
    terms = _terms(config, expected.known, shards, setting.extra)
    units = planner.units_of(expected.tests, expected.seconds)
    if target is None:
        return _show_matrix(settings, expected, units, terms)
    folder = run_folder.create(run.runs_folder(setting), _new_id())
    started = RunStarted(
        run=folder.id,
        title=suite.title,
        runner=suite.name,
        tests=expected.tests,
        machines=_fleet(config, terms),
        expected_seconds={str(test): seconds for test, seconds in expected.seconds.items()},
        max_retries=config.retry.max_retries,
        planned=planner.planned_makespan(units, config.fleet, terms.head_share),
        lower_bound=planner.lower_bound(units, config.fleet),
        settings=setting.as_data(),
    )
    first: list[Event] = [started, *(Warned(source=suite.name, text=note) for note in expected.notes)]
    return _drive(settings, suite, folder, RunState(), first, Dispatched(target=target), terms)


def again(settings: Settings, name: str) -> ExitCode:
    """Finish a dispatched run: from its folder, or from what its shards have uploaded."""
    config = settings.config
    suite = open_suite(config.suite, settings.root)
    found = find_run(settings, name)
    state = RunState()
    if isinstance(found, int):
        folder = run_folder.create(settings.root / config.run.folder, _new_id())
        started, dispatched = adopt(settings, found, folder)
        first: list[Event] = [started]
    else:
        folder, dispatched = found
        with folder.held():
            replay(JournalReader(folder.journal).read_all(), state)
        if state.finished is not None:
            return result_files.say_again(state, folder)
        first = [RunResumed(controller=f"{socket.gethostname()}, process {os.getpid()}")]
    extra = state.started.settings.get("extra", ()) if state.started else ()
    terms = _terms(config, 1.0, 0, tuple(map(str, extra)))
    return _drive(settings, suite, folder, state, first, dispatched, terms)


def cancel(settings: Settings, name: str) -> ExitCode:
    """Cancel everything a run has dispatched."""
    found = find_run(settings, name)
    if isinstance(found, int):
        repository, runs = repository_of(settings), [found]
    else:
        repository = found[1].target.repository
        runs = [saved.run for saved in found[1].dispatches if saved.run is not None]
    github = connect(settings, repository)
    with closing(github.client):
        for run in runs:
            github.cancel(run)
            click.echo(f"Run {run} of {repository} is told to end.")
    if not runs:
        click.echo("Nothing of it runs on GitHub.")
    return ExitCode.PASSED


def _drive(
    settings: Settings,
    suite: Suite,
    folder: RunFolder,
    state: RunState,
    first: Sequence[Event],
    dispatched: Dispatched,
    terms: Terms,
) -> ExitCode:
    """The run itself. Everything opened here is closed, whatever happens."""
    clock, inbox, config, target = SystemClock(), Inbox(), settings.config, dispatched.target
    with ExitStack() as stack:
        stack.enter_context(folder.held())
        begun = state.started or next(event for event in first if isinstance(event, RunStarted))
        reports = ReportCache(result_files.run_context(begun, settings.environ))
        shown = reporters.open_reporters(
            ReporterContext(
                config=config,
                folder=folder,
                reports=reports,
                environ=settings.environ,
                warn=lambda source, text: inbox.post(Noticed(source, text)),
            )
        )
        bus = EventBus(state, clock, [Journal(folder.open_journal()), *shown])
        stack.callback(bus.close)
        for event in first:
            bus.publish(event)
        dispatcher = Dispatcher(
            state,
            bus.publish,
            terms=terms,
            classify=result_files.classifier(config, settings.root),
            random=Random(),
            restored=restore(dispatched.dispatches, state.ledger, clock.now()),
            past=dispatched.past,
        )
        stop = threading.Event()
        lanes = Lanes(
            _hands(settings, target, folder, inbox, stop, clock, stack),
            _hands(settings, target, folder, inbox, stop, clock, stack),
            save=lambda saved: run_folder.write_whole(
                folder.path / FILE, dumps(Dispatched(target=target, dispatches=saved))
            ),
            check=_checks(settings, suite, target, stack) if terms.checks else None,
            post=inbox.post,
            stop=stop,
        )
        with signals(inbox.post):
            drive(dispatcher, lanes, bus, inbox, clock)
        bus.close(*reporters.delivering(shown))  # what could not be delivered belongs into the summary
        result_files.write(state, reports.of(state), folder, settings.root / config.run.folder)
        here = ActionsEnvironment(settings.environ)
        github_output.tell(state, reports.of(state), folder, [run.run for run in dispatcher.runs], here)
        github_output.comment(settings, reports.of(state), target)
    if dispatcher.refusal is not None:
        raise dispatcher.refusal
    return reporters.exit_code(config, state)


def _hands(
    settings: Settings,
    target: Target,
    folder: RunFolder,
    inbox: Inbox,
    stop: threading.Event,
    clock: SystemClock,
    stack: ExitStack,
) -> Hands:
    github = connect(settings, target.repository)
    stack.enter_context(closing(github.client))
    return Hands(
        github,
        workflow=target.workflow,
        ref=target.ref,
        attempts=folder.attempts,
        post=inbox.post,
        pause=stop.wait,
        clock=clock,
    )


def _checks(
    settings: Settings, suite: Suite, target: Target, stack: ExitStack
) -> Callable[[MachineName], MachineChecked]:
    """How to ask a machine how it is: over SSH, and GitHub about its runners where a token allows it."""
    config = settings.config
    machines = open_machines(config, suite.tools())
    for machine in machines.values():
        stack.enter_context(closing(machine))
    see = github_output.runner_sight(settings, target.repository, stack)

    def check(name: MachineName) -> MachineChecked:
        machine = machines[name]
        return see(machine.check(config.health.connect_timeout), machine.spec)

    return check


def _show_matrix(settings: Settings, expected: run.Expected, units: Sequence[planner.Unit], terms: Terms) -> ExitCode:
    """`--matrix-only`: what would be dispatched, as JSON and as outputs."""
    jobs = matrix_jobs(
        units,
        settings.config.fleet,
        strategy=terms.strategy,
        pool=terms.pool,
        head_share=terms.head_share,
        shards=terms.shards,
    )
    tests = {test.id: test for test in expected.tests}
    made = batches(jobs, tests, name=_new_id(), timeout_minutes=terms.timeout_minutes, extra=terms.extra)
    shown = [{**batch.inputs, "matrix": json.loads(batch.inputs["matrix"])} for batch in made]
    click.echo(json.dumps({"dispatches": shown}, ensure_ascii=False))
    first = made[0].inputs
    ActionsEnvironment(settings.environ).set_outputs(
        {"matrix": first["matrix"], "plan": first["plan"], "dispatch-id": first["dispatch_id"]}
    )
    return ExitCode.PASSED


def _refuse_forks(here: ActionsEnvironment) -> None:
    if fork := here.fork():
        raise NothingToRun(
            "Nothing was dispatched",
            why=f"this pull request comes from {fork}, and code from there does not run on this project's own machines",
            hint="a maintainer who has read it can push it to a branch here; thank you for the pull request",
        )


def _fleet(config: Config, terms: Terms) -> tuple[MachineSpec, ...]:
    pool = () if terms.strategy is Strategy.PINNED else (MachineSpec(name=ANY_MACHINE),)
    return (*config.fleet, *pool)


def _terms(config: Config, known: float, shards: int, extra: tuple[str, ...]) -> Terms:
    retry = config.retry
    return Terms(
        retry=RetryPolicy(
            max_retries=retry.max_retries,
            max_reassignments=retry.max_reassignments,
            backoff=retry.backoff,
            max_backoff=retry.max_backoff,
            jitter=retry.jitter,
        ),
        strategy=Strategy(config.github.strategy),
        head_share=planner.head_share(known, len(config.fleet))
        if config.run.head_share is None
        else config.run.head_share,
        shards=shards,
        pool=config.github.pool_labels,
        extra=extra,
        poll_interval=config.github.poll_interval,
        queue_timeout=config.github.queue_timeout,
        shard_timeout=config.run.shard_timeout + WORKER_GRACE,
        check_interval=config.health.interval,
        checks=not config.health.skip,
        deadline=config.github.deadline,
        give_up_after=config.run.give_up_after,
    )


def _new_id() -> RunId:
    return RunId(f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}")
