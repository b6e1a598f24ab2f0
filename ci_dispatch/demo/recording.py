"""A made-up run over the reference fleet, for `ci-dispatch progress --demo`, pictures and tests.

198 tests in 48 shards, one a core, on four machines: one test fails for good, one is flaky, one machine is lost half
way and its tests move. The same seed gives the same run to the millisecond.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from random import Random

from ci_dispatch.core.errors import ExitCode
from ci_dispatch.core.events import (
    AttemptFinished,
    AttemptOutput,
    AttemptStarted,
    Event,
    LeaseGranted,
    MachineChecked,
    MachineLost,
    RetryScheduled,
    RunFinished,
    RunStarted,
    Stamped,
    TestFinished,
    VerdictReached,
)
from ci_dispatch.core.model import (
    AttemptResult,
    Charge,
    Connection,
    Ended,
    FailureCause,
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

FLEET = (
    MachineSpec(name=MachineName("local"), connection=Connection.LOCAL, cores=16, slots=16),
    MachineSpec(name=MachineName("moruk"), cores=24, slots=24, speed=0.8),
    MachineSpec(name=MachineName("ilko2"), cores=4, slots=4),
    MachineSpec(name=MachineName("pi"), cores=4, slots=4, speed=0.5),
)
_WHAT = {
    "cart": "applies a discount", "checkout": "pays with a card", "login": "remembers the customer",
    "search": "waits for the last key", "filters": "narrows by price", "product": "shows every picture",
    "account": "changes the address", "orders": "prints an invoice", "wishlist": "survives a reload",
    "voucher": "is used only once", "newsletter": "asks for consent", "help": "opens in the same tab",
}  # fmt: skip
_VARIANTS = ("at once", "after a reload", "with the keyboard", "for a guest", "in another currency", "offline")
_LOST, _LOST_AT = MachineName("ilko2"), 6.0  # its last event; it is noticed a little later
_NOTICED_AT = 8.0
_BACKOFF = 1.5  # seconds, doubled for the second retry: a demo is short
_MAX_RETRIES = 2
_PLANNED, _LOWER_BOUND = 18.0, 15.0  # seconds
_FAILS = TestId("desktop|cart.spec.ts|applies a discount after a reload")
_FLAKY = TestId("tablet|search.spec.ts|waits for the last key for a guest")
_SKIPPED = TestId("mobile|orders.spec.ts|prints an invoice for a guest")
_MESSAGE = "AssertionError: 10.80 € is not 12.00 €"
_DETAIL = f"{_MESSAGE}\n    at total (pages/cart.page.ts:31:18)\n    at e2e/cart.spec.ts:42:7"


def demo_events(start: float = 0.0, seed: int = 48) -> Iterator[Stamped]:
    """The events of the run in order, the first at `start`; whoever plays them waits between their times."""
    seq = 0
    for at, event in _Recording(Random(seed)).events():
        if not isinstance(event, AttemptOutput):
            seq += 1
        yield Stamped(seq=seq, at=round(start + at, 3), event=event)


def _tests() -> Iterator[Test]:
    for number, (feature, what) in enumerate(_WHAT.items()):
        for variant in _VARIANTS[: 6 if number % 2 == 0 else 5]:
            for project in ("desktop", "mobile", "tablet"):
                file, title = f"{feature}.spec.ts", f"{what} {variant}"
                name = f"{project}|{file}|{title}"
                yield Test(id=TestId(name), unit=UnitId(name), project=project, file=file, title=(title,))


@dataclass(order=True)
class _Due:
    """A shard, and when a machine gets it."""

    at: float
    order: int
    kind: ShardKind = field(compare=False)
    tests: tuple[TestId, ...] = field(compare=False)
    machine: MachineName = field(compare=False)


class _Recording:
    """Grants one shard a core, then what was lost or has failed; every other core is free by then."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._tests = tuple(_tests())
        self._seconds = {test.id: random.uniform(0.6, 2.8) for test in self._tests}
        self._events: list[tuple[float, int, Event]] = []
        self._order = count()
        self._due: list[_Due] = []
        self._failures: dict[TestId, int] = {}

    def events(self) -> Iterator[tuple[float, Event]]:
        self._add(0.0, RunStarted(
            run=RunId("demo"), title="shop e2e", runner="playwright", tests=self._tests, machines=FLEET,
            expected_seconds={str(test): seconds for test, seconds in self._seconds.items()},
            planned=_PLANNED, lower_bound=_LOWER_BOUND,
        ))  # fmt: skip
        for spec in FLEET:
            self._add(0.05, MachineChecked(machine=spec.name, healthy=True, reachable=True, cores=spec.cores))
        self._grant_all()
        number = count(1)
        while self._due:
            self._attempt(heapq.heappop(self._due), LeaseNumber(next(number)))
        self._add(_NOTICED_AT, MachineLost(machine=_LOST, reason="no heartbeat for 2 s"), first=True)
        end = max(at for at, _, _ in self._events) + 0.1
        makespan = Makespan(planned=_PLANNED, realised=end, lower_bound=_LOWER_BOUND)
        self._add(end, RunFinished(exit_code=ExitCode.TESTS_FAILED, makespan=makespan))
        yield from ((at, event) for at, _, event in sorted(self._events, key=lambda item: item[:2]))

    def _add(self, at: float, event: Event, *, first: bool = False) -> None:
        self._events.append((at, -1 if first else next(self._order), event))

    def _grant(self, at: float, kind: ShardKind, tests: tuple[TestId, ...], machine: MachineName) -> None:
        heapq.heappush(self._due, _Due(at, next(self._order), kind, tests, machine))

    def _grant_all(self) -> None:
        cores = [spec.name for spec in FLEET for _ in range(spec.cores)]
        for number, machine in enumerate(cores):
            begin, end = (len(self._tests) * n // len(cores) for n in (number, number + 1))
            self._grant(0.1, ShardKind.HEAD, tuple(test.id for test in self._tests[begin:end]), machine)

    def _attempt(self, due: _Due, lease: LeaseNumber) -> None:
        shard = Shard(id=ShardId(f"{due.kind}-{lease}"), kind=due.kind, tests=due.tests)
        granted = Lease(number=lease, shard=shard, machine=due.machine, granted=due.at)
        self._add(due.at, LeaseGranted(lease=granted))
        at = due.at + self._random.uniform(0.3, 0.9)
        self._add(at, AttemptStarted(lease=lease))
        speed = next(spec.speed for spec in FLEET if spec.name == due.machine)
        results: list[TestResult] = []
        for test in due.tests:
            took = self._seconds[test] / speed
            at += took
            if due.machine == _LOST and at > _LOST_AT:
                self._lost(granted, results)
                return
            results.append(self._result(test, took))
            sign = "✘" if results[-1].verdict is Verdict.FAILED else "✓"
            name = test.replace("|", " › ")
            self._add(at, AttemptOutput(lease=lease, machine=due.machine, text=f"  {sign}  {name} ({took:.1f}s)\n"))
            self._add(at, TestFinished(lease=lease, result=results[-1]))
        self._ended(at + 0.2, granted, results)

    def _result(self, test: TestId, took: float) -> TestResult:
        if test == _SKIPPED:
            return TestResult(test=test, verdict=Verdict.SKIPPED, reason="needs a printer")
        if test == _FAILS or (test == _FLAKY and test not in self._failures):
            self._failures[test] = self._failures.get(test, 0) + 1
            return TestResult(test=test, verdict=Verdict.FAILED, seconds=took, message=_MESSAGE, detail=_DETAIL)
        return TestResult(test=test, verdict=Verdict.PASSED, seconds=took)

    def _ended(self, at: float, lease: Lease, results: list[TestResult]) -> None:
        end = AttemptResult(ended=Ended.EXITED, exit_code=0, seconds=at - lease.granted, results=tuple(results))
        self._add(at, AttemptFinished(lease=lease.number, machine=lease.machine, result=end))
        self._settle(at, lease, results)

    def _lost(self, lease: Lease, results: list[TestResult]) -> None:
        done = {result.test for result in results}
        rest = tuple(test for test in lease.shard.tests if test not in done)
        absent = [TestResult(test=test, verdict=Verdict.NOT_RUN, reason="the machine was lost") for test in rest]
        end = AttemptResult(
            ended=Ended.LOST, cause=FailureCause.MACHINE, reason="no heartbeat for 2 s", results=(*results, *absent)
        )
        self._add(_NOTICED_AT, AttemptFinished(lease=lease.number, machine=lease.machine, result=end))
        self._settle(_NOTICED_AT, lease, results)
        again = RetryScheduled(tests=rest, reason=f"{_LOST} was lost", not_before=_NOTICED_AT, avoid_machine=_LOST)
        self._add(_NOTICED_AT, again)
        self._grant(_NOTICED_AT + 1.0, ShardKind.REASSIGNED, rest, MachineName("local"))

    def _settle(self, at: float, lease: Lease, results: list[TestResult]) -> None:
        for result in results:
            failures = self._failures.get(result.test, 0)
            if result.verdict is Verdict.FAILED and failures <= _MAX_RETRIES:
                due = at + _BACKOFF * 2 ** (failures - 1)
                again = RetryScheduled(tests=(result.test,), reason="failed", not_before=due, charged_to=Charge.TEST)
                self._add(at, again)
                self._grant(due, ShardKind.RETRY, (result.test,), MachineName("moruk"))
                continue
            verdict = Verdict.FLAKY if failures and result.verdict is Verdict.PASSED else result.verdict
            self._add(at, VerdictReached(test=result.test, verdict=verdict, lease=lease.number))
