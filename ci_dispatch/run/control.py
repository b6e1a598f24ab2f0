"""What is true of any run, whatever its fleets: messages in, events and commands out. Decides, never does.

`step(message, now)` is deterministic: no thread, no clock, no I/O. Health checks and their deadlines, the end of an
attempt, machines that are lost or quarantined, interrupts, deadlines, giving up and the verdict are decided here, once;
how work is handed out is the fleets' (`ports.Fleet`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from random import Random

from ci_dispatch.core.errors import CiDispatchError, ExitCode
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
    ANY_MACHINE,
    AttemptResult,
    Connection,
    Ended,
    LeaseNumber,
    MachineName,
    TestId,
)
from ci_dispatch.planning import planner
from ci_dispatch.run import messages as m
from ci_dispatch.run import quarantine, run_end
from ci_dispatch.run.checks import CheckSchedule, unreachable
from ci_dispatch.run.ledger import TestRecord
from ci_dispatch.run.placement import Placement
from ci_dispatch.run.ports import Fleet
from ci_dispatch.run.reserves import Reserves
from ci_dispatch.run.retry import RetryPolicy
from ci_dispatch.run.settle import Classify, one_result_each, settle, without_blame
from ci_dispatch.run.state import MachineState, RunState

_CHANGES_NO_PLAN = (m.Started, m.Beat, m.Output, m.Reported, m.Noticed)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPolicy:
    """The numbers that hold for a whole run; seconds."""

    retry: RetryPolicy = field(default_factory=RetryPolicy)
    head_share: float = planner.HEAD_SHARE_KNOWN
    checks: bool = True  # False: machines are never asked how they are
    check_first: bool = True  # False: nobody waits for the first answers
    check_interval: float = 30.0  # infinite: only lost machines are asked, whether they are back
    lost_check_interval: float = 5.0  # for a machine that may come back
    check_deadline: float = 30.0  # for the answer of one check
    give_up_after: float = 60.0  # without any usable machine
    await_health: bool = False  # True: before anything began too, while a machine answers that it is not well
    deadline: float = 0.0  # of the whole run; 0: none
    report_grace: float = 180.0  # after a cancel, for reports that are on their way
    signal_grace: float = 180.0  # the same after a signal
    force_grace: float = 10.0  # after a second signal, for processes to end
    close_grace: float = 30.0  # after the last verdict, to tell what still runs for nothing to end


class RunControl:
    """Owns a run from its start to its verdict; ends when every test has one or nobody is left to give it."""

    def __init__(
        self,
        state: RunState,
        publish: Callable[[Event], None],
        *,
        fleets: Sequence[Fleet],
        policy: RunPolicy,
        classify: Classify,
        random: Random,
    ) -> None:
        self.state, self.ledger = state, state.ledger
        self.refusal: CiDispatchError | None = None  # why a fleet would not do it, when that ended the run
        self._owing = False  # it ended with tests that were to be tried again
        self._publish = publish
        self._open = list(fleets)  # those that may still be used
        self._fleets = tuple(fleets)
        self._policy = policy
        self._classify = classify
        self._reserves = Reserves(state)
        self._random = random
        self._placement = Placement(state, {name: fleet.lingers for fleet in fleets for name in fleet.machines})
        self._checks = CheckSchedule((), 0.0, deadline=policy.check_deadline, await_first=False)
        self._stuck_since: float | None = None
        self._signals = 0
        self._stopping = ""  # why nothing more is handed out
        self._unattended = LeaseNumber(0)  # leases up to it were once without a controller that renewed them
        self._asked_twice = False  # those that could not be reached at the first check
        self._stopped_by = 0.0  # when what was cancelled is waited for no longer

    @property
    def finished(self) -> bool:
        """Every test has its verdict."""
        return self.state.finished is not None

    def done(self, now: float) -> bool:
        """Finished, and what ran for nothing was told to end, or nobody would listen."""
        if self.state.finished_at is None:
            return False
        policy = self._policy
        grace = min(policy.close_grace, policy.signal_grace) if self._signals else policy.close_grace
        return now >= self.state.finished_at + grace or not any(fleet.ending() for fleet in self._fleets)

    # -- in ---------------------------------------------------------------------------------------------------------

    def begin(self, now: float) -> list[m.Command]:
        """The first commands: of a new run, or of one whose journal was folded into the state."""
        policy = self._policy
        self._unattended = self.ledger.last_lease
        names = [name for name in self.state.machines if name != ANY_MACHINE] if policy.checks else []
        self._checks = CheckSchedule(
            names,
            now if policy.check_first else now + policy.check_interval,
            deadline=policy.check_deadline,
            await_first=policy.check_first and not self.ledger.attempts,
        )
        commands: list[m.Command] = []
        for fleet in self._fleets:
            commands += self._take(fleet, fleet.begin(now), now)
        return commands + self._advance(now)

    def step(self, message: m.Message, now: float) -> list[m.Command]:
        """Take one message; returns what is to be done now. Deadlines are looked at with each `Tick`."""
        commands: list[m.Command] = []
        match message:
            case _ if self.finished:
                pass
            case m.Checked(event=event):
                self._publish(event)
                lost = bool(self.state.machines[event.machine].lost)
                interval = self._policy.lost_check_interval if lost else self._policy.check_interval
                self._checks.answered(event.machine, now + interval)
            case m.Signalled(signal=signal):
                commands += self._interrupt(signal, now)
            case m.Noticed():
                self._warn(message.source, message.text)
            case m.StoodStill(seconds=seconds):
                self._unattended = self.ledger.last_lease
                self._warn("ci-dispatch", f"this computer, or the process, stood still for {seconds:.0f} s")
            case _:
                pass
        for fleet in self._fleets:
            commands += self._take(fleet, fleet.hear(message, now), now)
        if isinstance(message, _CHANGES_NO_PLAN) and not commands:
            return commands
        return commands + self._advance(now)

    def abandon(self, now: float) -> list[m.Command]:
        """Commands that end everything by force: the controller itself cannot go on."""
        return [command for fleet in self._fleets for command in fleet.cancel(now, force=True)]

    # -- what every step ends with ----------------------------------------------------------------------------------

    def _advance(self, now: float) -> list[m.Command]:
        commands: list[m.Command] = []
        if not self.finished:
            commands += self._keep_deadline(now)
            self._miss_answers(now)
        for fleet in self._fleets:
            commands += self._take(fleet, fleet.advance(now), now)
        if self.finished:
            return commands
        for verdict in self._placement.in_vain():
            self._publish(verdict)
        if not self._stopping and not self._checks.awaiting:
            if why := self._reserves.call(now, self._placement.lacking):
                self._warn("plan", why)
            for fleet in tuple(self._open):
                commands += self._take(fleet, fleet.hand_out(self._ready(now), self._usable(), now), now)
        commands += self._check_machines(now)
        if self._stopping and now >= self._stopped_by:
            commands += self._end_what_overstays(now)
        if self._finish_when_done(now):
            for fleet in self._fleets:  # what still runs, runs for nothing
                commands += self._take(fleet, fleet.advance(now), now)
        return commands

    def _take(self, fleet: Fleet, items: Iterable[m.Message | m.Command], now: float) -> list[m.Command]:
        """Act on news one by one, before the fleet goes on; keep commands."""
        commands: list[m.Command] = []
        for item in items:
            match item:
                case m.LeaseNews() if self.finished:
                    pass
                case m.LeaseEnded():
                    self._end(item, now)
                case m.Unreachable(machine=name, reason=reason):
                    self._lose(name, reason, now)
                case m.CancelledExternally(reason=reason):
                    commands += self._stop(f"{reason}: standing down", now, self._policy.report_grace)
                case m.NothingMore(reason=reason):
                    commands += self._stop(reason, now, 0.0)
                case m.FleetRefused(error=error):
                    commands += self._refuse(fleet, error, now)
                case m.Noticed(source=source, text=text):
                    self._warn(source, text)
                case m.LeaseNews():
                    self._show(item)
                case m.Command():
                    commands.append(item)
                case _:
                    pass
        return commands

    def _show(self, news: m.LeaseNews) -> None:
        """What is recorded and shown, and decides nothing. News of a lease that has ended is no news."""
        active = self.ledger.active
        match news:
            case m.Granted(lease=lease):
                self._publish(LeaseGranted(lease=lease))
            case m.Started(lease=number) if number in active and self.ledger.attempts[number].started is None:
                self._publish(AttemptStarted(lease=number))
            case m.Output(lease=number, text=text) if number in active:
                self._publish(AttemptOutput(lease=number, machine=active[number].machine, text=text))
            case m.Reported(lease=number, result=result) if number in active:
                record = self.ledger.records.get(result.test)
                ours = record is not None and record.lease == number  # a set-up project's tests are not
                if ours and self.ledger.attempts[number].live.get(result.test) != result:
                    self._publish(TestFinished(lease=number, result=result))
            case _:
                pass

    def _warn(self, source: str, text: str) -> None:
        self._publish(Warned(source=source, text=text))

    # -- machines ---------------------------------------------------------------------------------------------------

    def _usable(self) -> list[MachineState]:
        """Machines that may get work now, strongest first."""
        names = {name for fleet in self._open for name in fleet.machines if name != ANY_MACHINE}
        machines = [machine for name, machine in self.state.machines.items() if name in names]
        usable = [machine for machine in machines if machine.usable and not self._reserves.waits(machine)]
        return sorted(usable, key=lambda machine: (-machine.spec.power, machine.spec.name))

    def _miss_answers(self, now: float) -> None:
        """A check without an answer for too long is one: nobody waits for it."""
        why = f"the health check gave no answer within {self._policy.check_deadline:g} s"
        for name in self._checks.take_overdue(now):
            self._publish(unreachable(name, why))

    def _check_machines(self, now: float) -> list[m.Command]:
        machines = self.state.machines
        alone = [machine.spec.connection for machine in machines.values()] == [Connection.LOCAL]
        return [
            # Load that our own tests make is no reason to give a machine nothing; nor is any where there is no other.
            m.CheckMachine(name, busy=alone or machines[name].first_work is not None)
            for name in self._checks.take_due(now)
        ]

    def _lose(self, name: MachineName, reason: str, now: float) -> None:
        """No more work for it until a health check says that it is well again."""
        if name != ANY_MACHINE and not self.state.machines[name].lost:
            self._publish(MachineLost(machine=name, reason=reason))
            self._checks.sooner(name, now + self._policy.lost_check_interval)

    # -- tests ------------------------------------------------------------------------------------------------------

    def _ready(self, now: float) -> Callable[[], Sequence[TestRecord]]:
        """What may be handed out: tests whose backoff is over, that nobody has spoken for, and whose time has come."""
        made: dict[int, Sequence[TestRecord]] = {}  # after which event: every machine without work asks

        def ready() -> Sequence[TestRecord]:
            if self.state.seq not in made:
                held: set[TestId] = {test for each in self._fleets for test in each.held()}
                free = [each for each in self.ledger.ready(now) if each.test.id not in held]
                made[self.state.seq] = self._placement.startable(free, held, now)
            return made[self.state.seq]

        return ready

    def _end(self, end: m.LeaseEnded, now: float) -> None:
        """The end of an attempt, told by its fleet; only the first under an active lease counts."""
        number = end.lease
        lease = self.ledger.attempts[number].lease
        stale = number not in self.ledger.active
        tests = lease.shard.tests if stale else self.ledger.held(number)
        result = one_result_each(lease, without_blame(lease, end.result, self._unattended), tests)
        self._publish(AttemptFinished(lease=number, machine=lease.machine, result=result, stale=stale))
        if stale:
            return
        if end.machine_lost:
            self._lose(lease.machine, result.reason, now)
        if result.unexpected:
            count = len(result.unexpected)
            self._warn(lease.machine, f"{count} tests ran that nobody asked for, the first: {result.unexpected[0]}")
        if lease.machine != ANY_MACHINE and (event := quarantine.judge(self.state, lease.machine)):
            self._publish(event)
        for each in settle(
            self.ledger,
            lease,
            result,
            usable=[machine.spec.name for machine in self._usable()],
            policy=self._policy.retry,
            classify=self._classify,
            random=self._random,
            now=now,
        ):
            self._publish(each)

    # -- the end ----------------------------------------------------------------------------------------------------

    def _interrupt(self, signal: int, now: float) -> list[m.Command]:
        """Once: nothing more is handed out, what runs writes its reports. Twice: now."""
        self._signals += 1
        if self.state.interrupted is None:
            self._publish(Interrupted(signal=signal))
        if self._signals == 1:
            return self._stop("the run was interrupted", now, self._policy.signal_grace)
        self._stopped_by = min(self._stopped_by, now + self._policy.force_grace)
        return self.abandon(now)

    def _stop(self, reason: str, now: float, grace: float) -> list[m.Command]:
        """Hand out nothing more; what runs is cancelled and may still report for `grace` seconds."""
        until = now + grace
        self._stopped_by = min(self._stopped_by, until) if self._stopping else until
        self._stopping = self._stopping or reason
        return [command for fleet in self._fleets for command in fleet.cancel(now, force=False)]

    def _refuse(self, fleet: Fleet, error: CiDispatchError, now: float) -> list[m.Command]:
        """A fleet is of no more use. Others go on without it."""
        self.refusal = self.refusal or error
        if fleet in self._open:
            self._open.remove(fleet)
        if self._open:
            self._warn("fleet", f"{error}; the run goes on without it")
            return list(fleet.cancel(now, force=False))
        return self._stop(str(error), now, 0.0)

    def _keep_deadline(self, now: float) -> list[m.Command]:
        deadline = self._policy.deadline
        if not deadline or self._stopping or now < self.state.started_at + self.state.unattended + deadline:
            return []
        return self._stop(f"the run's deadline of {deadline:g} s has passed", now, self._policy.report_grace)

    def _end_what_overstays(self, now: float) -> list[m.Command]:
        """Leases that were cancelled and told nothing in time."""
        commands = self.abandon(now)
        for number in list(self.ledger.active):
            self._end(m.LeaseEnded(number, AttemptResult(ended=Ended.CANCELLED, reason=self._stopping)), now)
        return commands

    def _finish_when_done(self, now: float) -> bool:
        if self.ledger.active:
            self._stuck_since = None
            return False
        reason = self._stopping
        if self.ledger.undecided:
            reason = reason or self._stuck(now)
            if not reason:
                return False
            self._owing = True
            for verdict in run_end.give_up(self.ledger, reason):
                self._publish(verdict)
        end = run_end.makespan(self.state, now, self._policy.head_share)
        self._publish(RunFinished(exit_code=self._exit_code(), makespan=end, reason=reason))
        return True

    def _exit_code(self) -> ExitCode:
        refused = self.refusal is not None and (self._owing or not self.ledger.complete)
        return ExitCode.GITHUB_REFUSED if refused and not self._signals else run_end.exit_code(self.state)

    def _ask_again(self, now: float) -> bool:
        """Before a run is given up that nobody began: a machine that did not answer may only have been slow."""
        silent = [name for name, m in self.state.machines.items() if m.checked is not None and not m.checked.reachable]
        if self._asked_twice or not silent:
            return False
        self._asked_twice = True
        self._checks.ask_again(silent, now + self._policy.lost_check_interval)
        return True

    def _stuck(self, now: float) -> str:
        """Why nothing will happen any more, or an empty string while something may."""
        usable, wanted = self._usable(), self._placement.wanted(self.state.machines.values())
        some = any(machine in wanted for machine in usable)
        if self._checks.awaiting or some or any(fleet.held() for fleet in self._fleets):
            self._stuck_since = None
            return ""
        self._stuck_since = self._stuck_since if self._stuck_since is not None else now
        nobody_ever = not self.ledger.attempts
        if nobody_ever and self._ask_again(now):
            return ""
        answers = any(each.checked is not None and each.checked.reachable for each in wanted)
        hope = not nobody_ever or (self._policy.await_health and answers)
        may_return = hope and not all(each.quarantined for each in wanted)
        if may_return and now - self._stuck_since < self._policy.give_up_after:
            return ""
        lacking = self._placement.lacking(usable)
        return run_end.nobody_left((each for each in wanted if each.spec.name != ANY_MACHINE), lacking)
