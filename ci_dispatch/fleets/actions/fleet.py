"""GitHub Actions as a fleet: shards are jobs of dispatched workflow runs, polled, run again, and read back. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from ci_dispatch.core.codec import replace
from ci_dispatch.core.errors import GitHubRefused
from ci_dispatch.core.model import (
    ANY_MACHINE,
    AttemptResult,
    Ended,
    FailureCause,
    Lease,
    LeaseNumber,
    MachineName,
    Shard,
    ShardId,
    ShardKind,
    TestId,
)
from ci_dispatch.fleets.actions import messages as g
from ci_dispatch.fleets.actions.rest.errors import RateLimited, RequestRefused, Unavailable
from ci_dispatch.fleets.actions.run.batches import Batch
from ci_dispatch.fleets.actions.run.dispatch_planner import ActionsPolicy, DispatchPlanner
from ci_dispatch.fleets.actions.run.dispatch_state import EarlierAttempt, narrow, saved, unsent
from ci_dispatch.fleets.actions.run.matrix import MatrixJob
from ci_dispatch.fleets.actions.run.polling import Polling
from ci_dispatch.fleets.actions.run.queue_waits import Wait
from ci_dispatch.fleets.actions.run.rerun import Remedy
from ci_dispatch.fleets.actions.run.workflow_run import Finding, JobEnded, JobStarted, NotTaken, ShardJob, WorkflowRun
from ci_dispatch.fleets.actions.runners import UNREACHABLE_CHECKS, Runners
from ci_dispatch.run import messages as m
from ci_dispatch.run.ledger import TestRecord
from ci_dispatch.run.state import MachineState, RunState

RERUN_AGAIN = 30.0  # seconds, while GitHub still calls the run running
RERUN_PATIENCE = 900.0  # a dead runner's job looks alive for almost ten minutes
DEAD_RUN = 600.0  # seconds after which a gentle cancel of a run with dead jobs is of no use

Items = Iterator[m.Message | m.Command]


class ActionsFleet:
    """The fleet behind one repository's worker workflow (`ports.Fleet`)."""

    def __init__(
        self,
        state: RunState,
        machines: Collection[MachineName],
        policy: ActionsPolicy,
        *,
        restored: Sequence[WorkflowRun] = (),
        earlier: Sequence[EarlierAttempt] = (),
    ) -> None:
        """`restored` and `earlier` are of a run that an earlier controller dispatched."""
        self.machines, self.lingers = frozenset(machines), DEAD_RUN  # a runner that is cut off ends its job by then
        self.runs: list[WorkflowRun] = list(restored)
        self._state, self._ledger, self._policy = state, state.ledger, policy
        self._planner = DispatchPlanner(state, policy, dispatches=len(self.runs), lingers=self.lingers)
        self._polling = Polling(policy.poll_interval, policy.patience)
        self._earlier = earlier
        self._runners = Runners(state, self.machines, policy.queue_timeout)
        self._cancelling = False
        self._refusal: GitHubRefused | None = None  # of a dispatch: nothing more is sent
        self._changed = False  # something the next controller must know

    # -- ports.Fleet ------------------------------------------------------------------------------------------------

    def begin(self, now: float) -> Items:
        active = [number for number, lease in self._ledger.active.items() if lease.machine in self.machines]
        for number in unsent(self.runs, active):
            why = "the controller was killed before it dispatched this"
            yield m.LeaseEnded(number, AttemptResult(ended=Ended.CANCELLED, reason=why))
        if self._earlier:
            yield from self._tell_again(now)

    def hear(self, message: m.Message, now: float) -> Items:
        match message:
            case m.Checked(event=event) if event.machine in self.machines:
                yield from self._checked(event.machine, now, reachable=event.reachable)
            case g.Dispatched() | g.DispatchFailed() | g.RunFound() | g.ReportDownloaded():
                for run in [run for run in self.runs if run.batch.id == message.batch]:
                    yield from self._of_batch(run, message, now)
            case g.Polled() | g.PollFailed() | g.DownloadDone() | g.RerunResult() | g.CancelResult():
                for run in [run for run in self.runs if run.id == message.run]:
                    yield from self._of_run(run, message, now)
            case g.RunnersSeen(busy=busy):
                self._runners.saw(busy, now)
            case _:
                return
        if self._changed:
            yield self._save()

    def advance(self, now: float) -> Items:
        if self._refusal is not None and not self.held() and self._ledger.undecided:
            yield m.FleetRefused(self._refusal)
        needless = self._cancelling or self._ledger.undecided == 0
        for run in self.runs:
            if run.id is None and not run.over and not self._polling.quiet(now):
                run.over = run.settled and run.dispatch.unsent  # its tests have gone elsewhere
                command = run.dispatch.next(run.batch, now, send=not (needless or run.over))
                if command is not None:
                    yield command
        if self._ledger.undecided:
            yield from self._polling.commands(self.runs, now)
        for run in self.runs:
            if run.id is not None and run.still_runs and (needless or run.over):
                cancel = run.cancel.next(run.id, now, force=run.over and now - run.sent_at > DEAD_RUN)
                if cancel is not None:
                    yield cancel

    def hand_out(self, ready: Callable[[], Sequence[TestRecord]], usable: Sequence[MachineState], now: float) -> Items:
        """Everything nobody has: the whole plan at first, later what came back; and re-runs that are due."""
        mine = [machine.spec for machine in usable if machine.spec.name in self.machines]
        records = self._planner.share(ready(), mine, [machine.spec for machine in usable], now)
        if records and mine and self._refusal is None:
            first = not self.runs and not any(record.isolate or record.avoid_machine for record in records)
            silent = self._runners.silent
            yield from self._dispatch(self._planner.batches(records, mine, first=first, silent=silent, now=now), now)
        for run in self.runs:
            command = self._remedy(run, now)
            if command is not None:
                yield command

    def held(self) -> Collection[TestId]:
        """On their way to a runner, or waiting for a re-run of their job."""
        return {test for run in self.runs for test in run.expected}

    def cancel(self, now: float, *, force: bool) -> Iterator[m.Command]:
        self._cancelling = True
        for run in self.runs:
            run.over = run.over or force or not (run.id or run.dispatch.sent)  # the last: it was never sent
            if run.id is not None and run.still_runs:
                command = run.cancel.next(run.id, now, force=False)
                if command is not None:
                    yield command

    def ending(self) -> bool:
        return any(
            run.cancel.pending if run.id is not None else run.dispatch.in_flight or (run.dispatch.sent and not run.over)
            for run in self.runs
        )

    # -- dispatching ------------------------------------------------------------------------------------------------

    def _dispatch(self, batches: Iterable[Batch], now: float) -> Items:
        new = [WorkflowRun.of(batch, now) for batch in batches]
        self.runs += new
        for run in new:
            for job in run.jobs.values():
                yield from self._hand_out(job, now)
        yield self._save()  # before it is sent
        for run in new:
            command = run.dispatch.next(run.batch, now)
            if command is not None:
                yield command

    def _of_batch(
        self, run: WorkflowRun, message: g.Dispatched | g.DispatchFailed | g.RunFound | g.ReportDownloaded, now: float
    ) -> Items:
        match message:
            case g.Dispatched(run=int(number)) | g.RunFound(run=int(number)):
                run.dispatch.in_flight = False
                run.id, self._changed = number, True
                self._polling.began(run, now)
            case g.Dispatched():
                run.dispatch.in_flight = False
                run.dispatch.search(now)
            case g.DispatchFailed(error=error):
                too_long = isinstance(error, RateLimited) and self._polling.limited(self.runs, error, now)
                if run.dispatch.failed(error, now) or too_long:
                    yield from self._give_up_dispatch(run, error, now)
            case g.RunFound(error=error):
                if run.dispatch.not_found(error, now):
                    yield from self._give_up_dispatch(run, run.dispatch.reason, now)
            case g.ReportDownloaded(shard=shard, attempt=attempt, result=result):
                job = run.jobs.get(shard)
                if job is not None and attempt == run.attempt and not job.settled:
                    if result.ended is Ended.CANCELLED and run.asks_who_cancelled:
                        return  # what it means is not known yet; it is downloaded again when it is
                    if result.ended is Ended.CANCELLED and not run.cancel.wanted:  # its runner was, not the run
                        result = replace(result, ended=Ended.LOST, cause=FailureCause.MACHINE)
                    yield from self._end(job, result, now)

    def _give_up_dispatch(self, run: WorkflowRun, error: GitHubRefused, now: float) -> Items:
        run.over = True
        why = f"it could not be dispatched: {error.why or error.what}"
        for job in run.jobs.values():
            yield from self._end(job, AttemptResult(ended=Ended.CANCELLED, reason=why), now)
        self._refusal = error
        if self.held():  # what runs there is none the worse for it
            yield m.Noticed("github", f"{error}; nothing more is sent, and what runs is waited for")

    # -- what GitHub tells ------------------------------------------------------------------------------------------

    def _of_run(
        self,
        run: WorkflowRun,
        message: g.Polled | g.PollFailed | g.DownloadDone | g.RerunResult | g.CancelResult,
        now: float,
    ) -> Items:
        match message:
            case g.Polled():
                yield from self._act_on(run, run.see(message, now, shard_timeout=self._policy.shard_timeout), now)
                limits = {"queue_timeout": self._policy.queue_timeout, "shard_timeout": self._policy.shard_timeout}
                yield from self._act_on(run, run.overdue(now, self._runners.idle_since(self.runs, now), **limits), now)
                self._polling.polled(self.runs, run, message, now)
            case g.PollFailed(error=error):
                if self._polling.failed(self.runs, run, error, now):
                    yield m.FleetRefused(error)
            case g.DownloadDone(error=None, annotations=annotations):
                run.annotations.update(annotations)
                yield from self._act_on(run, run.not_downloaded(), now)
                yield from self._follow_others(run, now)
                self._polling.downloaded(run, now)
            case g.DownloadDone(error=GitHubRefused() as error):
                run.downloading = False
                if self._polling.failed(self.runs, run, error, now):
                    yield m.FleetRefused(error)
                run.download_due = run.poll_due
            case g.RerunResult(error=error):
                yield from self._rerun_answered(run, error, now)
            case g.CancelResult(error=error):
                run.cancel.answered(error, now)
                if error is not None:
                    yield m.Noticed("github", str(error))

    def _act_on(self, run: WorkflowRun, findings: Iterable[Finding], now: float) -> Items:
        for finding in findings:
            match finding:
                case JobStarted(shard=shard, runner=runner):
                    job = run.jobs[shard]
                    if job.lease is None:
                        yield from self._grant(job, self._runners.named(runner), now)
                    assert job.lease is not None
                    yield m.Started(job.lease)
                    self._runners.silent.discard(self._runners.machine_of(job))
                case NotTaken(shard=shard, seconds=seconds):
                    yield from self._not_taken(run.jobs[shard], seconds, now)
                case JobEnded(shard=shard, result=result):
                    if not run.jobs[shard].settled:
                        yield from self._end_with_its_machine(run.jobs[shard], result, now)
                case m.CancelledExternally():
                    yield finding

    def _not_taken(self, job: ShardJob, seconds: float, now: float) -> Items:
        """Its tests go where a runner may take them sooner, charged to nobody, and never to the same labels again."""
        machine, labels = self._runners.machine_of(job), ", ".join(job.job.labels)
        why = f"no runner with the labels {labels} took it within {seconds:.0f} s"
        match self._runners.wait(job, seconds, self.runs, now):
            case Wait.MOVE:
                yield from self._end_with_its_machine(job, AttemptResult(ended=Ended.NOT_STARTED, reason=why), now)
            case Wait.SEE:
                yield g.SeeRunners(frozenset(run.id for run in self.runs if run.id is not None))
            case Wait.GIVE_UP:  # another dispatch would wait in the same queue
                hint = f"{why}: does the runner service there run, and has it these labels?"
                result = AttemptResult(ended=Ended.NOT_STARTED, cause=FailureCause.USAGE, reason=hint)
                self._runners.silent.add(machine)
                yield from self._end(job, result, now)
            case Wait.GO_ON:
                yield m.Noticed("github", f"{why}, and no other machine would take it sooner: it is waited for")
            case _:
                pass

    def _end_with_its_machine(self, job: ShardJob, result: AttemptResult, now: float) -> Items:
        """A machine without another running shard of ours, that has just lost one, is lost."""
        machine = self._runners.machine_of(job)
        if result.ended in (Ended.LOST, Ended.NOT_STARTED) and result.cause is not FailureCause.USAGE:
            self._runners.silent.add(machine)
        others = (j for j in self._open_jobs() if j is not job and self._runners.machine_of(j) == machine)
        lost = result.ended is Ended.LOST and not any(other.started is not None for other in others)
        yield from self._end(job, result, now, machine_lost=lost)
        if lost and machine != ANY_MACHINE:
            yield from self._end_all_on(machine, result.reason, now)

    # -- machines ---------------------------------------------------------------------------------------------------

    def _checked(self, name: MachineName, now: float, *, reachable: bool) -> Items:
        """A machine that answers no more is lost, though GitHub shows its jobs alive for ten minutes more."""
        if self._runners.gone(name, reachable=reachable):
            reason = f"it did not answer {UNREACHABLE_CHECKS} health checks in a row"
            yield m.Unreachable(name, reason)
            yield from self._end_all_on(name, reason, now)

    def _end_all_on(self, name: MachineName, reason: str, now: float) -> Items:
        """Its shards go elsewhere at once."""
        for job in [job for job in self._open_jobs() if self._runners.machine_of(job) == name and job.outcome.open]:
            ended = Ended.LOST if job.started is not None else Ended.NOT_STARTED
            why = f"{name} is lost: {reason}"
            yield from self._end(job, AttemptResult(ended=ended, cause=FailureCause.MACHINE, reason=why), now)

    # -- leases -----------------------------------------------------------------------------------------------------

    def _hand_out(self, job: ShardJob, now: float) -> Items:
        """A pinned shard is leased when it is dispatched, a pooled one when somebody takes it."""
        if job.job.machine != ANY_MACHINE:
            yield from self._grant(job, job.job.machine, now)

    def _grant(self, job: ShardJob, machine: MachineName, now: float) -> Items:
        job.lease, self._changed = LeaseNumber(self._ledger.last_lease + 1), True
        yield m.Granted(
            Lease(number=job.lease, shard=job.job.shard, machine=machine, granted=now, epoch=self._state.epoch)
        )

    def _end(self, job: ShardJob, result: AttemptResult, now: float, *, machine_lost: bool = False) -> Items:
        """The end of an attempt. What a re-run of its job may repeat is owed by it; the rest is free again."""
        if job.lease is None:
            yield from self._grant(job, ANY_MACHINE, now)
        assert job.lease is not None
        job.settled = True
        active = job.lease in self._ledger.active
        yield m.LeaseEnded(job.lease, result, machine_lost)
        if active:
            records = [self._ledger.records[test] for test in job.job.shard.tests]
            job.owed = {r.test.id for r in records if r.verdict is None and r.avoid_machine is None and not r.isolate}

    def _tell_again(self, now: float) -> Items:
        """Tell the ledger what earlier attempts of an adopted run said, oldest first."""
        for told in self._earlier:
            tests = tuple(test for test in told.tests if self._ledger.records[test].verdict is None)
            if tests:
                shard = Shard(id=told.shard, kind=ShardKind.HEAD, tests=tests)
                past = ShardJob(MatrixJob(shard=shard, machine=ANY_MACHINE, labels=()), now)
                yield from self._end(past, told.result, now)
        for run in self.runs:
            narrow(run, self._ledger)

    # -- again ------------------------------------------------------------------------------------------------------

    def _remedy(self, run: WorkflowRun, now: float) -> g.RerunFailedJobs | None:
        """For a run whose jobs have all been settled: run again, or let the tests go into a new dispatch."""
        if run.over or run.rerunning or run.id is None or not run.settled:
            return None
        if run.remedy(now, self._runners.usable) is not Remedy.RERUN:
            self._let_go(run)
            return None
        if run.rerun_due is None:
            owed = (test for job in run.jobs.values() for test in job.owed)
            run.rerun_due = max(self._ledger.records[test].not_before for test in owed)
        if now < run.rerun_due or self._polling.quiet(now):
            return None
        run.rerunning = True
        return g.RerunFailedJobs(run.id, run.attempt)

    def _rerun_answered(self, run: WorkflowRun, error: GitHubRefused | None, now: float) -> Items:
        run.rerunning = False
        if error is None:
            yield from self._next_attempt(run, now)
            return
        run.refused_since = now if run.refused_since is None else run.refused_since
        waits = isinstance(error, RateLimited | Unavailable) or (
            isinstance(error, RequestRefused) and error.status == 403 and "running" in str(error)
        )
        if waits and now - run.refused_since < RERUN_PATIENCE:
            run.rerun_due = now + (error.seconds if isinstance(error, RateLimited) else RERUN_AGAIN)
            return
        self._let_go(run)
        yield m.Noticed("github", f"{error}; their tests are dispatched anew")

    def _next_attempt(self, run: WorkflowRun, now: float) -> Items:
        """The run's next attempt begins: its failed jobs anew, each for the tests it owes."""
        owed = {shard: job.owed for shard, job in run.jobs.items() if not job.passed}
        yield from self._begin_attempt(run, run.attempt + 1, owed, now)

    def _follow_others(self, run: WorkflowRun, now: float) -> Items:
        """Once the attempt before has told all it will: follow the one that somebody else began."""
        if not run.later or not run.settled:
            return
        yield m.Noticed("github", f"somebody has run {run.id} again: its attempt {run.later} is followed")
        elsewhere = {test for other in self.runs if other is not run for test in other.expected}
        open_tests = {test for test, record in self._ledger.records.items() if record.verdict is None} - elsewhere
        left = {shard: open_tests & set(job.job.shard.tests) for shard, job in run.jobs.items()}
        yield from self._begin_attempt(run, run.later, {shard: tests for shard, tests in left.items() if tests}, now)

    def _begin_attempt(self, run: WorkflowRun, number: int, shards: Mapping[ShardId, set[TestId]], now: float) -> Items:
        run.attempt, run.later, run.conclusion, self._changed = number, 0, "", True
        run.rerun_due = run.refused_since = None
        self._polling.began(run, now)
        for shard, owed in shards.items():
            job = run.jobs[shard].job
            tests = tuple(test for test in job.shard.tests if test in owed)
            run.jobs[shard] = ShardJob(replace(job, shard=replace(job.shard, tests=tests, kind=ShardKind.RETRY)), now)
            yield from self._hand_out(run.jobs[shard], now)

    @staticmethod
    def _let_go(run: WorkflowRun) -> None:
        run.over = True
        for job in run.jobs.values():
            job.owed = set()

    # -- small questions --------------------------------------------------------------------------------------------

    def _save(self) -> g.SaveDispatches:
        self._changed = False
        return g.SaveDispatches(tuple(saved(run) for run in self.runs))

    def _open_jobs(self) -> list[ShardJob]:
        return [job for run in self.runs for job in run.open_jobs]
