"""The worker's side: one shard on this machine, through the same executor and suite as a run over SSH."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from ci_dispatch.app.github_target import checked_out
from ci_dispatch.app.machines import health_policy, job_environment
from ci_dispatch.app.say import say
from ci_dispatch.app.settings import Settings, cores_here
from ci_dispatch.app.signals import signals
from ci_dispatch.app.uploaded import earlier_attempts
from ci_dispatch.core.codec import replace
from ci_dispatch.core.errors import ExitCode, UsageError, worst
from ci_dispatch.core.job_environment import JobEnvironment
from ci_dispatch.core.model import (
    ANY_MACHINE,
    AttemptResult,
    Connection,
    Ended,
    FailureCause,
    Lease,
    LeaseNumber,
    MachineName,
    MachineSpec,
    RunId,
    Shard,
    ShardId,
    ShardKind,
    Test,
    TestId,
    Verdict,
)
from ci_dispatch.fleets.actions import shard_report
from ci_dispatch.fleets.actions.environment import ActionsEnvironment, StoppedCommands
from ci_dispatch.fleets.actions.run.batches import DispatchPlan, WorkerJob, job_of, unpack
from ci_dispatch.fleets.actions.waves import planned_wave
from ci_dispatch.fleets.machines.executor import MachineExecutor
from ci_dispatch.fleets.machines.fleet import CancelJob, StartJob
from ci_dispatch.machines import open_machine
from ci_dispatch.run import messages as m
from ci_dispatch.run.loop import Inbox, SystemClock
from ci_dispatch.run.ports import WorkTree
from ci_dispatch.run.worker_threads import WorkerThreads
from ci_dispatch.suites import open_suite
from report_merge.render.escape import terminal

CANCEL_SECONDS = 6.0  # for the reports after a signal: the runner kills us at ten


def run(
    settings: Settings, *, entry: str, plan: str, dispatch_id: str, output: Path, artifacts: Path | None = None
) -> ExitCode:
    """Run the shard and leave its report in `output`; the exit code is the job's.

    Inside one workflow run there is no dispatch: `plan` is its id, and it lies in `artifacts` with earlier reports.
    """
    here, job = ActionsEnvironment(settings.environ), job_of(entry)
    if artifacts is not None:
        sent, earlier = _downloaded(artifacts, plan, job.shard)
        plan, dispatch_id = "", plan
    else:
        sent, earlier = unpack(plan), []
    tests = sent.tests.get(job.shard)
    if not tests:
        raise UsageError(
            f"Shard {job.shard} was not run",
            why="the plan of this dispatch does not know it",
            hint="pass the workflow's own inputs `plan` and `dispatch_id` to the action, unchanged",
        )
    folder = output.resolve() / str(here.attempt)
    spec = _spec(settings, job, here, folder.parent)
    begun, commit = time.time(), checked_out(settings.root)
    right = commit == job.commit or not job.commit
    if artifacts is None and right and here.attempt > 1:
        earlier = earlier_attempts(settings, here, dispatch_id, job.shard)
    todo = left_to_do(tests, earlier)
    hopeless = earlier and earlier[-1].cause in (FailureCause.LOAD, FailureCause.USAGE)
    if not right:  # without git on a machine its checkout cannot be told: another may have it
        cause = FailureCause.USAGE if commit else FailureCause.SETUP
        why = shard_report.other_commit(commit, job.commit)
        result = AttemptResult(ended=Ended.NOT_STARTED, cause=cause, reason=why)
    elif hopeless:
        why = earlier[-1].reason or earlier[-1].cause
        say(terminal(f"Not run again: {why}, and no retry helps that."), err=True)
        result = earlier[-1]
    elif not todo:
        result = AttemptResult(ended=Ended.EXITED, exit_code=0, reason="everything had passed before")
    else:
        try:
            environment = job_environment(settings.config, settings.environ)
        except UsageError as error:
            result = AttemptResult(ended=Ended.NOT_STARTED, cause=FailureCause.USAGE, reason=str(error))
        else:
            prepare = settings.config.suite.prepare if artifacts is not None else ""  # else a step of the worker's own
            result = _execute(settings, job, sent, spec, environment, todo, folder.parent, here, dispatch_id, prepare)
    told = shard_report.ShardReport(
        dispatch=dispatch_id,
        shard=job.shard,
        attempt=here.attempt,
        machine=spec.name,
        result=result,
        plan=plan,
        commit=commit,
        started=begun,
        ended=time.time(),
    )
    folder.mkdir(parents=True, exist_ok=True)
    shard_report.write(folder, told)
    shard_report.make_uploadable(folder)
    name = shard_report.artifact_name(dispatch_id, job.shard, here.attempt)
    code = exit_code(result)
    words = {True: "passed", False: "failed"}
    here.set_outputs({"report-path": str(folder), "artifact-name": name, "verdict": words[code == ExitCode.PASSED],
                      "exit-code": str(int(code)), **_counts(result)})  # fmt: skip
    say(terminal(f"Shard {job.shard} on {spec.name}, attempt {here.attempt}: {_words(result)}"), err=True)
    return code


def _downloaded(artifacts: Path, plan: str, shard: ShardId) -> tuple[DispatchPlan, list[AttemptResult]]:
    """The shard's part of the plan, and what every shard of every wave has said about its tests, oldest first."""
    folder = planned_wave.read(artifacts, plan)
    tests = folder.tests_of(shard)
    ids = {test.id for test in tests}
    told = [
        replace(
            report.result,
            cause=report.result.cause if report.shard == shard else FailureCause.NONE,
            results=tuple(line for line in report.result.results if line.test in ids),
        )
        for report in folder.reports
    ]
    return DispatchPlan(tests={shard: tests}, extra=folder.first.extra), [each for each in told if each.results]


def left_to_do(tests: tuple[Test, ...], earlier: list[AttemptResult]) -> tuple[Test, ...]:
    """What failed or never ran in the earlier attempts; whole units where the runner repeats them whole."""
    fine: dict[TestId, bool] = {}
    for attempt in earlier:
        for line in attempt.results:
            fine[line.test] = line.verdict in (Verdict.PASSED, Verdict.FLAKY, Verdict.SKIPPED)
    again = {test.unit for test in tests if test.atomic and not fine.get(test.id)}
    return tuple(test for test in tests if not fine.get(test.id) or test.unit in again)


def exit_code(result: AttemptResult) -> ExitCode:
    """The worker job's: a test that did not run is never green."""
    if result.ended is Ended.CANCELLED:
        return ExitCode.TERMINATED
    verdicts = {line.verdict for line in (*result.results, *(other.result for other in result.unlisted))}
    codes = [ExitCode.PASSED]
    if Verdict.FAILED in verdicts:
        codes.append(ExitCode.TESTS_FAILED)
    if Verdict.NOT_RUN in verdicts or result.ended is not Ended.EXITED or result.cause:
        codes.append(ExitCode.INCOMPLETE)
    return worst(codes)


def _execute(
    settings: Settings,
    job: WorkerJob,
    sent: DispatchPlan,
    spec: MachineSpec,
    environment: JobEnvironment,
    tests: tuple[Test, ...],
    folder: Path,
    here: ActionsEnvironment,
    dispatch_id: str,
    prepare: str,
) -> AttemptResult:
    config, inbox, clock = settings.config, Inbox(), SystemClock()
    suite = open_suite(config.suite, settings.root, sent.extra)
    lease = Lease(
        number=LeaseNumber(here.attempt),
        shard=Shard(id=job.shard, kind=ShardKind.HEAD, tests=tuple(test.id for test in tests)),
        machine=spec.name,
        granted=clock.now(),
    )
    with closing(open_machine(spec, health_policy(config, suite.tools()), environment)) as machine:
        executor = MachineExecutor(
            run=RunId(f"{dispatch_id}-{job.shard}"),
            machines={spec.name: machine},
            suite=suite,
            tree=WorkTree(root=settings.root, exclude=(config.run.folder, *config.suite.exclude)),
            folder=folder,
            threads=WorkerThreads(inbox.post, clock),
            lease_seconds=config.run.lease,
            shard_timeout=config.run.shard_timeout,
            sync_timeout=config.run.sync_timeout,
            prepare=prepare,
            prepare_here=True,
            extra=sent.extra,
        )
        with signals(inbox.post), StoppedCommands(sys.stdout, on_github=here.on_github) as log:
            executor.carry_out(StartJob(lease, tests, spec.workers_per_shard))
            try:
                return _wait(executor, inbox, lease, log, clock)
            finally:
                executor.close()


def _wait(
    executor: MachineExecutor, inbox: Inbox, lease: Lease, log: StoppedCommands, clock: SystemClock
) -> AttemptResult:
    """Follow the job to its end, showing what it says; a signal ends it gently, then by force."""
    until = float("inf")
    while True:
        match inbox.take(0.25):
            case m.Output(text=text):
                log.write(text)
            case m.LeaseEnded(result=result):
                return result
            case m.Noticed(source=source, text=text):
                say(terminal(f"warning: {source}: {text}"), err=True)
            case m.Signalled():
                until = min(until, clock.now() + CANCEL_SECONDS)
                executor.carry_out(CancelJob(lease.number, lease.machine))
            case _:
                pass
        if clock.now() >= until:
            executor.carry_out(CancelJob(lease.number, lease.machine, now=True))
            until = clock.now() + 1.0


def _spec(settings: Settings, job: WorkerJob, here: ActionsEnvironment, output: Path) -> MachineSpec:
    """This machine, as the configuration describes it when the plan names it.

    Its files are this job's alone: several runner services on one machine must not clear away each other's.
    """
    named = job.machine if job.machine != ANY_MACHINE else here.environ.get("RUNNER_NAME", "this machine")
    known = next((spec for spec in settings.config.machines if spec.name == named), None)
    spec = known or MachineSpec(name=MachineName(named))
    private = _temporary(here.environ, output) / "ci-dispatch-jobs"
    workers = job.workers or spec.workers
    return replace(spec, connection=Connection.LOCAL, cores=cores_here(), workers=workers, workdir=str(private))


def _temporary(environ: Mapping[str, str], output: Path) -> Path:
    """The runner's folder, unless it is another user's: a job in a container is root in a folder of its host's user."""
    folder = Path(environ.get("RUNNER_TEMP") or output)
    ours = not folder.exists() or folder.stat().st_uid == os.getuid()
    return folder if ours else Path(tempfile.gettempdir()) / f"ci-dispatch-{os.getuid()}"


def _counts(result: AttemptResult) -> dict[str, str]:
    verdicts = [line.verdict for line in result.results]
    names = {"passed": Verdict.PASSED, "failed": Verdict.FAILED, "flaky": Verdict.FLAKY, "skipped": Verdict.SKIPPED,
             "not-run": Verdict.NOT_RUN}  # fmt: skip
    return {"tests": str(len(verdicts))} | {name: str(verdicts.count(verdict)) for name, verdict in names.items()}


def _words(result: AttemptResult) -> str:
    counted = {name: count for name, count in _counts(result).items() if name != "tests" and count != "0"}
    said = ", ".join(f"{count} {name.replace('-', ' ')}" for name, count in counted.items()) or "nothing to run"
    return f"{said} ({result.reason})" if result.reason else said
