"""The one loop's mind: messages in, events and effects out. Owns the leases' clocks; decides, never does.

`step(message, now)` is deterministic: no thread, no clock, no I/O. Whoever drives it carries out the effects it returns
(`Check`, `Start`, `Cancel`) and feeds back what came of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from ci_dispatch.core.events import (
    AttemptFinished,
    AttemptOutput,
    AttemptStarted,
    Event,
    Interrupted,
    LeaseGranted,
    MachineLost,
    RunFinished,
    TestFinished,
    Warned,
)
from ci_dispatch.core.model import (
    AttemptResult,
    Ended,
    FailureCause,
    Lease,
    LeaseNumber,
    MachineName,
)
from ci_dispatch.fleets.machines.shard_queue import Handout
from ci_dispatch.planning import planner
from ci_dispatch.run import messages as m
from ci_dispatch.run import quarantine, run_end
from ci_dispatch.run.retry import RetryPolicy
from ci_dispatch.run.run_end import expected_seconds
from ci_dispatch.run.settle import Classify, one_result_each, settle
from ci_dispatch.run.state import MachineState, RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The numbers a run is held to; seconds."""

    retry: RetryPolicy = field(default_factory=RetryPolicy)
    head_share: float = planner.HEAD_SHARE_KNOWN
    lease: float = 12.0  # without a heartbeat, until a machine counts as lost
    start_grace: float = 600.0  # for the work tree to arrive, before the first heartbeat
    collect_grace: float = 150.0  # for the reports to arrive, after the last heartbeat
    check_interval: float = 30.0
    lost_check_interval: float = 5.0  # for a machine that may come back
    check_first: bool = True  # False: --skip-health-checks
    give_up_after: float = 60.0  # without any usable machine
    deadline: float = 0.0  # of the whole run; 0: none
    steal_after: float = 10.0  # a lease that has not started may be taken over by an idle machine


class Engine:
    """Plans, grants, settles; ends when every test has a verdict or nobody is left to give one."""

    def __init__(
        self,
        state: RunState,
        publish: Callable[[Event], None],
        *,
        terms: Terms,
        classify: Classify,
        random: Random,
    ) -> None:
        self.state = state
        self.ledger = state.ledger
        self._publish = publish
        self._terms = terms
        self._classify = classify
        self._random = random
        self._expires: dict[LeaseNumber, float] = {}
        self._check_due: dict[MachineName, float] = {}
        self._checking: set[MachineName] = set()
        self._first_checks: set[MachineName] = set()  # still awaited
        self._handout: Handout | None = None
        self._stuck_since: float | None = None
        self._signals = 0
        self._stopping = ""  # why nothing more is handed out

    @property
    def finished(self) -> bool:
        return self.state.finished is not None

    # -- in ---------------------------------------------------------------------------------------------------------

    def begin(self, now: float) -> list[m.Effect]:
        """The first effects: of a new run, or of one whose journal was folded into the state (`resume`)."""
        effects: list[m.Effect] = []
        for lease in list(self.ledger.active.values()):
            self._expires[lease.number] = now + self._terms.start_grace
            effects.append(self._start(lease))
        if self.ledger.attempts:
            self._handout = Handout(self.ledger, expected_seconds(self.state))  # a resumed run goes on with pulls
        elif self._terms.check_first:
            self._first_checks = set(self.state.machines)
        first = now if self._terms.check_first else now + self._terms.check_interval
        self._check_due = dict.fromkeys(self.state.machines, first)
        return effects + self._go_on(now)

    def step(self, message: m.Message, now: float) -> list[m.Effect]:
        """Take one message; returns what is to be done now. Deadlines are looked at with each `Tick`."""
        effects: list[m.Effect] = []
        match message:
            case m.Tick():
                pass
            case m.Checked(event=event):
                self._publish(event)
                self._checked(event.machine, now)
            case m.Finished(lease=number, result=result):
                self._end(number, result, now)
            case m.Signalled(signal=signal):
                effects += self._interrupt(signal)
            case _:
                self._news(message, now)
                return []
        return effects + self._go_on(now)

    def _news(self, message: m.Message, now: float) -> None:
        """What changes no plan. News of a lease that has ended is no news."""
        match message:
            case m.Started(lease=number) if number in self.ledger.active:
                self._expires[number] = now + self._terms.lease
                if self.ledger.attempts[number].started is None:
                    self._publish(AttemptStarted(lease=number))
            case m.Beat(lease=number) if number in self.ledger.active:
                self._expires[number] = now + self._terms.lease
            case m.Collecting(lease=number) if number in self.ledger.active:
                self._expires[number] = now + self._terms.collect_grace
            case m.Output(lease=number, text=text) if number in self.ledger.active:
                machine = self.ledger.active[number].machine
                self._publish(AttemptOutput(lease=number, machine=machine, text=text))
            case m.Reported(lease=number, result=result) if number in self.ledger.active:
                if self.ledger.attempts[number].live.get(result.test) != result:
                    self._publish(TestFinished(lease=number, result=result))
            case m.Noticed(source=source, text=text):
                self._publish(Warned(source=source, text=text))
            case _:
                pass

    # -- what every step ends with ----------------------------------------------------------------------------------

    def _go_on(self, now: float) -> list[m.Effect]:
        if self.finished:
            return []
        effects = self._expire(now)
        effects += self._keep_deadline(now)
        if not self._stopping and not self._first_checks:
            effects += self._hand_out(now)
            effects += self._steal(now)
        effects += self._checks(now)
        self._finish_when_done(now)
        return effects

    def _expire(self, now: float) -> list[m.Effect]:
        """Leases nobody renewed: what finished before counts, the rest goes back, the machine is lost."""
        effects: list[m.Effect] = []
        for number, lease in list(self.ledger.active.items()):
            if self._expires[number] > now:
                continue
            live = tuple(self.ledger.attempts[number].live.values())
            began = self.ledger.attempts[number].started is not None
            reason = f"no heartbeat for {self._terms.lease:g} s" if began else "it never started"
            lost = AttemptResult(ended=Ended.LOST, cause=FailureCause.MACHINE, reason=reason, results=live)
            self._end(number, lost, now)
            effects.append(m.Cancel(number, lease.machine, now=True))
        return effects

    def _keep_deadline(self, now: float) -> list[m.Effect]:
        deadline = self._terms.deadline
        if not deadline or self._stopping or now < self.state.started_at + deadline:
            return []
        self._stopping = f"the run's deadline of {deadline:g} s has passed"
        return [m.Cancel(lease.number, lease.machine) for lease in self.ledger.active.values()]

    def _checks(self, now: float) -> list[m.Effect]:
        due = [name for name, at in self._check_due.items() if at <= now and name not in self._checking]
        self._checking.update(due)
        return [m.Check(name) for name in due]

    def _checked(self, name: MachineName, now: float) -> None:
        self._checking.discard(name)
        self._first_checks.discard(name)
        lost = bool(self.state.machines[name].lost)
        self._check_due[name] = now + (self._terms.lost_check_interval if lost else self._terms.check_interval)

    # -- leases -----------------------------------------------------------------------------------------------------

    def _usable(self) -> list[MachineState]:
        """Machines that may get work, strongest first."""
        usable = [machine for machine in self.state.machines.values() if machine.usable]
        return sorted(usable, key=lambda machine: (-machine.spec.power, machine.spec.name))

    def _hand_out(self, now: float) -> list[m.Effect]:
        effects: list[m.Effect] = []
        usable = self._usable()
        specs = [machine.spec for machine in usable]
        if self._handout is None:
            if not usable:
                return []
            self._handout = Handout(self.ledger, expected_seconds(self.state))
            self._handout.plan_heads(specs, self._terms.head_share)
        fleet = [machine.spec for machine in self.state.machines.values()]
        for machine in usable:
            while len(machine.leases) < machine.spec.slots:
                shard = self._handout.next_shard(machine.spec, specs, fleet, now)
                if shard is None:
                    break
                lease = Lease(
                    number=LeaseNumber(self.ledger.last_lease + 1),
                    shard=shard,
                    machine=machine.spec.name,
                    granted=now,
                    expires=now + self._terms.lease,
                )
                self._publish(LeaseGranted(lease=lease))
                self._expires[lease.number] = now + self._terms.start_grace
                effects.append(self._start(lease))
        return effects

    def _start(self, lease: Lease) -> m.Effect:
        workers = self.state.machines[lease.machine].spec.workers_per_shard
        return m.Start(lease, self.ledger.tests(lease.shard.tests), workers)

    def _steal(self, now: float) -> list[m.Effect]:
        """An idle machine takes over what was handed out and has not started: the other one is still getting ready."""
        if self.ledger.pending or not any(not machine.leases for machine in self._usable()):
            return []
        for lease in self.ledger.active.values():
            waiting = self.ledger.attempts[lease.number].started is None
            if waiting and now - lease.granted >= self._terms.steal_after:
                reason = (
                    f"{lease.machine} had not started after {now - lease.granted:.0f} s; an idle machine takes over"
                )
                self._end(lease.number, AttemptResult(ended=Ended.CANCELLED, reason=reason), now)
                return [m.Cancel(lease.number, lease.machine, now=True), *self._hand_out(now)]
        return []

    def _end(self, number: LeaseNumber, result: AttemptResult, now: float) -> None:
        """The end of an attempt, told by its machine or by the clock; only the first under an active lease counts."""
        lease = self.ledger.attempts[number].lease
        result = one_result_each(lease, result)
        stale = number not in self.ledger.active
        self._expires.pop(number, None)
        self._publish(AttemptFinished(lease=number, machine=lease.machine, result=result, stale=stale))
        if stale:
            return
        if result.ended in (Ended.LOST, Ended.NOT_STARTED):
            self._lose(lease.machine, result.reason, now)
        if result.unexpected:
            text = f"{len(result.unexpected)} tests ran that nobody asked for, the first: {result.unexpected[0]}"
            self._publish(Warned(source=lease.machine, text=text))
        if fenced := quarantine.trips(self.state, lease.machine):
            self._publish(fenced)
        usable = [machine.spec.name for machine in self._usable()]
        for event in settle(
            self.ledger,
            lease,
            result,
            usable=usable,
            policy=self._terms.retry,
            classify=self._classify,
            random=self._random,
            now=now,
        ):
            self._publish(event)

    def _lose(self, name: MachineName, reason: str, now: float) -> None:
        """No more work for it until a health check says that it is well again."""
        if not self.state.machines[name].lost:
            self._publish(MachineLost(machine=name, reason=reason))
            self._check_due[name] = now + self._terms.lost_check_interval

    # -- the end ----------------------------------------------------------------------------------------------------

    def _interrupt(self, signal: int) -> list[m.Effect]:
        """Once: nothing more is handed out, what runs writes its reports. Twice: now."""
        self._signals += 1
        if self._signals == 1:
            self._publish(Interrupted(signal=signal))
        self._stopping = self._stopping or "the run was interrupted"
        return [m.Cancel(n, lease.machine, now=self._signals > 1) for n, lease in self.ledger.active.items()]

    def _finish_when_done(self, now: float) -> None:
        if self.ledger.active:
            self._stuck_since = None
            return
        if self.ledger.undecided:
            reason = self._stopping or self._stuck(now)
            if not reason:
                return
            for verdict in run_end.give_up(self.ledger, reason):
                self._publish(verdict)
        end = run_end.makespan(self.state, now, self._terms.head_share)
        self._publish(RunFinished(exit_code=run_end.exit_code(self.state), makespan=end, reason=self._stopping))

    def _stuck(self, now: float) -> str:
        """Why nothing will happen any more, or an empty string while something may."""
        if self._first_checks or self._usable():
            self._stuck_since = None
            return ""
        self._stuck_since = self._stuck_since or now
        nobody_ever = not self.ledger.attempts
        if not nobody_ever and now - self._stuck_since < self._terms.give_up_after:
            return ""
        return run_end.nobody_left(self.state.machines.values())
