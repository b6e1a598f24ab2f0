"""What RunState need not remember and a timeline shows: when each test ran, and when each machine was last heard of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from ci_dispatch.core.events import (
    AttemptFinished,
    AttemptOutput,
    AttemptStarted,
    LeaseGranted,
    MachineChecked,
    Stamped,
    TestFinished,
)
from ci_dispatch.core.model import LeaseNumber, MachineName, TestId, Verdict
from ci_dispatch.reporters.dashboard.snapshot import seconds_of
from ci_dispatch.run.state import RunState

SPANS = 30_000  # kept in all: the memory of a page that shows 10,000 tests three times
ROWS = 32  # of one lane: more cannot be told apart in its height
_OVERLAP = 0.05  # seconds by which clocks may disagree about one worker's end and next start


class Span(NamedTuple):
    """One test on a machine; seconds since the epoch. `row` keeps tests apart that ran at the same time."""

    test: TestId
    row: int
    start: float
    end: float
    verdict: Verdict


@dataclass(slots=True)
class Lane:
    spans: list[Span] = field(default_factory=list)
    heard: float | None = None
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
        self.spans.append(Span(test, row, start, end, verdict))


class Timeline:
    """A lane a machine, folded from events that `RunState` has applied already."""

    def __init__(self) -> None:
        self.lanes: dict[MachineName, Lane] = {}
        self.omitted = 0  # spans over the limit
        self._count = 0

    def lane(self, machine: MachineName) -> Lane:
        return self.lanes.setdefault(machine, Lane())

    def apply(self, stamped: Stamped, state: RunState) -> MachineName | None:
        """The machine the event came from, None when it did not come from one."""
        machine = _speaker(stamped, state)
        if machine is not None:
            self.lane(machine).heard = stamped.at
        if isinstance(stamped.event, TestFinished) and machine is not None:
            self._test_finished(machine, stamped.event, stamped.at, state)
        return machine

    def _test_finished(self, machine: MachineName, event: TestFinished, at: float, state: RunState) -> None:
        if self._count >= SPANS:
            self.omitted += 1
            return
        self._count += 1
        began = state.ledger.attempts[event.lease].started or 0.0
        start = min(at, max(at - (seconds_of(event.result) or 0.0), began))
        self.lane(machine).add(event.result.test, start, at, event.result.verdict)


def _speaker(stamped: Stamped, state: RunState) -> MachineName | None:
    """Who told this. An attempt that was given up (lost) is the controller's own finding and no word of the machine."""
    match stamped.event:
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
