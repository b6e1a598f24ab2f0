"""The direct engine's composition root: builds the edges from the settings, drives the run, writes what it came to."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from ci_dispatch.app import reporters, result_files
from ci_dispatch.app.clock import SystemClock
from ci_dispatch.app.machines import open_machines
from ci_dispatch.app.signals import signals
from ci_dispatch.app.work_tree import work_tree
from ci_dispatch.config import Config, resolve
from ci_dispatch.config.document import to_document
from ci_dispatch.core.codec import replace
from ci_dispatch.core.errors import ExitCode, UsageError
from ci_dispatch.core.events import Event, RunResumed, RunStarted, Warned
from ci_dispatch.core.model import MachineName, RunId, Test, TestId
from ci_dispatch.fleets.machines.executor import Crew
from ci_dispatch.planning import planner
from ci_dispatch.reporters import ReporterContext
from ci_dispatch.run import messages as m
from ci_dispatch.run import run_folder
from ci_dispatch.run.control import Engine, Terms
from ci_dispatch.run.event_bus import EventBus
from ci_dispatch.run.journal import Journal, JournalReader, replay
from ci_dispatch.run.loop import Inbox, drive
from ci_dispatch.run.ports import Machine, Suite
from ci_dispatch.run.retry import RetryPolicy
from ci_dispatch.run.run_folder import RunFolder
from ci_dispatch.run.run_report import ReportCache
from ci_dispatch.run.state import RunState
from ci_dispatch.suites import open_suite

Machines = Mapping[MachineName, Machine]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """Where and how a run happens; what a resume must find again."""

    root: Path  # everything is relative to it
    config: Config
    extra: tuple[str, ...] = ()  # arguments for the runner

    def as_data(self) -> dict[str, Any]:
        return {"root": str(self.root), "config": to_document(self.config), "extra": list(self.extra)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """The tests of a suite and how long each may take."""

    tests: tuple[Test, ...]
    seconds: Mapping[TestId, float]
    known: float  # share of tests that were measured before, 0 to 1
    notes: tuple[str, ...] = ()


def runs_folder(setting: RunSpec) -> Path:
    return setting.root / setting.config.run.folder


def expect(setting: RunSpec, suite: Suite) -> Expected:
    """List the suite and look up how long its tests took before.

    Raises NothingToRun or UsageError when the suite cannot be listed.
    """
    listing = suite.list_tests(setting.config.suite.list_timeout)
    history, note = result_files.read_timings(runs_folder(setting))
    ids = [test.id for test in listing.tests]
    known = sum(test in history.samples for test in ids) / max(1, len(ids))
    notes = (*listing.notes, note) if note else listing.notes
    return Expected(tests=listing.tests, seconds=history.expected(ids), known=known, notes=notes)


def begin(
    setting: RunSpec,
    *,
    environ: Mapping[str, str],
    follow: str = "",
    arrange: Callable[[Machines], Machines] | None = None,
) -> ExitCode:
    """A new run, from listing to verdict; `arrange` may put other machines in place of the opened ones (the demo's)."""
    suite = open_suite(setting.config.suite, setting.root, setting.extra)
    expected = expect(setting, suite)
    folder = run_folder.create(runs_folder(setting), _new_id())
    units = planner.units_of(expected.tests, expected.seconds)
    share = planner.head_share(expected.known, len(setting.config.fleet))
    fleet = setting.config.fleet
    started = RunStarted(
        run=folder.id,
        title=suite.title,
        runner=suite.name,
        tests=expected.tests,
        machines=fleet,
        expected_seconds={str(test): seconds for test, seconds in expected.seconds.items()},
        max_retries=setting.config.retry.max_retries,
        planned=planner.planned_makespan(units, fleet, share),
        lower_bound=planner.lower_bound(units, fleet),
        settings=setting.as_data(),
    )
    first: list[Event] = [started, *(Warned(source=suite.name, text=note) for note in expected.notes)]
    return _drive(
        setting, suite, folder, RunState(), first, environ=environ, follow=follow, known=expected.known, arrange=arrange
    )


def resume(base: Path, name: str, *, environ: Mapping[str, str], shown: Config, follow: str = "") -> ExitCode:
    """Finish the run `name` (or the newest) whose controller died; a run that is over only says how it ended.

    `shown` says which progress display and dashboard the one who resumes wants.
    """
    folder = run_folder.find(base, name)
    with folder.held():
        state = RunState()
        replay(JournalReader(folder.journal).read_all(), state)
    if state.started is None:
        raise UsageError(
            f"Run {folder.id} cannot be resumed",
            why="it ended before it began",
            hint="start a new one: ci-dispatch run",
        )
    if state.finished is not None:
        return result_files.say_again(state, folder)
    setting = _read_setting(state.started.settings, shown)
    suite = open_suite(setting.config.suite, setting.root, setting.extra)
    resumed = RunResumed(controller=f"{socket.gethostname()}, process {os.getpid()}")
    return _drive(setting, suite, folder, state, [resumed], environ=environ, follow=follow)


def _drive(
    setting: RunSpec,
    suite: Suite,
    folder: RunFolder,
    state: RunState,
    first: Sequence[Event],
    *,
    environ: Mapping[str, str],
    follow: str,
    known: float = 1.0,
    arrange: Callable[[Machines], Machines] | None = None,
) -> ExitCode:
    """The run itself. Everything opened here is closed, whatever happens."""
    clock, inbox, config = SystemClock(), Inbox(), setting.config
    with ExitStack() as stack:
        stack.enter_context(folder.held())
        begun = state.started or next(event for event in first if isinstance(event, RunStarted))
        reports = ReportCache(result_files.run_context(begun, environ))
        warn = partial(_notice, inbox)
        shown = reporters.open_reporters(
            ReporterContext(config=config, folder=folder, reports=reports, environ=environ, warn=warn, follow=follow)
        )
        journal = Journal(folder.open_journal())
        bus = EventBus(state, clock, [journal, *shown])
        stack.callback(bus.close)
        machines: Machines = open_machines(config, suite.tools())
        machines = arrange(machines) if arrange else machines
        for machine in machines.values():
            stack.enter_context(closing(machine))
        for event in first:
            bus.publish(event)
        engine = Engine(
            state,
            bus.publish,
            terms=_terms(config, known),
            classify=result_files.classifier(config, setting.root),
            random=Random(),
        )
        crew = _crew(setting, suite, folder, machines, inbox, clock)
        with signals(inbox.post):
            drive(engine, crew, bus, inbox, clock)
        bus.close(*reporters.delivering(shown))  # what could not be delivered belongs into the summary
        result_files.write(state, reports.of(state), folder, runs_folder(setting))
        if environ.get("GITHUB_ACTIONS") == "true":
            from ci_dispatch.app import github_output
            from ci_dispatch.fleets.actions.environment import ActionsEnvironment

            github_output.tell(state, reports.of(state), folder, [], ActionsEnvironment(environ))
        return reporters.exit_code(config, state)


def _crew(
    setting: RunSpec,
    suite: Suite,
    folder: RunFolder,
    machines: Mapping[MachineName, Machine],
    inbox: Inbox,
    clock: SystemClock,
) -> Crew:
    config = setting.config
    return Crew(
        run=folder.id,
        machines=machines,
        suite=suite,
        tree=work_tree(config, setting.root),
        folder=folder.attempts,
        post=inbox.post,
        lease_seconds=config.run.lease,
        shard_timeout=config.run.shard_timeout,
        sync_timeout=config.run.sync_timeout,
        check_timeout=config.health.connect_timeout,
        clock=clock,
        prepare=config.suite.prepare,
        extra=setting.extra,
    )


def _terms(config: Config, known: float) -> Terms:
    retry = config.retry
    return Terms(
        retry=RetryPolicy(
            max_retries=retry.max_retries,
            max_reassignments=retry.max_reassignments,
            backoff=retry.backoff,
            max_backoff=retry.max_backoff,
            jitter=retry.jitter,
        ),
        head_share=planner.head_share(known, len(config.fleet))
        if config.run.head_share is None
        else config.run.head_share,
        lease=config.run.lease,
        start_grace=2 * config.run.sync_timeout,  # the copy, and making it ready
        check_interval=config.health.interval,
        check_first=not config.health.skip,
        give_up_after=config.run.give_up_after,
        deadline=config.run.deadline,
    )


def _read_setting(data: Mapping[str, Any], shown: Config) -> RunSpec:
    """The setting a run began with, as its journal has it; only how it is shown is of the one who resumes."""
    try:
        config = resolve(data["config"], file="the journal").config
        config = replace(config, progress=shown.progress, dashboard=shown.dashboard)
        return RunSpec(root=Path(data["root"]), config=config, extra=tuple(data["extra"]))
    except KeyError as error:
        raise UsageError(
            "The run cannot be resumed", why=f"its journal has no {error}", hint="start a new one"
        ) from error


def _notice(inbox: Inbox, source: str, text: str) -> None:
    inbox.post(m.Noticed(source, text))


def _new_id() -> RunId:
    return RunId(f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}")
