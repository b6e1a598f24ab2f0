"""Runs that were never run, for the dashboard's tests, pictures and benchmark: the same arguments, the same events.

    python -m tests.data.dashboard.simulated > events.jsonl

A machine works off a head and then pulls tails; one is lost half way and its tests move, one is quarantined because it
has no browser, some tests fail for three causes, some are flaky, one never ran.
"""

from __future__ import annotations

import heapq
import itertools
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

from ci_dispatch.core.events import (
    AttemptFinished,
    AttemptOutput,
    AttemptStarted,
    Event,
    LeaseGranted,
    MachineChecked,
    MachineLost,
    MachineQuarantined,
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
from ci_dispatch.run.journal import dumps

START = 1_763_700_000.0
FLEET = (
    ("local", 16, 1.0),
    ("moruk", 24, 0.8),
    ("ilko2", 4, 1.0),
    ("pi", 4, 0.5),
    ("pakane", 8, 1.0),
    ("vihma", 8, 0.9),
)
PAGES = ("cart", "checkout", "search", "account", "catalogue", "product", "voucher", "prices", "layout", "titles")
DEEDS = (
    "applies a discount", "shows the total in the right currency", "keeps its state after a reload",
    "debounces what is typed", "refuses an empty address", "works with the keyboard alone", "remembers the last choice",
    "shows a message when the server is slow", "has no broken images", "is readable at 200 %",
)  # fmt: skip
PROJECTS = ("desktop", "mobile", "tablet")
PRICE = (
    "Error: expect(locator).toHaveText(expected)",
    (
        "Error: expect(locator).toHaveText(expected) failed\n\nLocator:  getByTestId('total')\nExpected: \"€ 90.00\"\n"
        'Received: "€ 100.00"\nTimeout:  5000ms\n\n    at applyDiscount (tests/cart.spec.ts:41:38)\n'
    ),
)
DOWN = (
    "Error: page.goto: net::ERR_CONNECTION_REFUSED at http://localhost:4173/checkout",
    (
        "Error: page.goto: net::ERR_CONNECTION_REFUSED at http://localhost:4173/checkout\n"
        "    at tests/checkout.spec.ts:12:14\n"
    ),
)
BROWSER = (
    "Error: browserType.launch: Executable doesn't exist at /home/pi/.cache/ms-playwright/chromium",
    (
        "Error: browserType.launch: Executable doesn't exist\nLooks like Playwright was just installed or updated.\n"
        "Please run: npx playwright install\n"
    ),
)
TIMEOUT = (
    "Test timeout of 5000ms exceeded.",
    (
        "Test timeout of 5000ms exceeded.\n\nError: locator.click: Test timeout of 5000ms exceeded.\n"
        "    at tests/search.spec.ts:77:20\n"
    ),
)


@dataclass(slots=True)
class Worker:
    spec: MachineSpec
    free: float = 0.0
    gone: bool = False
    work: deque[tuple[ShardKind, list[TestId]]] = field(default_factory=deque)


class Simulation:
    """`lost` and `quarantined` name machines; `failing` and `flaky` are shares of all tests."""

    def __init__(
        self,
        *,
        tests: int = 720,
        fleet: Sequence[tuple[str, int, float]] = FLEET,
        lost: str = "pakane",
        quarantined: str = "pi",
        failing: float = 0.01,
        flaky: float = 0.01,
        start: float = START,
        seed: int = 10,
        titles: Sequence[str] = (),
    ) -> None:
        self._random = Random(seed)
        self._start, self._lost, self._quarantined = start, lost, quarantined
        self._titles = titles
        self.tests = [self._test(n) for n in range(tests)]
        self._seconds = {test.id: self._random.lognormvariate(1.3, 0.6) + 0.3 for test in self.tests}
        self._broken = {
            test.id: cause
            for test in self.tests
            if (cause := self._cause(test)) is not None and self._random.random() < failing * 5
        }
        self._flaky = {test.id for test in self.tests if test.id not in self._broken and self._random.random() < flaky}
        self._workers = [
            Worker(MachineSpec(name=MachineName(name), cores=cores, speed=speed)) for name, cores, speed in fleet
        ]
        self._events: list[tuple[float, int, Event]] = []
        self._order = itertools.count()
        self._lease = itertools.count(1)
        self._tries: dict[TestId, int] = {}
        self._queue: deque[tuple[float, ShardKind, list[TestId]]] = deque()

    def _test(self, n: int) -> Test:
        page, deed = PAGES[n // len(DEEDS) % len(PAGES)], DEEDS[n % len(DEEDS)]
        project = PROJECTS[n // (len(PAGES) * len(DEEDS)) % len(PROJECTS)]
        serial = n // (len(PAGES) * len(DEEDS) * len(PROJECTS))
        title = self._titles[n] if n < len(self._titles) else f"{deed} ({serial})" if serial else deed
        name = TestId(f"{project}/{page}/{n}")
        return Test(
            id=name, unit=UnitId(name), project=project, file=f"tests/{page}.spec.ts", title=(page, title),
            line=10 + 7 * (n % len(DEEDS)), runner_id=f"tests/{page}.spec.ts::{n}",
        )  # fmt: skip

    def _cause(self, test: Test) -> tuple[str, str] | None:
        causes = {"tests/cart.spec.ts": PRICE, "tests/checkout.spec.ts": DOWN, "tests/search.spec.ts": TIMEOUT}
        return causes.get(test.file)

    def _say(self, at: float, event: Event) -> None:
        heapq.heappush(self._events, (at, next(self._order), event))

    def events(self) -> Iterator[Stamped]:
        """Every event in order, output included."""
        self._play()
        seq = 0
        while self._events:
            at, _, event = heapq.heappop(self._events)
            seq += 0 if isinstance(event, AttemptOutput) else 1
            yield Stamped(seq=seq, at=round(self._start + at, 3), event=event)

    def _play(self) -> None:
        total_power = sum(worker.spec.power for worker in self._workers)
        bound = sum(self._seconds.values()) / total_power
        self._say(0.0, RunStarted(
            run=RunId("20261120-184512-shop"), title="shop end to end", runner="playwright", tests=tuple(self.tests),
            machines=tuple(worker.spec for worker in self._workers), planned=bound * 1.6, lower_bound=bound,
            expected_seconds={test: round(seconds, 2) for test, seconds in self._seconds.items()},
        ))  # fmt: skip
        left = deque(test.id for test in self.tests)
        for each in self._workers:
            at = 0.2 + self._random.random()
            each.free = at + 0.6
            text = f"disk 41 % free, memory 37 % used, load {self._random.random() * 4:.1f}"
            self._say(at, MachineChecked(
                machine=each.spec.name, healthy=True, reachable=True, cores=each.spec.cores, seconds=0.2, text=text
            ))  # fmt: skip
            share = max(1, int(0.88 * len(self.tests) * each.spec.power / total_power))
            each.work.append((ShardKind.HEAD, [left.popleft() for _ in range(min(share, len(left)))]))
        while left:
            size = max(16, len(left) // (2 * len(self._workers)))
            self._queue.append((0.0, ShardKind.TAIL, [left.popleft() for _ in range(min(size, len(left)))]))
        end = bound
        while (worker := self._next()) is not None:
            kind, tests = worker.work.popleft()
            end = max(end, self._attempt(worker, kind, tests, bound))
        makespan = Makespan(planned=bound * 1.6, realised=end, lower_bound=bound)
        self._say(end + 0.5, RunFinished(exit_code=1, makespan=makespan))

    def _next(self) -> Worker | None:
        """The machine that is free first, with work given to it."""
        for worker in sorted((w for w in self._workers if not w.gone), key=lambda w: w.free):
            if not worker.work and self._queue:
                ready = min(self._queue, key=lambda item: item[0])
                self._queue.remove(ready)
                worker.free = max(worker.free + 0.1, ready[0])
                worker.work.append((ready[1], ready[2]))
            if worker.work:
                return worker
        return None

    def _attempt(self, worker: Worker, kind: ShardKind, tests: list[TestId], bound: float) -> float:
        name, began = worker.spec.name, worker.free
        lease = LeaseNumber(next(self._lease))
        shard = Shard(id=ShardId(f"s{lease}"), kind=kind, tests=tuple(tests))
        self._say(began, LeaseGranted(
            lease=Lease(number=lease, shard=shard, machine=name, granted=self._start + began)
        ))  # fmt: skip
        self._say(began + 0.4, AttemptStarted(lease=lease))
        dies = bound * 0.6 if name == self._lost else float("inf")
        pool = [began + 0.4 + 0.9] * max(1, worker.spec.cores)
        results, end = [], began + 1.0
        for test in tests:
            at = heapq.heappop(pool)
            result = self._result(test, worker)
            until = at + (result.seconds or 0.0)
            heapq.heappush(pool, until)
            if until < dies:
                results.append(result)
                self._say(until, AttemptOutput(lease=lease, machine=name, text=_line(result)))
                self._say(until, TestFinished(lease=lease, result=result))
                end = max(end, until)
        if end + 0.3 < dies and len(results) == len(tests):
            return self._ended(worker, lease, results, end + 0.3)
        return self._lose(worker, lease, tests, results, max(dies, began) + 12.0)

    def _result(self, test: TestId, worker: Worker) -> TestResult:
        tries = self._tries[test] = self._tries.get(test, 0) + 1
        seconds = round(self._seconds[test] / worker.spec.speed * self._random.uniform(0.8, 1.3), 2)
        if worker.spec.name == self._quarantined:
            return _failed(test, BROWSER, 0.2)
        if test in self._broken:
            cause = self._broken[test]
            return _failed(test, cause, self._random.uniform(5.0, 5.3) if cause is TIMEOUT else seconds + 1)
        if test in self._flaky and tries == 1:
            return _failed(test, TIMEOUT, self._random.uniform(5.0, 5.3))
        return TestResult(test=test, verdict=Verdict.PASSED, seconds=seconds)

    def _ended(self, worker: Worker, lease: LeaseNumber, results: list[TestResult], at: float) -> float:
        bad = [result for result in results if result.verdict is Verdict.FAILED]
        quarantined = worker.spec.name == self._quarantined and len(bad) == len(results)
        failure_cause = FailureCause.SETUP if quarantined else FailureCause.NONE
        self._say(at, AttemptFinished(lease=lease, machine=worker.spec.name, result=AttemptResult(
            ended=Ended.EXITED, exit_code=1 if bad else 0, cause=failure_cause, seconds=at - worker.free,
            reason="no browser is installed" if quarantined else "", results=tuple(results),
        )))  # fmt: skip
        worker.free = at
        if quarantined:
            worker.gone = True
            self._say(
                at,
                MachineQuarantined(machine=worker.spec.name, reason="no browser is installed"),
            )
            self._move([result.test for result in results], at, worker.spec.name)
            return at
        again = [result.test for result in bad if self._tries[result.test] <= 2]
        for result in results:
            if result.test not in again:
                flaky = result.verdict is Verdict.PASSED and self._tries[result.test] > 1 and result.test in self._flaky
                self._decide(result.test, Verdict.FLAKY if flaky else result.verdict, lease, at)
        if again:
            back = at + 5.0 * self._tries[again[0]]
            self._say(at, RetryScheduled(
                tests=tuple(again), reason="failed", not_before=self._start + back, charged_to=Charge.TEST,
                avoid_machine=worker.spec.name,
            ))  # fmt: skip
            self._queue.append((back, ShardKind.RETRY, again))
        return at

    def _lose(
        self, worker: Worker, lease: LeaseNumber, tests: list[TestId], results: list[TestResult], at: float
    ) -> float:
        worker.gone = True
        reason = "no heartbeat for 12 s"
        known = {result.test for result in results}
        rest = [test for test in tests if test not in known]
        self._say(at, MachineLost(machine=worker.spec.name, reason=reason))
        self._say(at, AttemptFinished(lease=lease, machine=worker.spec.name, result=AttemptResult(
            ended=Ended.LOST, cause=FailureCause.MACHINE, reason=reason, seconds=at - worker.free,
            results=(*results, *(TestResult(test=t, verdict=Verdict.NOT_RUN, reason=reason) for t in rest)),
        )))  # fmt: skip
        for result in results:
            self._decide(result.test, result.verdict, lease, at)
        *moved, last = rest
        self._move(moved, at, worker.spec.name)
        self._say(at, VerdictReached(test=last, verdict=Verdict.NOT_RUN, reason="two machines died while it ran"))
        return at

    def _move(self, tests: list[TestId], at: float, away_from: MachineName) -> None:
        if tests:
            self._say(at, RetryScheduled(tests=tuple(tests), reason="machine", not_before=0.0, avoid_machine=away_from))
        for part in range(0, len(tests), 24):
            self._queue.append((at, ShardKind.REASSIGNED, tests[part : part + 24]))

    def _decide(self, test: TestId, verdict: Verdict, lease: LeaseNumber, at: float) -> None:
        self._say(at, VerdictReached(test=test, verdict=verdict, lease=lease))


def _failed(test: TestId, cause: tuple[str, str], seconds: float) -> TestResult:
    return TestResult(
        test=test, verdict=Verdict.FAILED, seconds=round(seconds, 2), kind="Error", message=cause[0], detail=cause[1]
    )


def _line(result: TestResult) -> str:
    mark = "\x1b[32m✓\x1b[39m" if result.verdict is Verdict.PASSED else "\x1b[31m✘\x1b[39m"
    return f"  {mark}  {result.test} ({result.seconds}s)\n"


if __name__ == "__main__":
    for stamped in Simulation().events():
        if not isinstance(stamped.event, AttemptOutput):
            sys.stdout.write(dumps(stamped).decode() + "\n")
