"""What RunState need not remember and the page shows: when each test ran, and when each machine last sent something.

The page gets a timeline for each machine: attempts, which change, and tests, which are only added.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ci_dispatch.core.events import (
    AttemptFinished,
    AttemptOutput,
    AttemptStarted,
    Event,
    LeaseGranted,
    MachineChecked,
    Stamped,
    TestFinished,
)
from ci_dispatch.core.model import LeaseNumber, MachineName, TestId, Verdict
from ci_dispatch.reporters.dashboard.snapshot import Positions, attempt_bar, seconds_of
from ci_dispatch.run.state import RunState

SPANS = 30_000  # kept in all: the memory of a page that shows 10,000 tests three times
ROWS = 32  # of one machine: more cannot be told apart in its height
_OVERLAP = 0.05  # seconds by which clocks may disagree about one worker's end and next start

TimelineUpdate = list[Any]  # machine, attempts, tests


class TestSpan(NamedTuple):
    """One test on a machine; seconds since the epoch. `row` keeps tests apart that ran at the same time."""

    test: TestId
    row: int
    start: float
    end: float
    verdict: Verdict


@dataclass(slots=True)
class MachineTimeline:
    spans: list[TestSpan] = field(default_factory=list)
    last_seen: float | None = None  # when it sent something last
    _row_ends: list[float] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return len(self._row_ends)

    def add(self, test: TestId, start: float, end: float, verdict: Verdict) -> None:
        row = next((i for i, free in enumerate(self._row_ends) if free <= start + _OVERLAP), None)
        if row is None and len(self._row_ends) < ROWS:
            row = len(self._row_ends)
            self._row_ends.append(end)
        elif row is None:  # more at once than rows: it shares the one that is free first
            row = min(range(ROWS), key=self._row_ends.__getitem__)
            start = min(end, max(start, self._row_ends[row]))
        self._row_ends[row] = end
        self.spans.append(TestSpan(test, row, start, end, verdict))


class Timelines:
    """All machines' timelines, folded from events that `RunState` has applied already, and what the pages have of them.

    `machines` limits how many of them the pages get.
    """

    def __init__(self, machines: int) -> None:
        self.omitted = 0  # spans over the limit
        self._machines = machines
        self._timelines: dict[MachineName, MachineTimeline] = {}
        self._count = 0
        self._changed_attempts: set[LeaseNumber] = set()
        self._sent: Counter[int] = Counter()  # spans by machine

    def of(self, machine: MachineName) -> MachineTimeline:
        return self._timelines.setdefault(machine, MachineTimeline())

    def apply(self, stamped: Stamped, state: RunState) -> MachineName | None:
        """The machine the event came from, None when it did not come from one."""
        event = stamped.event
        machine = _sender(event, state)
        if machine is not None:
            self.of(machine).last_seen = stamped.at
        match event:
            case TestFinished() if machine is not None:
                self._test_finished(machine, event, stamped.at, state)
            case LeaseGranted(lease=lease):
                self._changed_attempts.add(lease.number)
            case AttemptStarted(lease=number) | AttemptFinished(lease=number):
                self._changed_attempts.add(number)
            case _:
                pass
        return machine

    def _test_finished(self, machine: MachineName, event: TestFinished, at: float, state: RunState) -> None:
        if self._count >= SPANS:
            self.omitted += 1
            return
        self._count += 1
        began = state.ledger.attempts[event.lease].started or 0.0
        start = min(at, max(at - (seconds_of(event.result) or 0.0), began))
        self.of(machine).add(event.result.test, start, at, event.result.verdict)

    # -- for the pages ----------------------------------------------------------------------------------------------

    def changes(self, state: RunState, positions: Positions) -> list[TimelineUpdate]:
        """What the pages do not have yet; from now on they do."""
        bars = self._bars(state, positions, self._changed_attempts)
        self._changed_attempts = set()
        found = []
        for i, name in enumerate(list(state.machines)[: self._machines]):
            spans = self.of(name).spans
            new = spans[self._sent[i] :]
            self._sent[i] = len(spans)
            if new or i in bars:
                found.append([i, bars[i], [_span(span, state.started_at, positions) for span in new]])
        return found

    def sent(self, state: RunState, positions: Positions) -> list[TimelineUpdate]:
        """Everything the pages have."""
        bars = self._bars(state, positions, set(state.ledger.attempts))
        return [
            [i, bars[i], [_span(s, state.started_at, positions) for s in self.of(name).spans[: self._sent[i]]]]
            for i, name in enumerate(list(state.machines)[: self._machines])
        ]

    def _bars(self, state: RunState, positions: Positions, leases: set[LeaseNumber]) -> defaultdict[int, list[Any]]:
        bars: defaultdict[int, list[Any]] = defaultdict(list)
        for number in sorted(leases):
            if attempt := state.ledger.attempts.get(number):
                bars[positions.machine(attempt.lease.machine)].append(attempt_bar(attempt, state.started_at))
        return bars


def _span(span: TestSpan, origin: float, positions: Positions) -> list[Any]:
    n = positions.tests.get(span.test, -1)
    return [n, span.row, round(span.start - origin, 2), round(span.end - origin, 2), span.verdict.value]


def _sender(event: Event, state: RunState) -> MachineName | None:
    """Which machine this came from. That an attempt was given up (lost) is the controller's own finding."""
    match event:
        case MachineChecked(machine=name, reachable=True) | AttemptOutput(machine=name):
            return name
        case AttemptFinished(machine=name, result=result) if result.exit_code is not None:
            return name
        case LeaseGranted(lease=lease):
            return lease.machine
        case AttemptStarted(lease=number) | TestFinished(lease=number):
            return state.ledger.attempts[LeaseNumber(number)].lease.machine
        case _:
            return None
