"""The progress display for programs of your own: five calls, the same bars as `ci-dispatch run`.

tracker = ProgressTracker(["local", "moruk"], total=40)
tracker.start()
tracker.init_machine("local", range(1, 17))
tracker.update_shard("local", 1, "passed")
tracker.stop()
print(tracker.stats().failed)
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from threading import Event as Flag
from threading import RLock, Thread
from types import TracebackType
from typing import Self, TextIO

from ci_dispatch.core.errors import ExitCode
from ci_dispatch.core.events import (
    AttemptFinished,
    AttemptStarted,
    Event,
    LeaseGranted,
    RetryScheduled,
    RunFinished,
    RunStarted,
    Stamped,
    VerdictReached,
)
from ci_dispatch.core.model import (
    AttemptResult,
    Charge,
    Ended,
    Lease,
    LeaseNumber,
    MachineName,
    MachineSpec,
    Makespan,
    RunId,
    Shard,
    ShardId,
    ShardKind,
    Test,
    TestId,
    TestResult,
    UnitId,
    Verdict,
)
from ci_dispatch.reporters.counts import run_counts
from ci_dispatch.reporters.terminal import progress
from ci_dispatch.reporters.terminal.reporter import REFRESH
from ci_dispatch.run.event_bus import EventBus
from ci_dispatch.run.ledger import TestRecord
from ci_dispatch.run.ports import Clock
from ci_dispatch.run.state import RunState
from report_merge.render.wording import count, duration

_STATUSES = ("running", "retrying", "passed", "failed", "flaky", "skipped")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Where things stand. `machines`: shards done and shards given, by name."""

    total: int
    completed: int
    passed: int
    failed: int
    flaky: int
    skipped: int
    percent: int
    elapsed: float  # seconds
    machines: dict[str, tuple[int, int]] = field(default_factory=dict)


class _SystemClock:
    def now(self) -> float:
        return time.time()


class ProgressTracker:
    """Shows the progress of shards 1 to `total` on machines, redrawn every 500 ms; usable from several threads.

    `progress` is auto, live, plain, json or none; the stream is standard output unless given. A wrong name, number or
    word raises ValueError and changes nothing. As a context manager it starts and stops itself.
    """

    def __init__(
        self,
        machines: Sequence[str],
        total: int,
        *,
        progress: str = "auto",
        stream: TextIO | None = None,
        clock: Clock | None = None,
    ) -> None:
        if total < 1 or not machines:
            raise ValueError(f"{total} shards on {len(machines)} machines: at least one of each is needed")
        self._clock = clock or _SystemClock()
        self._progress = progress
        self._stream = stream
        self._state = RunState()
        self._bus = EventBus(self._state, self._clock, [])
        self._shards = _ShardEvents(self._state, self._publish, self._clock.now)
        self._lock = RLock()
        self._over = Flag()
        self._ticker = Thread(target=self._tick, name="progress", daemon=True)
        self._started = RunStarted(
            run=RunId("progress"),
            title="progress",
            runner="",
            tests=tuple(_shard_as_test(number) for number in range(1, total + 1)),
            machines=tuple(MachineSpec(name=MachineName(name)) for name in machines),
        )

    def start(self) -> None:
        """Begin to show; the clock starts here."""
        if self._state.started is not None:
            raise ValueError("the tracker was started before; make a new one")
        self._state.apply(Stamped(seq=1, at=self._clock.now(), event=self._started))
        stream = self._stream or sys.stdout
        reporter = progress(self._progress, stdout=stream, stderr=sys.stderr, environ=os.environ, final=_last_line)
        self._bus = EventBus(self._state, self._clock, [reporter])
        self._ticker.start()

    def init_machine(self, machine: str, shards: Iterable[int | str]) -> None:
        """Assign shards to a machine."""
        with self._lock:
            name = self._shards.machine(machine)
            records = [self._shards.record(shard) for shard in shards]
            if taken := [record for record in records if record.lease is not None or record.verdict is not None]:
                raise ValueError(f"{taken[0].test.name} has been given to a machine before")
            for test in dict.fromkeys(record.test.id for record in records):
                self._shards.grant(test, name)

    def update_shard(self, machine: str, shard: int | str, status: str, message: str = "") -> None:
        """A shard is now running, retrying (it failed and will run again), passed, failed, flaky or skipped.

        A shard that passes after `retrying` is flaky. One that another machine holds has moved here. The same
        final status twice is ignored, a different one is refused.
        """
        with self._lock:
            self._shards.update(self._shards.machine(machine), self._shards.record(shard), status, message)

    def stop(self) -> None:
        """Show the last bars and the result. Shards without a verdict make it INCOMPLETE. Stopped twice is stopped."""
        if self._over.is_set() or self._state.started is None:
            return
        self._over.set()
        self._ticker.join(5.0)
        with self._lock:
            took = Makespan(planned=0.0, realised=self._clock.now() - self._state.started_at, lower_bound=0.0)
            failed = self._state.verdicts[Verdict.FAILED]
            code = ExitCode.TESTS_FAILED if failed else ExitCode.PASSED
            code = ExitCode.INCOMPLETE if self._state.ledger.undecided else code
            self._bus.publish(RunFinished(exit_code=code, makespan=took))
            self._bus.close()

    def stats(self) -> Stats:
        """The numbers, at any time, also after the stop."""
        with self._lock:
            counts, state = run_counts(self._state), self._state
            end = state.finished_at if state.finished_at is not None else self._clock.now()
            return Stats(
                total=len(self._started.tests),
                completed=counts.done - counts.retrying,
                passed=counts.passed,
                failed=counts.failed - counts.retrying,
                flaky=counts.flaky,
                skipped=counts.skipped,
                percent=counts.percent,
                elapsed=end - state.started_at if state.started else 0.0,
                machines={str(name): (m.done, m.given) for name, m in state.machines.items()},
            )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _publish(self, event: Event) -> None:
        self._bus.publish(event)

    def _tick(self) -> None:
        while not self._over.wait(REFRESH):
            with self._lock:
                self._bus.tick(self._clock.now())


def _shard_as_test(number: int) -> Test:
    return Test(id=TestId(str(number)), unit=UnitId(str(number)), title=(f"shard {number}",))


def _last_line(state: RunState) -> list[str]:
    counts = run_counts(state)
    failed, done = counts.failed - counts.retrying, counts.done - counts.retrying
    word = "INCOMPLETE" if done < counts.total else "FAILED" if failed else "PASSED"
    numbers = (
        f"{counts.passed} passed, {failed} failed, {counts.flaky} flaky, {counts.skipped} skipped, "
        f"{counts.total - done} not run"
    )
    where = f"{count(len(state.machines), 'machine')}; {duration(state.elapsed)}"
    return [f"ci-dispatch: {word} {count(counts.total, 'shard')}: {numbers}; {where}"]


class _ShardEvents:
    """Publishes the events that an engine would: each shard is one test of the run `state`, named by its number.

    Wrong names, numbers and words raise ValueError.
    """

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

    def record(self, shard: int | str) -> TestRecord:
        record = self.state.ledger.records.get(TestId(str(shard)))
        if record is None:
            raise ValueError(f"there is no shard {shard!r}: they are numbered 1 to {len(self.state.ledger.records)}")
        return record

    def grant(self, test: TestId, machine: MachineName) -> LeaseNumber:
        number, now = LeaseNumber(self.state.ledger.last_lease + 1), self._now()
        kind = ShardKind.RETRY if self.state.ledger.records[test].retries else ShardKind.HEAD
        shard = Shard(id=ShardId(test), kind=kind, tests=(test,))
        self._publish(LeaseGranted(lease=Lease(number=number, shard=shard, machine=machine, granted=now)))
        return number

    def _lease_on(self, machine: MachineName, record: TestRecord) -> LeaseNumber:
        """The lease of a shard on this machine; from wherever it was, it moves here."""
        test = record.test.id
        if record.lease is None:
            return self.grant(test, machine)
        held = self.state.ledger.active[record.lease]
        if held.machine == machine:
            return held.number
        moved = TestResult(test=test, verdict=Verdict.NOT_RUN, reason=f"moved to {machine}")
        end = AttemptResult(ended=Ended.CANCELLED, results=(moved,))
        self._publish(AttemptFinished(lease=held.number, machine=held.machine, result=end))
        self._publish(RetryScheduled(tests=(test,), reason=moved.reason, not_before=self._now()))
        return self.grant(test, machine)

    def update(self, machine: MachineName, record: TestRecord, status: str, message: str) -> None:
        """The new status of a shard. The same final status twice is ignored, a different one is refused."""
        if status not in _STATUSES:
            raise ValueError(f"{status!r} is not a status of a shard; known: {', '.join(_STATUSES)}")
        if record.verdict is not None:
            if status not in (record.verdict, Verdict.PASSED if record.verdict is Verdict.FLAKY else None):
                raise ValueError(f"{record.test.name} has its verdict: {record.verdict}; {status} comes too late")
            return
        lease = self._lease_on(machine, record)
        begun = self.state.ledger.attempts[lease].started
        if begun is None:
            self._publish(AttemptStarted(lease=lease))
        if status != "running":
            took = None if begun is None else self._now() - begun  # unknown when it was never reported as running
            self._finish(lease, record, status, message, took)

    def _finish(self, lease: LeaseNumber, record: TestRecord, status: str, message: str, took: float | None) -> None:
        test, machine = record.test.id, self.state.ledger.active[lease].machine
        verdict = Verdict.FAILED if status == "retrying" else Verdict(status)
        result = TestResult(test=test, verdict=verdict, seconds=took, message=message)
        flaky = verdict is Verdict.PASSED and record.failures > 0
        end = AttemptResult(ended=Ended.EXITED, results=(result,))
        self._publish(AttemptFinished(lease=lease, machine=machine, result=end))
        if status == "retrying":
            again = RetryScheduled(tests=(test,), reason="failed", not_before=self._now(), charged_to=Charge.TEST)
            self._publish(again)
        else:
            self._publish(VerdictReached(test=test, verdict=Verdict.FLAKY if flaky else verdict, lease=lease))
