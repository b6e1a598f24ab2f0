"""Shards as a run: turns what a `ProgressTracker` is told into the same events an engine would publish."""

from __future__ import annotations

from collections.abc import Callable

from ci_dispatch.core.events import (
    AttemptFinished,
    AttemptStarted,
    Event,
    LeaseGranted,
    RetryScheduled,
    VerdictReached,
)
from ci_dispatch.core.model import (
    AttemptResult,
    Charge,
    Ended,
    Lease,
    LeaseNumber,
    MachineName,
    Shard,
    ShardId,
    ShardKind,
    TestId,
    TestResult,
    Verdict,
)
from ci_dispatch.run.ledger import TestRecord
from ci_dispatch.run.state import RunState

STATUSES = ("running", "retrying", "passed", "failed", "flaky", "skipped")


class ShardRun:
    """Each shard is one test of the run `state`, named by its number. Wrong names, numbers, words raise ValueError."""

    def __init__(self, state: RunState, publish: Callable[[Event], None], now: Callable[[], float]) -> None:
        self.state = state
        self._publish = publish
        self._now = now

    def machine(self, name: str) -> MachineName:
        if self.state.started is None or self.state.finished is not None:
            raise ValueError("the tracker is not running: call start() first")
        if name not in self.state.machines:
            raise ValueError(f"no machine is called {name!r}; known: {', '.join(self.state.machines)}")
        return MachineName(name)

    def entry(self, shard: int | str) -> TestRecord:
        entry = self.state.ledger.records.get(TestId(str(shard)))
        if entry is None:
            raise ValueError(f"there is no shard {shard!r}: they are numbered 1 to {len(self.state.ledger.records)}")
        return entry

    def grant(self, test: TestId, machine: MachineName) -> LeaseNumber:
        number, now = LeaseNumber(self.state.ledger.last_lease + 1), self._now()
        kind = ShardKind.RETRY if self.state.ledger.records[test].retries else ShardKind.HEAD
        shard = Shard(id=ShardId(test), kind=kind, tests=(test,))
        self._publish(LeaseGranted(lease=Lease(number=number, shard=shard, machine=machine, granted=now)))
        return number

    def _lease_on(self, machine: MachineName, entry: TestRecord) -> LeaseNumber:
        """The lease of a shard on this machine; from wherever it was, it moves here."""
        test = entry.test.id
        if entry.lease is None:
            return self.grant(test, machine)
        held = self.state.ledger.active[entry.lease]
        if held.machine == machine:
            return held.number
        gone = TestResult(test=test, verdict=Verdict.NOT_RUN, reason=f"moved to {machine}")
        end = AttemptResult(ended=Ended.CANCELLED, results=(gone,))
        self._publish(AttemptFinished(lease=held.number, machine=held.machine, result=end))
        self._publish(RetryScheduled(tests=(test,), reason=gone.reason, not_before=self._now()))
        return self.grant(test, machine)

    def update(self, machine: MachineName, entry: TestRecord, status: str, message: str) -> None:
        """What became of a shard. The same last word twice is ignored, a different one is refused."""
        if status not in STATUSES:
            raise ValueError(f"{status!r} is not a status of a shard; known: {', '.join(STATUSES)}")
        if entry.verdict is not None:
            if status not in (entry.verdict, Verdict.PASSED if entry.verdict is Verdict.FLAKY else None):
                raise ValueError(f"{entry.test.name} has its verdict: {entry.verdict}; {status} comes too late")
            return
        lease = self._lease_on(machine, entry)
        begun = self.state.ledger.attempts[lease].started
        if begun is None:
            self._publish(AttemptStarted(lease=lease))
        if status != "running":
            took = None if begun is None else self._now() - begun  # unknown when nobody said it was running
            self._finish(lease, entry, status, message, took)

    def _finish(self, lease: LeaseNumber, entry: TestRecord, status: str, message: str, took: float | None) -> None:
        test, machine = entry.test.id, self.state.ledger.active[lease].machine
        verdict = Verdict.FAILED if status == "retrying" else Verdict(status)
        result = TestResult(test=test, verdict=verdict, seconds=took, message=message)
        flaky = verdict is Verdict.PASSED and entry.failures > 0
        end = AttemptResult(ended=Ended.EXITED, results=(result,))
        self._publish(AttemptFinished(lease=lease, machine=machine, result=end))
        if status == "retrying":
            again = RetryScheduled(tests=(test,), reason="failed", not_before=self._now(), charged_to=Charge.TEST)
            self._publish(again)
        else:
            self._publish(VerdictReached(test=test, verdict=Verdict.FLAKY if flaky else verdict, lease=lease))
