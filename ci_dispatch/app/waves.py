"""The suite inside one workflow run: `plan`, `again` and `merge`, each a job of its own that begins from files."""

from __future__ import annotations

import json
import re
import threading
import time
from contextlib import ExitStack, closing
from pathlib import Path

from ci_dispatch.app import github_output, history_travel, kept_listing, result_files
from ci_dispatch.app.dispatch import actions_policy, machines_of
from ci_dispatch.app.drive import run_policy
from ci_dispatch.app.github_target import default_branch, refuse_strangers, server_of
from ci_dispatch.app.machines import open_machines
from ci_dispatch.app.reachable import with_possible_checks
from ci_dispatch.app.reporters import delivering, exit_code, open_reporters
from ci_dispatch.app.run_history import RunHistory
from ci_dispatch.app.run_spec import RunSpec, expect, first_events, head_share, new_id
from ci_dispatch.app.say import say
from ci_dispatch.app.settings import Settings
from ci_dispatch.core.codec import replace
from ci_dispatch.core.errors import ExitCode, FleetError, UnreadableReport, UsageError
from ci_dispatch.core.events import MachineChecked, RunStarted, Warned
from ci_dispatch.core.model import MachineName, RunId
from ci_dispatch.fleets.actions.environment import ActionsEnvironment
from ci_dispatch.fleets.actions.rest.server import ActionsMode
from ci_dispatch.fleets.actions.run.dispatch_planner import ActionsPolicy
from ci_dispatch.fleets.actions.run.dispatch_state import DispatchTarget
from ci_dispatch.fleets.actions.waves import planned_wave
from ci_dispatch.fleets.actions.waves.planned_wave import Folder, PlannedWave
from ci_dispatch.fleets.actions.waves.replay import Replay
from ci_dispatch.reporters import ReporterContext
from ci_dispatch.run import run_folder
from ci_dispatch.run.journal import Journal
from ci_dispatch.run.ports import Machine
from ci_dispatch.run.run_report import ReportCache
from ci_dispatch.run.state import RunState
from ci_dispatch.suites import open_suite
from ci_dispatch.suites.listing import run_listing
from report_merge.render.escape import terminal_name
from report_merge.render.wording import count
from report_merge.sanitize import one_line

_ID = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{4}")  # run_spec.new_id
CHECK_SLACK = 10.0  # seconds a health check may take beyond its own limit
NO_WAVE_LEFT = "no wave is left"


def list_only(settings: Settings, file: Path, extra: tuple[str, ...]) -> ExitCode:
    """The first step of `plan`, which executes the repository's code, by itself: needs no token and no key.

    Raises NothingToRun or UsageError when the checkout cannot be made ready, or the suite not be listed.
    """
    refuse_strangers(settings)
    config = settings.config
    if config.suite.prepare:
        command = ("/bin/sh", "-c", config.suite.prepare)
        ended = run_listing(command, cwd=settings.root, env={}, deadline=config.run.sync_timeout, settings=config.suite)
        if ended.exit_code:
            said = one_line(ended.errors or ended.output, 500)
            raise UsageError(
                f"The checkout could not be made ready: {one_line(config.suite.prepare, 100)}",
                why=f"exit code {ended.exit_code}: {said}",
                hint="`prepare` in the section [suite], or the input of that name, says what is run",
            )
    return kept_listing.make(settings, file, extra)


def plan(
    settings: Settings, *, commit: str, output: Path, shards: int, extra: tuple[str, ...], listing: Path | None = None
) -> ExitCode:
    """The first wave: list the suite, ask the machines how they are, and write the plan into `output`.

    `commit` is what the listing is of: every shard must have it checked out.

    Raises:
        NothingToRun: for a suite without tests, and for strangers' code.
        UsageError: when it does not fit into one matrix: nothing of it is left out.
        FleetError: when no machine is well.
    """
    refuse_strangers(settings)
    server_of(settings.config, settings.environ).require(ActionsMode.ONE_WORKFLOW)
    settings = with_possible_checks(settings)
    here, config = ActionsEnvironment(settings.environ), settings.config
    spec = RunSpec(root=settings.root, config=config, arguments=(*config.suite.args, *extra))
    suite = open_suite(config.suite, settings.root, spec.arguments)
    brought = history_travel.bring(settings, suite.title, repository=here.repository, branch=here.ref)
    expected = expect(spec, suite, kept_listing.read(listing, spec, suite) if listing else None)
    spec = spec.as_planned(expected)
    policy = actions_policy(spec, shards)
    started, *notes = first_events(spec, new_id(), suite, expected, machines_of(spec, policy))
    assert isinstance(started, RunStarted)
    wave = PlannedWave(
        id=started.run,
        wave=1,
        attempt=here.attempt,
        at=round(time.time(), 3),
        checked=_ask(spec, settings),
        started=replace(started, settings={}),  # an artifact of a public repository is everybody's to read
        commit=commit,
        workers=expected.workers,
        extra=spec.arguments,
    )
    replay = _replay(wave, spec, settings)
    for text in [*brought, *(note.text for note in notes if isinstance(note, Warned))]:
        say(f"note: {terminal_name(text)}", err=True)
    if steps := replay.state.constraints.steps():
        text = f"groups come after each other, so it takes {steps + 1} waves at least, and one more for each retry"
        say(f"note: {text}", err=True)
    made, usable = replay.plan(wave, spec.config.fleet, policy)
    if not usable:
        raise FleetError("Nothing was planned", why=_sick(replay.state), hint="see `ci-dispatch health`")
    _hand_over(made, output, policy, here)
    say(f"Plan {made.id}: {count(len(started.tests), 'test')} in {count(len(made.jobs), 'job')}.", err=True)
    _say_left_out(replay.state)
    return ExitCode.PASSED


def again(settings: Settings, plan: str, *, wave: int, artifacts: Path, output: Path) -> ExitCode:
    """The wave of this number: what is owed after all reports so far, onto machines that are well; often nothing."""
    settings = with_possible_checks(settings)
    folder, spec, replay = _so_far(settings, plan, artifacts)
    here = ActionsEnvironment(settings.environ)
    nothing = PlannedWave(
        id=folder.first.id,
        wave=wave,
        attempt=here.attempt,
        at=round(time.time(), 3),
        checked=_ask(spec, settings) if replay.owed else (),
        commit=folder.first.commit,
    )
    policy = actions_policy(spec, 0)
    made, usable = replay.plan(nothing, spec.config.fleet, policy)
    _hand_over(made, output, policy, here)
    if not replay.owed:
        say("Nothing is owed: the next wave has nothing to run.", err=True)
    elif not usable:
        text = f"{len(replay.owed)} tests are owed, and nobody is left to run them: {_sick(replay.state)}"
        say(f"warning: {terminal_name(text)}", err=True)
    else:
        say(f"Wave {wave}: {count(len(replay.owed), 'test')} again, in {count(len(made.jobs), 'job')}.", err=True)
        _say_left_out(replay.state)
    return ExitCode.PASSED


def merge(settings: Settings, plan: str, *, artifacts: Path) -> ExitCode:
    """The gate: one verdict from the plan and every report of every wave and attempt; results as after any run.

    Raises:
        NothingToRun: when there is no plan because the code is a stranger's.
        FleetError: when there is none for another reason: nothing is known to have run.
    """
    here = ActionsEnvironment(settings.environ)
    try:
        folder, spec = _read(settings, plan, artifacts)
    except (UnreadableReport, UsageError) as error:
        here.set_outputs({"verdict": "incomplete", "exit-code": str(int(ExitCode.INCOMPLETE))})
        refuse_strangers(settings)  # if they are, that is why
        raise FleetError(f"There is no verdict: {error.what}", why=error.why, hint=error.hint) from error
    brought = history_travel.bring(settings, folder.started.title, repository=here.repository, branch=here.ref)
    run = run_folder.create(spec.runs_folder, RunId(f"{plan}-a{here.attempt}"))
    state = RunState()
    with run.held(), ExitStack() as stack:
        warnings = [("history", text) for text in brought]
        history = RunHistory(
            spec.runs_folder,
            spec.config,
            lambda text: warnings.append(("history", text)),
            default_branch=lambda: default_branch(spec.root, settings.environ),
        )
        reports = ReportCache(result_files.run_context(folder.started, settings.environ), history.look_back)
        shown = open_reporters(
            ReporterContext(
                config=spec.config,
                folder=run,
                reports=reports,
                environ=settings.environ,
                warn=lambda source, text: warnings.append((source, text)),
                memory=history.memory,
                before=lambda: history.before(reports.context),
                earlier=lambda test: history.outcomes(reports.context, test),
            )
        )
        replay = Replay(
            folder.first,
            policy=run_policy(spec),
            classify=result_files.classifier(spec.config, spec.root),
            reporters=shown,
            journal=Journal(run.open_journal()),
            state=state,
        )
        stack.callback(replay.bus.close)
        replay.read(folder, here.attempt)
        for source, text in warnings:
            replay.warn(source, text)
        replay.finish(time.time(), NO_WAVE_LEFT)
        replay.bus.close(*delivering(shown))
        history.record(state, reports.context)
        for text in history.untold(state):
            replay.warn("history", text)
        comparison = reports.past(state).comparison
        result_files.write(state, reports.of(state), run, head_share(spec.config), comparison)
        history_travel.keep(folder.started.title, spec.runs_folder, run, settings.environ)
        github_output.tell(state, reports, run, [], here)
        target = DispatchTarget(repository=here.repository, workflow=here.environ.get("GITHUB_WORKFLOW", ""), ref="")
        github_output.comment(spec.config, settings.environ, state, reports, target)
    return exit_code(spec.config, state)


# -- what the three share ---------------------------------------------------------------------------------------------


def _read(settings: Settings, plan: str, artifacts: Path) -> tuple[Folder, RunSpec]:
    """Raises UsageError without a plan's id, UnreadableReport without the plan itself."""
    if not plan:
        raise UsageError(
            "no plan was made", why="the input `plan` is empty", hint="see why in the job that runs `command: plan`"
        )
    if not _ID.fullmatch(plan):
        raise UsageError(f"{plan!r} is no plan", hint="pass the output `plan` of the job that runs `command: plan`")
    folder = planned_wave.read(artifacts, plan)
    planned = {machine.name for machine in folder.started.machines}  # `machines` may have been given to `plan` alone
    machines = tuple(machine for machine in settings.config.fleet if machine.name in planned)
    config = replace(settings.config, machines=machines)
    spec = RunSpec(root=settings.root, config=config, arguments=folder.first.extra)
    speeds = {machine.name: machine.speed for machine in folder.started.machines}
    starts = {machine.name: machine.start_up for machine in folder.started.machines if machine.start_up is not None}
    workers = {machine.name: machine.workers for machine in folder.started.machines if machine.tune_workers}
    return folder, spec.with_machines(folder.first.workers, speeds, starts, workers)


def _so_far(settings: Settings, plan: str, artifacts: Path) -> tuple[Folder, RunSpec, Replay]:
    folder, spec = _read(settings, plan, artifacts)
    replay = _replay(folder.first, spec, settings)
    replay.read(folder, ActionsEnvironment(settings.environ).attempt)
    return folder, spec, replay


def _replay(first: PlannedWave, spec: RunSpec, settings: Settings) -> Replay:
    return Replay(first, policy=run_policy(spec), classify=result_files.classifier(spec.config, settings.root))


def _hand_over(wave: PlannedWave, output: Path, policy: ActionsPolicy, here: ActionsEnvironment) -> None:
    """The plan as a file for its artifact, and the outputs of the step."""
    matrix = planned_wave.matrix_of(wave, timeout_minutes=policy.timeout_minutes)
    file = planned_wave.write(output, wave)
    here.set_outputs(
        {
            "matrix": json.dumps(matrix, ensure_ascii=False, separators=(",", ":")),
            "plan": str(wave.id),
            "owed": "true" if wave.jobs else "false",
            "report-path": str(file.resolve()),
            "artifact-name": planned_wave.artifact_name(wave),
        }
    )


def _ask(spec: RunSpec, settings: Settings) -> tuple[MachineChecked, ...]:
    """How the machines are, all asked at once; nothing where they are not to be asked."""
    config = spec.config
    if config.health.skip:
        say("note: the machines are not asked how they are: a job for a dead one waits.", err=True)
        return ()
    answers: dict[MachineName, MachineChecked] = {}
    repository = ActionsEnvironment(settings.environ).repository
    with ExitStack() as stack:
        machines = open_machines(config, through_github=True)
        see = github_output.runner_sight(config, settings.environ, repository, stack)

        def ask(machine: Machine) -> None:
            with closing(machine):
                answers[machine.spec.name] = see(machine.check(config.health.connect_timeout), machine.spec)

        threads = [threading.Thread(target=ask, args=(machine,), daemon=True) for machine in machines.values()]
        for thread in threads:
            thread.start()
        until = time.monotonic() + config.health.connect_timeout + CHECK_SLACK
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
    silent = [
        MachineChecked(machine=name, healthy=False, reachable=False, problems=("the health check gave no answer",))
        for name in machines
        if name not in answers
    ]
    return (*answers.values(), *silent)


def _sick(state: RunState) -> str:
    sick = [f"{m.spec.name}: {m.why_unusable}" for m in state.machines.values() if m.why_unusable]
    return "; ".join(sick) or "no machine is configured"


def _say_left_out(state: RunState) -> None:
    if any(machine.why_unusable for machine in state.machines.values()):
        say(f"Left out: {terminal_name(_sick(state))}", err=True)
