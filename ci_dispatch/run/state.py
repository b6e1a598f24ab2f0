"""The fold of all events so far: what every reporter shows. Only `RunState` itself writes it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from ci_dispatch.core.codec import replace
from ci_dispatch.core.events import (
    AttemptFinished,
    AttemptStarted,
    Event,
    Interrupted,
    LeaseGranted,
    MachineChecked,
    MachineLost,
    MachineQuarantined,
    MachineReleased,
    RetryScheduled,
    RunFinished,
    RunResumed,
    RunStarted,
    Stamped,
    TestFinished,
    VerdictReached,
    Warned,
)
from ci_dispatch.core.model import (
    ANY_MACHINE,
    Charge,
    LeaseNumber,
    MachineName,
    MachineSpec,
    ShardKind,
    TestId,
    Verdict,
)
from ci_dispatch.planning.constraints import Constraints
from ci_dispatch.run.ledger import Ledger


@dataclass(slots=True)
class MachineState:
    """One machine as the run sees it. Seconds are of this run."""

    spec: MachineSpec
    checked: MachineChecked | None = None  # the last health check
    lost: str = ""  # why it is lost now; empty when it is not
    lost_at: float | None = None
    quarantined: str = ""
    losses: int = 0
    leases: dict[LeaseNumber, float] = field(default_factory=dict)  # active, with the time they began
    given: int = 0  # tests handed out to it, less what it gave back
    verdicts: Counter[Verdict] = field(default_factory=Counter)  # of results it brought, live ones included
    live: Counter[Verdict] = field(default_factory=Counter)  # of the attempts that still run
    retries: int = 0  # attempts of tests that had run before
    busy_seconds: float = 0.0
    current: TestId | None = None  # the test that finished last
    first_work: float | None = None
    last_end: float | None = None

    @property
    def done(self) -> int:
        return self.verdicts.total() + self.live.total()

    @property
    def usable(self) -> bool:
        return not self.lost and not self.quarantined and (self.checked is None or self.checked.healthy)

    @property
    def why_unusable(self) -> str:
        """Why it gets no work; empty when it is usable, or when nobody knows."""
        if self.quarantined or self.lost or self.checked is None or self.checked.healthy:
            return self.quarantined or self.lost
        return "; ".join(self.checked.problems)

    @property
    def word(self) -> str:
        """The one word for its condition."""
        if self.quarantined:
            return "quarantined"
        if self.lost:
            return "lost"
        if self.checked is not None and not self.checked.healthy:
            return "unhealthy"
        return "busy" if self.leases else "idle"


class RunState:
    """Everything known about a run; ask it, never keep counters beside it."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.started: RunStarted | None = None
        self.started_at = 0.0
        self.finished: RunFinished | None = None
        self.finished_at: float | None = None
        self.resumed: list[RunResumed] = []
        self.machines: dict[MachineName, MachineState] = {}
        self.constraints = Constraints()
        self.places: dict[str, MachineName] = {}  # where the tests of each place were sent last
        self.verdicts: Counter[Verdict] = Counter()
        self.retried: set[TestId] = set()
        self.reassigned: int = 0
        self.warnings: list[Warned] = []
        self.interrupted: int | None = None
        self.unknown_jobs: float | None = None  # when a controller began whose journal had lost leases: they may run on
        self.unattended = 0.0  # seconds without a controller, between one that died and the next
        self.seq = 0
        self.now = 0.0

    # -- questions --------------------------------------------------------------------------------------------------

    @property
    def epoch(self) -> str:
        """Of the controller that drives the run now, or did last."""
        return self.resumed[-1].epoch if self.resumed else ""

    @property
    def total(self) -> int:
        return len(self.ledger.records)

    @property
    def decided(self) -> int:
        return self.verdicts.total()

    @property
    def elapsed(self) -> float:
        """Seconds since the start, by the clock of the last event."""
        return max(0.0, (self.finished_at or self.now) - self.started_at)

    def remaining_seconds(self, now: float) -> float | None:
        """An estimate of the time left from what was expected; None when it would be a guess (under 10 % done).

        Live news of running attempts counts as done: a machine's first shard is large, and ends late.
        """
        told = {test for number in self.ledger.active for test in self.ledger.attempts[number].live}
        if self.started is None or not self.total or self.decided + len(told) < self.total / 10:
            return None
        expected = self.started.expected_seconds
        undecided = (t for t, record in self.ledger.records.items() if record.verdict is None and t not in told)
        left = sum(expected.get(t, 1.0) for t in undecided)
        whole = sum(expected.get(t, 1.0) for t in self.ledger.records)
        gone = max(0.0, now - self.started_at)
        return gone * left / max(whole - left, 1e-9) if whole > left else None

    # -- the fold ---------------------------------------------------------------------------------------------------

    def apply(self, stamped: Stamped) -> None:
        event, at = stamped.event, stamped.at
        if isinstance(event, RunResumed):
            self.unattended += max(0.0, at - self.now)
            self.unknown_jobs = at if event.last_lease > self.ledger.last_lease else self.unknown_jobs
        self.seq, self.now = stamped.seq, max(self.now, at)
        self._machine(event, at)  # looks at a lease before the ledger ends it
        self.ledger.apply(event, at)
        match event:
            case RunStarted():
                self.started, self.started_at = event, at
                self.machines = {spec.name: MachineState(spec) for spec in event.machines}
                real = [spec for spec in event.machines if spec.name != ANY_MACHINE]
                self.constraints = Constraints(event.groups, event.tests, real)
            case RunResumed():
                self.resumed.append(event)
                self.interrupted = None  # whoever resumes wants the rest
            case VerdictReached(verdict=verdict):
                self.verdicts[verdict] += 1
            case RetryScheduled(tests=tests, charged_to=Charge.TEST):
                self.retried.update(tests)
            case RetryScheduled(tests=tests, charged_to=Charge.MACHINE):
                self.reassigned += len(tests)
            case Interrupted(signal=signal):
                self.interrupted = signal
            case Warned():
                self.warnings.append(event)
            case RunFinished():
                self.finished, self.finished_at = event, at
            case _:
                pass

    def take_back_end(self) -> None:
        """The journal does not have it: nobody may be shown how the run ended."""
        self.finished = self.finished_at = None

    def _machine(self, event: Event, at: float) -> None:
        match event:
            case MachineChecked(machine=name):
                machine = self.machines[name]
                machine.checked = event
                if event.cores and not machine.spec.cores:
                    machine.spec = replace(machine.spec, cores=event.cores)
                if event.healthy:
                    machine.lost, machine.lost_at = "", None
            case MachineLost(machine=name, reason=reason):
                machine = self.machines[name]
                machine.lost, machine.lost_at, machine.losses = reason, at, machine.losses + 1
            case MachineQuarantined(machine=name, reason=reason):
                self.machines[name].quarantined = reason
            case MachineReleased(machine=name):
                self.machines[name].quarantined = ""
            case LeaseGranted() | AttemptStarted() | TestFinished() | AttemptFinished():
                self._work(event, at)
            case _:
                pass

    def _work(self, event: LeaseGranted | AttemptStarted | TestFinished | AttemptFinished, at: float) -> None:
        match event:
            case LeaseGranted(lease=lease):
                machine = self.machines[lease.machine]
                machine.leases[lease.number] = at
                machine.given += len(lease.shard.tests)
                machine.first_work = machine.first_work or at
                for place in {self.constraints.of(test).place for test in lease.shard.tests if self.constraints} - {""}:
                    self.places[place] = lease.machine
                if lease.shard.kind is ShardKind.RETRY:
                    machine.retries += len(lease.shard.tests)
            case AttemptStarted(lease=number):
                machine = self.machines[self.ledger.attempts[number].lease.machine]
                if number in machine.leases:
                    machine.leases[number] = at
            case TestFinished(lease=number, result=result):
                attempt = self.ledger.attempts[number]
                machine = self.machines[attempt.lease.machine]
                machine.current = result.test
                if number in machine.leases and result.test not in attempt.live:
                    machine.live[result.verdict] += 1
            case AttemptFinished():
                self._attempt_finished(event, at)

    def _attempt_finished(self, event: AttemptFinished, at: float) -> None:
        machine = self.machines[event.machine]
        begun = machine.leases.pop(event.lease, None)
        if begun is None:
            return
        machine.busy_seconds += max(0.0, at - begun)
        machine.last_end = at
        machine.live.subtract(result.verdict for result in self.ledger.attempts[event.lease].live.values())
        ran = [result for result in event.result.results if result.verdict is not Verdict.NOT_RUN]
        machine.verdicts.update(result.verdict for result in ran)
        machine.given -= len(self.ledger.attempts[event.lease].lease.shard.tests) - len(ran)
