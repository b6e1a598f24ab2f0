"""The one truth about a run: which tests are expected, who holds a lease on them, what each attempt said, each verdict.

The ledger changes only by events (`apply`), so a replayed journal gives the same ledger; it decides nothing but who may
still be believed: a result under a lease that has ended is evidence and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ci_dispatch.core.events import (
    AttemptFinished,
    AttemptStarted,
    Event,
    LeaseGranted,
    RetryScheduled,
    RunResumed,
    RunStarted,
    TestFinished,
    VerdictReached,
)
from ci_dispatch.core.model import (
    AttemptResult,
    Charge,
    Ended,
    Lease,
    LeaseNumber,
    MachineName,
    ShardKind,
    Test,
    TestId,
    TestResult,
    UnlistedResult,
    Verdict,
)


@dataclass(slots=True)
class AttemptRecord:
    """One execution of one shard on one machine, from its lease to its end."""

    lease: Lease
    started: float | None = None
    ended: float | None = None
    result: AttemptResult | None = None
    stale: bool = False  # a second end was told after its lease had ended; `result` is the first
    live: dict[TestId, TestResult] = field(default_factory=dict)


@dataclass(slots=True)
class TestRecord:
    """What is known about one expected test."""

    __test__ = False  # for pytest: this is not a test class

    test: Test
    verdict: Verdict | None = None
    reason: str = ""
    lease: LeaseNumber | None = None  # the active one
    copy: LeaseNumber | None = None  # the one besides, under which it runs a second time
    copied: bool = False  # never again
    history: list[tuple[LeaseNumber, MachineName, TestResult]] = field(default_factory=list)
    retries: int = 0  # of its own: after it failed
    reassignments: int = 0  # because of machines
    takeovers: int = 0  # by an idle machine, before it had begun or an end
    crashes: int = 0  # runners that died while it ran
    losses: int = 0  # machines that were lost while it ran
    not_before: float = 0.0
    avoid_machine: MachineName | None = None
    isolate: bool = False
    unlisted: bool = False  # no listing named it: it ran unasked, and failed

    @property
    def failures(self) -> int:
        return sum(1 for _, _, result in self.history if result.verdict is Verdict.FAILED)


class Ledger:
    """Expected tests, leases, attempts, verdicts."""

    def __init__(self) -> None:
        self.records: dict[TestId, TestRecord] = {}
        self.attempts: dict[LeaseNumber, AttemptRecord] = {}
        self.active: dict[LeaseNumber, Lease] = {}
        self.pending: dict[TestId, None] = {}  # an ordered set
        self.undecided = 0
        self.last_lease = LeaseNumber(0)

    # -- questions --------------------------------------------------------------------------------------------------

    def of_machine(self, machine: MachineName) -> list[Lease]:
        return [lease for lease in self.active.values() if lease.machine == machine]

    def held(self, number: LeaseNumber) -> tuple[TestId, ...]:
        """The tests of a lease that its end decides: all but those that their other execution has decided."""
        tests = self.attempts[number].lease.shard.tests
        return tuple(test for test in tests if number in (self.records[test].lease, self.records[test].copy))

    def ready(self, now: float) -> list[TestRecord]:
        """Pending tests whose backoff is over."""
        return [record for test in self.pending if (record := self.records[test]).not_before <= now]

    def tests(self, ids: Iterable[TestId]) -> tuple[Test, ...]:
        return tuple(self.records[test].test for test in ids)

    @property
    def complete(self) -> bool:
        """Every expected test has exactly one verdict, and it is not that it never ran."""
        return bool(self.records) and all(
            record.verdict is not None and record.verdict is not Verdict.NOT_RUN for record in self.records.values()
        )

    # -- the fold ---------------------------------------------------------------------------------------------------

    def apply(self, event: Event, at: float) -> None:
        match event:
            case RunStarted():
                self.records = {test.id: TestRecord(test) for test in event.tests}
                self.pending = dict.fromkeys(self.records)
                self.undecided = len(self.records)
            case RunResumed(last_lease=number):
                self.last_lease = max(self.last_lease, number)
            case LeaseGranted(lease=lease):
                self._grant(lease)
            case AttemptStarted(lease=number):
                self.attempts[number].started = at
            case TestFinished(lease=number, result=result):
                self.attempts[number].live[result.test] = result
            case AttemptFinished():
                self._finish(event, at)
            case RetryScheduled():
                self._retry(event)
            case VerdictReached(test=test, verdict=verdict, reason=reason):
                self._decide(test, verdict, reason)
            case _:
                pass

    def _grant(self, lease: Lease) -> None:
        if lease.number <= self.last_lease:
            raise ValueError(f"lease {lease.number} after lease {self.last_lease}: numbers only grow")
        self.last_lease = lease.number
        self.active[lease.number] = lease
        self.attempts[lease.number] = AttemptRecord(lease)
        for test in lease.shard.tests:
            record = self.records[test]
            if lease.shard.kind is ShardKind.COPY:
                self._copy(record, lease)
                continue
            if record.lease is not None or record.verdict is not None:
                raise ValueError(f"{test} is already leased or decided: it cannot be handed out again")
            record.lease = lease.number
            self.pending.pop(test, None)

    def _copy(self, record: TestRecord, lease: Lease) -> None:
        if record.lease is None or record.copied or record.verdict is not None:
            raise ValueError(f"{record.test.id} does not run, or was copied before: it cannot be run a second time")
        record.copy, record.copied = lease.number, True

    def _finish(self, event: AttemptFinished, at: float) -> None:
        attempt = self.attempts[event.lease]
        self._suspect(event.result)  # evidence counts, also when it comes late
        if self.active.pop(event.lease, None) is None:
            attempt.stale = True
            return
        attempt.result, attempt.ended = event.result, at
        told = {result.test: result for result in event.result.results if result.verdict is not Verdict.NOT_RUN}
        for test in self.held(event.lease):
            record = self.records[test]
            if test in told:
                record.history.append((event.lease, event.machine, told[test]))
                record.lease = record.copy = None  # the first result wins
            else:  # what runs a second time goes on
                record.lease, record.copy = (record.lease if record.copy == event.lease else record.copy), None
        for other in event.result.unlisted:
            if not any(name in self.records for name in (other.test.id, *other.names)):
                self._take_in(other, event)

    def _take_in(self, other: UnlistedResult, event: AttemptFinished) -> None:
        """A failure of a test that no listing named: from now on it is one of the run's, and no green run has it."""
        history = [(event.lease, event.machine, other.result)]
        self.records[other.test.id] = TestRecord(other.test, history=history, unlisted=True)
        self.undecided += 1

    def _suspect(self, result: AttemptResult) -> None:
        for test in result.suspects:
            if result.ended in (Ended.LOST, Ended.LEASE_ENDED):
                self.records[test].losses += 1
            elif result.ended is not Ended.CANCELLED:
                self.records[test].crashes += 1

    def _retry(self, event: RetryScheduled) -> None:
        for test in event.tests:
            record = self.records[test]
            record.not_before, record.avoid_machine, record.isolate = (
                event.not_before,
                event.avoid_machine,
                record.isolate or event.isolate,
            )
            match event.charged_to:
                case Charge.TEST:
                    record.retries += 1
                case Charge.MACHINE:
                    record.reassignments += 1
                case Charge.NOBODY:
                    record.takeovers += 1
            self.pending[test] = None

    def _decide(self, test: TestId, verdict: Verdict, reason: str) -> None:
        record = self.records[test]
        if record.verdict is not None:
            raise ValueError(f"{test} has a verdict already: {record.verdict}; a second one was {verdict}")
        record.verdict, record.reason = verdict, reason
        self.pending.pop(test, None)
        self.undecided -= 1
