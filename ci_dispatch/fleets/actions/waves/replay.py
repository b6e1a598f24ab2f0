"""A run whose parts never meet, put together again: plans and reports in, one ledger out. Pure.

A matrix cannot change while it runs, so what is owed goes into a later one, and each job that plans or merges begins
from nothing. It replays all plans and reports through the same control as every other run: the same retries,
quarantine, verdicts and exit code. What is missing was lost with its runner.

The rounds of a workflow run are the waves of its attempts, in order. A person who runs the failed jobs again gives
every test that has failed, or has not run, another chance: a verdict of an earlier attempt against a test stands only
when nobody ran it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from random import Random

from ci_dispatch.config.choices import Strategy
from ci_dispatch.core.codec import replace
from ci_dispatch.core.events import Event, MachineChecked, RetryScheduled, VerdictReached, Warned
from ci_dispatch.core.model import (
    ANY_MACHINE,
    AttemptResult,
    Charge,
    Ended,
    FailureCause,
    Lease,
    LeaseNumber,
    MachineName,
    MachineSpec,
    ShardId,
    ShardKind,
    TestId,
    Verdict,
)
from ci_dispatch.fleets.actions.rest.models import runner_is
from ci_dispatch.fleets.actions.run.dispatch_planner import ActionsPolicy, DispatchPlanner
from ci_dispatch.fleets.actions.run.matrix import MatrixJob
from ci_dispatch.fleets.actions.shard_report import ShardReport, other_commit
from ci_dispatch.fleets.actions.waves.fleet import WavesFleet
from ci_dispatch.fleets.actions.waves.planned_wave import Folder, PlannedWave
from ci_dispatch.run import messages as m
from ci_dispatch.run.control import RunControl, RunPolicy
from ci_dispatch.run.event_bus import EventBus
from ci_dispatch.run.journal import Journal
from ci_dispatch.run.placement import Placement
from ci_dispatch.run.ports import Reporter
from ci_dispatch.run.settle import Classify
from ci_dispatch.run.state import RunState

SHOWN_LOST = 3  # shards without a report that a reason names


class _Clock:
    """The time of what is replayed; never runs backwards, whatever the machines' clocks say."""

    def __init__(self, at: float) -> None:
        self._at = at

    def now(self) -> float:
        return self._at

    def set(self, at: float) -> None:
        self._at = max(self._at, at)


class Replay:
    """One run, from its plan to the wave that is being decided now."""

    def __init__(
        self,
        first: PlannedWave,
        *,
        policy: RunPolicy,
        classify: Classify,
        reporters: Sequence[Reporter] = (),
        journal: Journal | None = None,
        state: RunState | None = None,
    ) -> None:
        """Begin with `first`, which has what the run began with.

        Of `policy` only what decides about tests counts: nobody waits, and no machine is asked from here.
        """
        assert first.started is not None
        self.state = state or RunState()
        self.lost: list[ShardId] = []  # shards of the last round that left no report
        self._first = first
        self._clock = _Clock(first.at)
        self.bus = EventBus(self.state, self._clock, reporters, journal)
        self._chance = False  # whether a later attempt gives tests another one
        with self.bus.step():
            self.bus.publish(first.started)
        machines = [spec.name for spec in first.started.machines]
        retry = replace(policy.retry, backoff=0.0, max_backoff=0.0, max_retries=first.started.max_retries)
        self._fleet = WavesFleet(self.state.ledger, machines)
        self._control = RunControl(
            self.state,
            self._publish,
            fleets=[self._fleet],
            policy=replace(policy, retry=retry, checks=False, check_first=False, deadline=0.0),
            classify=classify,
            random=Random(0),  # there is no backoff to vary
        )
        with self.bus.step():
            self._control.begin(first.at)

    @property
    def owed(self) -> tuple[TestId, ...]:
        """Tests without a verdict."""
        return tuple(self.state.ledger.pending)

    def read(self, folder: Folder, attempt: int) -> None:
        """Everything that has been planned and reported, up to this attempt of the workflow run."""
        for text in folder.unreadable:
            self.warn("artifacts", f"not readable: {text}")
        waves = sorted({wave.wave for wave in folder.waves})
        attempts = {attempt, *(plan.attempt for plan in folder.waves), *(told.attempt for told in folder.reports)}
        for number, wave in product(sorted(n for n in attempts if self._first.attempt <= n <= attempt), waves):
            if self._control.finished:
                return
            self._chance = number < attempt
            self._round(folder, number, wave)

    def checked(self, wave: PlannedWave) -> None:
        """How the machines were when `wave` was planned."""
        for event in wave.checked:
            self._tell([m.Checked(event)], wave.at)

    def plan(
        self, wave: PlannedWave, machines: Sequence[MachineSpec], policy: ActionsPolicy
    ) -> tuple[PlannedWave, Sequence[MachineSpec]]:
        """`wave` with jobs for all that is owed, and the machines that may get some; without any there are no jobs.

        A shard's id holds wave and attempt, so that no other one of the whole run has it.
        """
        self.checked(wave)
        usable = [spec for spec in machines if self.state.machines[spec.name].usable]
        owed = [self.state.ledger.records[test] for test in self.owed]
        records = Placement(self.state, {}).startable(owed, (), wave.at)
        if not records or not usable:
            return wave, usable
        if ANY_MACHINE not in self.state.machines:  # the run began with each machine its part
            policy = replace(policy, strategy=Strategy.PINNED)
        first = wave is self._first
        jobs = DispatchPlanner(self.state, policy).jobs(records, usable, first=first)
        return (replace(wave, jobs=tuple(jobs if first else (_of_wave(job, wave) for job in jobs))), usable)

    def finish(self, now: float, reason: str) -> None:
        """Nothing follows: what has no verdict yet gets the one it deserves."""
        if not self._control.finished:
            self._tell([m.NothingMore(reason + self._lost_words())], now)

    def warn(self, source: str, text: str) -> None:
        with self.bus.step():
            self.bus.publish(Warned(source=source, text=text))

    # -- rounds -----------------------------------------------------------------------------------------------------

    def _round(self, folder: Folder, attempt: int, wave: int) -> None:
        """One wave at one attempt: the shards that were to run then, and those that say they did."""
        plans = [plan for plan in folder.waves if plan.wave == wave and plan.attempt <= attempt]
        if not plans:
            return
        planned = next((plan for plan in plans if plan.attempt == attempt), None)
        jobs = {job.shard.id: job for plan in plans for job in plan.jobs}
        told = {report.shard: report for report in folder.reports if report.attempt == attempt and report.shard in jobs}
        if planned is None and not told:
            return  # nobody ran this wave again
        if planned is not None:
            self.checked(planned)
        expected = planned.jobs if planned is not None else plans[0].jobs if wave == 1 else ()
        begun = planned.at if planned is not None else min((r.started for r in told.values() if r.started), default=0.0)
        self.lost = []
        waiting = list(
            dict.fromkeys([*sorted(told, key=lambda s: not _fails(told[s])), *(j.shard.id for j in expected)])
        )
        while waiting:  # mostly once: no two shards of a wave have a test in common, unless an old one was run again
            leases: dict[ShardId, Lease] = {}
            for shard in waiting:
                number = LeaseNumber(self.state.ledger.last_lease + 1 + len(leases))
                leases[shard] = self._lease(
                    number, jobs[shard], told.get(shard), begun, again=attempt > self._first.attempt
                )
            waiting = self._play({shard: lease for shard, lease in leases.items() if lease.shard.tests}, told, begun)

    def _play(self, leases: dict[ShardId, Lease], told: dict[ShardId, ShardReport], begun: float) -> list[ShardId]:
        """Shards side by side, from their leases to their ends; returns those that share a test with another."""
        for machine in {lease.machine for shard, lease in leases.items() if shard in told}:
            if self.state.machines[machine].lost:
                back = MachineChecked(machine=machine, healthy=True, reachable=True, text="its runner reports again")
                self._tell([m.Checked(back)], begun)
        taken: set[TestId] = set()
        later: list[ShardId] = []
        for shard, lease in list(leases.items()):
            if taken.isdisjoint(lease.shard.tests):
                taken.update(lease.shard.tests)
                self._tell([m.Granted(lease)], begun)
            else:
                later.append(shard)
                del leases[shard]
        for at, message in sorted(self._news(leases, told), key=lambda news: news[0]):
            self._tell([message], at)
        alive = {lease.machine for shard, lease in leases.items() if shard in told}
        for shard, lease in leases.items():
            if shard not in told:
                self.lost.append(shard)
                lost = lease.machine not in alive
                self._tell([m.LeaseEnded(lease.number, _no_report(lease), machine_lost=lost)], begun)
        return later

    def _lease(self, number: LeaseNumber, job: MatrixJob, told: ShardReport | None, at: float, *, again: bool) -> Lease:
        """For what of a shard is still owed, which may be nothing."""
        owed = tuple(test for test in job.shard.tests if test in self.state.ledger.pending)
        kind = ShardKind.RETRY if again else job.shard.kind
        machine = self._named(told.machine if told else "") or job.machine
        return Lease(number=number, shard=replace(job.shard, tests=owed, kind=kind), machine=machine, granted=at)

    def _believed(self, report: ShardReport) -> AttemptResult:
        """What a report says, unless it is of another commit: so will those of the other jobs be."""
        if not self._first.commit or not report.result.results or report.commit == self._first.commit:
            return report.result
        why = other_commit(report.commit, self._first.commit)
        return AttemptResult(ended=Ended.EXITED, cause=FailureCause.USAGE, reason=why)

    def _news(
        self, leases: dict[ShardId, Lease], told: dict[ShardId, ShardReport]
    ) -> Iterable[tuple[float, m.Message]]:
        for shard, lease in leases.items():
            if shard in told:
                report = told[shard]
                yield report.started, m.Started(lease.number)
                yield max(report.started, report.ended), m.LeaseEnded(lease.number, self._believed(report))

    def _named(self, name: str) -> MachineName | None:
        """The machine of that name, or of a runner of that name."""
        known = (machine for machine in self.state.machines if machine != ANY_MACHINE)
        return next((machine for machine in known if runner_is(name, machine)), None)

    def _tell(self, messages: Iterable[m.Message], at: float) -> None:
        self._clock.set(at)
        for message in messages:
            with self.bus.step():
                self._control.step(message, self._clock.now())

    def _publish(self, event: Event) -> None:
        self.bus.publish(self._another_chance(event) if self._chance else event)

    def _another_chance(self, event: Event) -> Event:
        """A verdict against a test, as another try of it when a later attempt of the workflow run may bring one."""
        if not isinstance(event, VerdictReached) or event.verdict not in (Verdict.FAILED, Verdict.NOT_RUN):
            return event
        if self.state.ledger.records[event.test].unlisted:  # nobody can ask for it
            return event
        return RetryScheduled(
            tests=(event.test,),
            reason=f"{event.reason or event.verdict}; the failed jobs were run again",
            not_before=self._clock.now(),
            charged_to=Charge.NOBODY,
        )

    def _lost_words(self) -> str:
        if not self.lost:
            return ""
        named = ", ".join(self.lost[:SHOWN_LOST])
        more = len(self.lost) - SHOWN_LOST
        return f"; no report came from {named}{f' and {more} more' if more > 0 else ''}"


def _of_wave(job: MatrixJob, wave: PlannedWave) -> MatrixJob:
    place = f"w{wave.wave}" if wave.attempt == 1 else f"w{wave.wave}a{wave.attempt}"
    return replace(job, shard=replace(job.shard, id=ShardId(f"{place}-{job.shard.id}")))


def _fails(report: ShardReport) -> bool:
    return any(line.verdict is Verdict.FAILED for line in report.result.results)


def _no_report(lease: Lease) -> AttemptResult:
    return AttemptResult(
        ended=Ended.LOST,
        cause=FailureCause.MACHINE,
        reason=f"shard {lease.shard.id} on {lease.machine} left no report: its runner was lost, or a step before the "
        "tests or the upload failed; see its job",
    )
