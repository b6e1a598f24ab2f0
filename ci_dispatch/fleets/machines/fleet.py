"""Machines as a fleet: each pulls shards from one queue, leases expire without heartbeats, the idle take work over.

Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from ci_dispatch.core.codec import replace
from ci_dispatch.core.model import (
    AttemptResult,
    Connection,
    Ended,
    FailureCause,
    Lease,
    LeaseNumber,
    MachineName,
    MachineSpec,
    Shard,
    ShardId,
    ShardKind,
    Test,
    TestId,
    TestResult,
    Verdict,
)
from ci_dispatch.fleets.machines import copies, give_away
from ci_dispatch.fleets.machines.shard_queue import ShardQueue, avoided
from ci_dispatch.planning import planner
from ci_dispatch.run import messages as m
from ci_dispatch.run.ledger import AttemptRecord, TestRecord
from ci_dispatch.run.placement import Placement
from ci_dispatch.run.run_end import expected_seconds
from ci_dispatch.run.state import MachineState, RunState

END_SECONDS = 30.0  # for a last renewal that is on its way, and for the job to end with its children
Ready = Callable[[], Sequence[TestRecord]]


@dataclass(frozen=True, slots=True)
class Collecting(m.Message):
    """A job has ended, so it beats no more; its reports are on their way."""

    lease: LeaseNumber


@dataclass(frozen=True, slots=True)
class StartJob(m.Command):
    """Run a lease's shard; a job that exists already (an earlier controller's) is attached to."""

    lease: Lease
    tests: tuple[Test, ...]
    workers: int
    more: bool = False  # tests wait for whoever is free next


@dataclass(frozen=True, slots=True)
class CancelJob(m.Command):
    """End a lease's job: gently, or `now` without waiting for its reports."""

    lease: LeaseNumber
    machine: MachineName
    now: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasePolicy:
    """How leases on machines are handed out and how long each part of one may take; seconds."""

    head_share: float = planner.HEAD_SHARE_KNOWN
    lease: float = 12.0  # without a heartbeat, until a machine counts as lost
    start_grace: float = 600.0  # for the work tree to arrive, before the first heartbeat
    collect_grace: float = 150.0  # for the reports to arrive, after the last heartbeat
    shard_timeout: float = 1800.0  # the machine ends a job after it
    end_grace: float = 60.0  # for it to do that; a job that beats on is ended by us
    copies: bool = True  # of what still runs when nothing is left to hand out
    steal_after: float = 10.0  # a lease that has not started may be taken over by an idle machine that is ready


class MachineFleet:
    """The fleet of machines that this controller reaches by itself (`ports.Fleet`)."""

    def __init__(self, state: RunState, machines: Collection[MachineName], policy: LeasePolicy) -> None:
        self.machines = frozenset(machines)
        self.lingers = policy.lease + END_SECONDS
        self._state, self._ledger, self._policy = state, state.ledger, policy
        self._placement = Placement(state, dict.fromkeys(self.machines, self.lingers))
        self._expires: dict[LeaseNumber, float] = {}
        self._overdue: dict[LeaseNumber, float] = {}  # when a job must have ended, however well it beats
        self._given_away: dict[LeaseNumber, frozenset[TestId]] = {}  # jobs that were interrupted: what they had told
        self._told: dict[LeaseNumber, deque[float]] = {}  # when its last results came
        self._copied = False  # something runs or ran a second time
        self._outrun: set[LeaseNumber] = set()  # jobs that were interrupted, for their copy was faster
        self._queue: ShardQueue | None = None
        self._ready_machines: set[MachineName] = set()  # they have the work tree and have started a job

    # -- ports.Fleet ------------------------------------------------------------------------------------------------

    def begin(self, now: float) -> Iterator[m.Message | m.Command]:
        for number in self._active():
            lease = self._ledger.active[number]
            self._expires[number] = now + self._policy.start_grace
            yield self._start(lease)
        if self._ledger.attempts:
            self._queue = self._new_queue()  # a resumed run goes on with pulls
            self._copied = any(record.copied for record in self._ledger.records.values())

    def hear(self, message: m.Message, now: float) -> Iterator[m.Message | m.Command]:
        match message:
            case m.Started(lease=number) | m.Beat(lease=number) if number in self._expires:
                self._expires[number] = now + self._policy.lease
                if isinstance(message, m.Started):
                    self._overdue.setdefault(number, now + self._policy.shard_timeout + self._policy.end_grace)
                    self._ready_machines.add(self._ledger.active[number].machine)
                    yield message
            case Collecting(lease=number) if number in self._expires:
                self._expires[number] = now + self._policy.collect_grace
                self._overdue.pop(number, None)
            case m.Output(lease=number) | m.Reported(lease=number) if number in self._expires:
                if isinstance(message, m.Reported):
                    self._told.setdefault(number, deque(maxlen=copies.RECENT)).append(now)
                yield message
            case m.LeaseEnded(lease=number, result=result) if self._is_mine(number):
                yield from self._ended(number, result)
            case _:
                pass

    def advance(self, now: float) -> Iterator[m.Message | m.Command]:
        """Leases nobody renewed: what finished before counts, the rest goes back, the machine is lost."""
        never = float("inf")
        for number in [n for n, at in self._expires.items() if min(at, self._overdue.get(n, never)) <= now]:
            attempt = self._ledger.attempts[number]
            if number not in self._ledger.active:  # the run has ended it
                self._forget(number)
                continue
            reason = self._why_lost(attempt, overdue=self._overdue.get(number, never) <= now)
            lost = AttemptResult(
                ended=Ended.LOST, cause=FailureCause.MACHINE, reason=reason, results=self._believed(attempt)
            )
            yield from self._ended(number, lost)
            yield CancelJob(number, attempt.lease.machine, now=True)

    def hand_out(self, ready: Ready, usable: Sequence[MachineState], now: float) -> Iterator[m.Message | m.Command]:
        mine = [machine for machine in usable if machine.spec.name in self.machines]
        if not mine:
            return
        if self._queue is None:
            self._queue = self._new_queue()
            self._queue.plan_heads([machine.spec for machine in usable], self._policy.head_share, self.machines)
        for machine in mine:
            yield from self._fill(machine, self._queue, ready, usable, now)
        yield from self._take_over(self._queue, ready, usable, now)
        yield from self._give_away(self._queue, usable, now)
        yield from self._copy(self._queue, usable, now)

    def held(self) -> Collection[TestId]:
        return ()

    def cancel(self, now: float, *, force: bool) -> Iterator[m.Command]:  # noqa: ARG002
        for number in self._active():
            yield CancelJob(number, self._ledger.active[number].machine, now=force)

    def ending(self) -> bool:
        return False

    # -- leases -----------------------------------------------------------------------------------------------------

    def _fill(
        self, machine: MachineState, queue: ShardQueue, ready: Ready, usable: Sequence[MachineState], now: float
    ) -> Iterator[m.Message | m.Command]:
        """Shards for the free slots of a machine."""
        specs = [each.spec for each in usable]
        while len(machine.leases) < machine.spec.slots:
            shard = queue.next_shard(machine.spec, ready(), usable=specs, fleet=self._specs(), now=now)
            if shard is None:
                return
            yield from self._grant(machine.spec.name, shard, now)

    def _grant(self, machine: MachineName, shard: Shard, now: float) -> Iterator[m.Message | m.Command]:
        lease = Lease(
            number=LeaseNumber(self._ledger.last_lease + 1),
            shard=shard,
            machine=machine,
            granted=now,
            epoch=self._state.epoch,
        )
        yield m.Granted(lease)
        self._expires[lease.number] = now + self._policy.start_grace
        yield self._start(lease)

    def _take_over(
        self, queue: ShardQueue, ready: Ready, usable: Sequence[MachineState], now: float
    ) -> Iterator[m.Message | m.Command]:
        """An idle machine that is ready gets what another one, still getting ready, was given and has not started.

        Once for each test: two slow starters would hand a shard to and fro for ever.
        """
        idle = [machine for machine in usable if self._may_take_over(machine)]
        if self._ledger.pending or not idle:
            return
        for number in self._active():
            lease = self._ledger.active[number]
            waited = now - lease.granted
            taken_before = any(self._ledger.records[test].takeovers for test in lease.shard.tests)
            started = self._ledger.attempts[number].started is not None
            able = [machine for machine in idle if self._may_have(machine, lease)]
            copy = lease.shard.kind is ShardKind.COPY
            if started or copy or taken_before or waited < self._policy.steal_after or not able:
                continue
            reason = f"{lease.machine} had not started after {waited:.0f} s; an idle machine takes over"
            yield from self._ended(number, AttemptResult(ended=Ended.CANCELLED, reason=reason))
            yield CancelJob(number, lease.machine, now=True)
            for machine in able:
                yield from self._fill(machine, queue, ready, usable, now)
            return

    def _give_away(self, queue: ShardQueue, usable: Sequence[MachineState], now: float) -> Iterator[m.Command]:
        """An idle machine gets a part of what a busy one has not begun, where that pays.

        One job at a time is interrupted for it, and no test goes this way twice.
        """
        idle = [each for each in usable if each.spec.name in self.machines and not each.leases]
        if self._ledger.pending or self._given_away or not idle:
            return
        running = [self._ledger.attempts[number] for number in self._active()]
        shared = [(attempt, rest) for attempt in running if (rest := self._may_be_shared(attempt))]
        if not shared:
            return
        seen = queue.observed(self._specs(), now)
        takers = [seen.today(each.spec) for each in idle]
        taker = max(takers, key=lambda each: (self._is_ready(each), each.power, each.name))
        best, gain = None, 0.0
        for attempt, rest in shared:
            machine = seen.today(self._state.machines[attempt.lease.machine].spec)
            units = planner.units_of((record.test for record in rest), seen.seconds)
            if (gained := give_away.gain(units, machine, taker, cold=not self._is_ready(taker))) > gain:
                best, gain = attempt, gained
        if best is not None:
            self._given_away[best.lease.number] = frozenset(best.live)
            yield CancelJob(best.lease.number, best.lease.machine)

    def _may_be_shared(self, attempt: AttemptRecord) -> list[TestRecord]:
        """What a running job may give a part of: its tests without a result, where it has more of them than workers.

        Nothing, when it has not begun, its reports are on their way, or its tests came from another machine like this.
        """
        number, spec = attempt.lease.number, self._state.machines[attempt.lease.machine].spec
        if attempt.started is None or number not in self._overdue:
            return []
        rest = [self._ledger.records[test] for test in attempt.lease.shard.tests if test not in attempt.live]
        demands = [self._placement.of_test(record.test.id) for record in rest]
        bound = any(demand.constrained or demand.whole for demand in demands)
        moved = any(record.takeovers or record.copied for record in rest)
        return [] if bound or moved or len(rest) <= spec.workers_per_shard else rest

    def _copy(self, queue: ShardQueue, usable: Sequence[MachineState], now: float) -> Iterator[m.Message | m.Command]:
        """An idle machine runs what still runs elsewhere too, where that is expected to end sooner; each test once."""
        idle = [machine.spec for machine in usable if self._may_take_over(machine)]
        if not self._policy.copies or not idle:
            return
        if any(self._ledger.records[test].not_before > now for test in self._ledger.pending):
            return  # there will be other work in a moment; what pends besides waits for what runs, or for others
        running = [self._ledger.attempts[number] for number in self._active()]
        stragglers = [(attempt, rest) for attempt in running if (rest := self._may_be_copied(attempt))]
        if not stragglers:
            return
        seen = queue.observed(self._specs(), now)
        takers = [(spec, spec.offers, seen.today(spec)) for spec in idle]
        best, to, gain = None, idle[0], 0.0
        for attempt, rest in stragglers:
            needs = {label for record in rest for label in self._placement.of_test(record.test.id).needs}
            avoiding = {avoided(record, now) for record in rest}
            units = planner.units_of((record.test for record in rest), seen.seconds)
            machine = seen.today(self._state.machines[attempt.lease.machine].spec)
            quiet = now - self._all_running_since(attempt, len(rest))
            for spec, offers, today in takers:
                if not needs <= offers or spec.name in avoiding:
                    continue
                if (gained := copies.gain(units, machine, today, quiet)) > gain:
                    best, to, gain = rest, spec, gained
        if best is not None:
            self._copied = True
            tests = tuple(record.test.id for record in best)
            number, seconds = self._ledger.last_lease + 1, sum(seen.seconds.get(test, 1.0) for test in tests)
            shard = Shard(id=ShardId(f"copy-{number}"), kind=ShardKind.COPY, tests=tests, seconds=seconds)
            yield from self._grant(to.name, shard, now)

    def _may_be_copied(self, attempt: AttemptRecord) -> list[TestRecord]:
        """What a running job has not told of; nothing, when that may not run twice at the same time, or did before."""
        number = attempt.lease.number
        if attempt.started is None or number not in self._overdue or number in self._given_away:
            return []
        rest = [self._ledger.records[test] for test in self._ledger.held(number) if test not in attempt.live]
        demands = [self._placement.of_test(record.test.id) for record in rest]
        apart = any(each.side_effects or each.lock or each.place or each.whole for each in demands)
        whole = any(record.copied or record.isolate or record.test.atomic for record in rest)
        return [] if apart or whole else rest

    def _all_running_since(self, attempt: AttemptRecord, rest: int) -> float:
        """When the last of the `rest` tests of a job began, at the latest: with the result before those of workers
        that have found nothing more to do."""
        workers = self._state.machines[attempt.lease.machine].spec.workers_per_shard
        told, since = self._told.get(attempt.lease.number, ()), attempt.started or attempt.lease.granted
        before = max(0, workers - rest) + 1
        return told[-before] if len(told) >= before else since

    def _end_outrun(self) -> Iterator[m.Message | m.Command]:
        """Of two executions the later one is ended: nothing that it tells is evidence any more."""
        for number in self._active():
            attempt = self._ledger.attempts[number]
            lease, held = attempt.lease, self._ledger.held(number)
            if not any(self._ledger.records[test].copied for test in lease.shard.tests):
                continue
            if not held:
                yield from self._ended(number, AttemptResult(ended=Ended.CANCELLED, reason=copies.REASON))
                yield CancelJob(number, lease.machine, now=True)
            elif len(held) < len(lease.shard.tests) and set(held) <= attempt.live.keys() and number not in self._outrun:
                self._outrun.add(number)  # gently: what it has told before is in its reports
                yield CancelJob(number, lease.machine)

    def _may_take_over(self, machine: MachineState) -> bool:
        return machine.spec.name in self.machines and self._is_ready(machine.spec) and not machine.leases

    def _may_have(self, machine: MachineState, lease: Lease) -> bool:
        """Whether the machine may have all of a lease that another one holds; a lock may be in use there any moment."""
        if not self._placement:
            return True
        demands, offers = [self._placement.of_test(test) for test in lease.shard.tests], machine.spec.offers
        return not any(d.place or d.lock or d.needs - offers for d in demands)

    def _is_ready(self, machine: MachineSpec) -> bool:
        return machine.connection is Connection.LOCAL or machine.name in self._ready_machines

    def _ended(self, number: LeaseNumber, result: AttemptResult) -> Iterator[m.Message | m.Command]:
        self._forget(number)
        if self._given_away.pop(number, None) is not None and result.ended is Ended.CANCELLED:
            result = replace(result, reason=give_away.REASON)
        if number in self._outrun and result.ended is Ended.CANCELLED:
            result = replace(result, reason=copies.REASON)
        lost = result.ended in (Ended.LOST, Ended.NOT_STARTED) and result.cause is not FailureCause.TREE
        yield m.LeaseEnded(number, result, machine_lost=lost)
        if self._copied:
            yield from self._end_outrun()

    def _forget(self, number: LeaseNumber) -> None:
        self._expires.pop(number, None)
        self._overdue.pop(number, None)
        self._told.pop(number, None)

    def _believed(self, attempt: AttemptRecord) -> tuple[TestResult, ...]:
        """What a silent job had told: where the tree lies only failures, for nobody has looked at it since.

        What failed while it was interrupted says nothing.
        """
        told = self._given_away.get(attempt.lease.number, attempt.live.keys())
        live = [r for r in attempt.live.values() if r.test in told or r.verdict not in (Verdict.FAILED, Verdict.FLAKY)]
        if self._state.machines[attempt.lease.machine].spec.connection is Connection.LOCAL:
            return tuple(result for result in live if result.verdict is Verdict.FAILED)
        return tuple(live)

    def _why_lost(self, attempt: AttemptRecord, *, overdue: bool) -> str:
        if overdue:
            return f"its machine did not end it, {self._policy.end_grace:g} s after its time limit"
        return f"no heartbeat for {self._policy.lease:g} s" if attempt.started is not None else "it never started"

    def _start(self, lease: Lease) -> StartJob:
        alone = self._placement.one_at_a_time(lease.shard.tests)
        workers = 1 if alone else self._state.machines[lease.machine].spec.workers_per_shard
        return StartJob(lease, self._ledger.tests(lease.shard.tests), workers, more=bool(self._ledger.pending))

    def _specs(self) -> list[MachineSpec]:
        return [each.spec for each in self._state.machines.values() if each.spec.name in self.machines]

    def _active(self) -> list[LeaseNumber]:
        return [number for number, lease in self._ledger.active.items() if lease.machine in self.machines]

    def _is_mine(self, number: LeaseNumber) -> bool:
        attempt = self._ledger.attempts.get(number)
        return attempt is not None and attempt.lease.machine in self.machines

    def _new_queue(self) -> ShardQueue:
        return ShardQueue(self._ledger, expected_seconds(self._state), self._placement or None)
