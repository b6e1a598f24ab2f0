"""The dashboard's own copy of a run: folds events, remembers what the pages have, and makes deltas of what changed.

One thread owns a ViewModel. What it keeps for the pages is bounded: 10,000 tests (and 2,000 more that are not fine),
100 machines, the deltas and the output below, the spans of `timeline.py`. What is left out is counted, in the head.
"""

from __future__ import annotations

import json
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from ci_dispatch.core.events import (
    AttemptFinished,
    AttemptOutput,
    AttemptStarted,
    Event,
    LeaseGranted,
    RetryScheduled,
    RunStarted,
    Stamped,
    TestFinished,
    VerdictReached,
)
from ci_dispatch.core.model import LeaseNumber, TestId, TestResult
from ci_dispatch.reporters.dashboard import failure_groups, snapshot
from ci_dispatch.reporters.dashboard.failure_groups import SharedCause
from ci_dispatch.reporters.dashboard.snapshot import TestRow
from ci_dispatch.reporters.dashboard.timeline import Timelines
from ci_dispatch.run.state import RunState
from report_merge.render.wording import count

TESTS, MORE_TESTS, MACHINES = 10_000, 2_000, 100
DELTAS, DELTAS_LENGTH = 2_000, 4 * 1024 * 1024  # how many, and characters: whichever limit comes first
TAIL_LENGTH = 64 * 1024  # characters of one attempt's output
ALL_TAILS_LENGTH = 16 * 1024 * 1024  # of all attempts together

EarlierOutcomes: TypeAlias = Callable[[RunState, TestId], str]
"""How a test of a run ended in the runs before it, as report_merge's `Case.history` has it."""


def no_outcomes(_state: RunState, _test: TestId) -> str:
    """Nothing is known of earlier runs."""
    return ""


class ViewModel:
    """`apply` events, then `flush`: what changed becomes one delta for every page."""

    def __init__(self, epoch: str, pace: float = 1.0, earlier: EarlierOutcomes = no_outcomes) -> None:
        """`epoch` distinguishes these deltas from those of an earlier server; `pace` is how fast the clock runs.

        `earlier` is asked how a test ended in earlier runs when somebody looks at it.
        """
        self._pace = pace
        self._earlier = earlier
        self.tails = OutputTails()
        self.deltas = DeltaLog(epoch)
        self.unreadable = 0  # events that could not be folded
        self._seq = 0  # of the last event that the pages have
        self._begin()

    def _begin(self) -> None:
        self.state = RunState()
        self._timelines = Timelines(MACHINES)
        self._positions = snapshot.positions_of(self.state)
        self._names: list[tuple[str, str, str]] = []
        self._rows: dict[int, TestRow] = {}
        self._more_tests: set[int] = set()  # beyond the limit, and shown all the same
        self._causes: dict[str, SharedCause] = {}
        self._machines: list[dict[str, Any]] = []
        self._groups: list[dict[str, Any]] = []
        self._groups_omitted = 0
        self._touched: set[TestId] = set()
        self._spent: list[tuple[str, int]] | None = None  # until the run is over
        self._head = self._make_head(0.0)
        self._is_new = True  # a run began: every page must fetch everything, names included

    # -- in ---------------------------------------------------------------------------------------------------------

    def apply(self, stamped: Stamped) -> None:
        """Fold one event. One that contradicts what came before is counted and changes nothing more."""
        event = stamped.event
        if isinstance(event, RunStarted):
            self._begin()
        try:
            if isinstance(event, AttemptOutput):
                self.tails.add(event.lease, event.text)
                self.state.now = max(self.state.now, stamped.at)
            else:
                self.state.apply(stamped)
            self._timelines.apply(stamped, self.state)
            self._touched.update(_tests_of(event, self.state))
        except (KeyError, ValueError):
            self.unreadable += 1
            return
        if isinstance(event, RunStarted):
            self._positions = snapshot.positions_of(self.state)
            self._names = snapshot.names(self.state)

    def flush(self, now: float) -> bool:
        """Make a delta of what changed since the last flush; False when nothing did. `now`: on the clock of the run."""
        delta: dict[str, Any] = {}
        self._seq = self.state.seq
        if self._touched:
            rows = self._changed_rows()
            delta["tests"] = rows
            delta["names"] = [[row.n, *self._names[row.n]] for row in rows if row.n >= TESTS]
            self._regroup(delta)
        if machines := self._changed_machines():
            delta["machines"] = machines
        if timelines := self._timelines.changes(self.state, self._positions):
            delta["timelines"] = timelines
        head = self._make_head(now)
        if head != self._head:
            self._head = delta["head"] = head
        if self._is_new:
            self._is_new = False
            self.deltas.reset()
            return True
        if not delta:
            return False
        self.deltas.add({**delta, "now": round(now, 2), "seq": self._seq})
        return True

    # -- out --------------------------------------------------------------------------------------------------------

    def snapshot(self, now: float) -> bytes:
        """Everything the pages have so far, as JSON."""
        shown = [row for row in self._rows.values() if self._is_shown(row.n)]
        everything = {
            "id": self.deltas.last_id,
            "seq": self._seq,
            "now": round(now, 2),
            "head": self._head,
            "machines": list(enumerate(self._machines)),
            "timelines": self._timelines.sent(self.state, self._positions),
            "names": [[row.n, *self._names[row.n]] for row in shown],
            "tests": shown,
            "groups": self._groups,
            "groups_omitted": self._groups_omitted,
        }
        return _json(everything)

    def test(self, n: int) -> bytes | None:
        """Everything about one test as JSON, None when there is no such number."""
        if self.state.started is None or not 0 <= n < len(self.state.started.tests):
            return None
        test = self.state.started.tests[n]
        return _json(snapshot.detail_of(self.state, test, n) | {"earlier": self._earlier(self.state, test.id)})

    # -- what changed -----------------------------------------------------------------------------------------------

    def _changed_rows(self) -> list[TestRow]:
        positions, records = self._positions, self.state.ledger.records
        touched = sorted((positions.tests[test], test) for test in self._touched if test in positions.tests)
        self._touched = set()
        changed = []
        for n, test in touched:
            row = snapshot.row(n, records[test], self.state, positions)
            row = row._replace(cause=self._cause(row, test))
            if self._rows.get(n) != row:
                self._rows[n] = row
                if row.state in snapshot.NOT_FINE and n >= TESTS and len(self._more_tests) < MORE_TESTS:
                    self._more_tests.add(n)
                if self._is_shown(n):
                    changed.append(row)
        return changed

    def _is_shown(self, n: int) -> bool:
        return n < TESTS or n in self._more_tests

    def _cause(self, row: TestRow, test: TestId) -> str:
        if row.state not in snapshot.NOT_FINE:
            return ""
        record = self.state.ledger.records[test]
        if row.state == "not run":
            cause = failure_groups.not_run(record.reason)
        elif failure := snapshot.last_failure(record, self.state):
            cause = failure_groups.cause_of(failure)
        else:
            cause = failure_groups.UNKNOWN
        self._causes[cause.key] = cause
        return cause.key

    def _regroup(self, delta: dict[str, Any]) -> None:
        groups, omitted = failure_groups.groups(self._rows.values(), self._causes, self._excerpt, self._places)
        if groups != self._groups or omitted != self._groups_omitted:
            self._groups, self._groups_omitted = groups, omitted
            delta["groups"], delta["groups_omitted"] = groups, omitted

    def _excerpt(self, n: int) -> str:
        assert self.state.started is not None
        record = self.state.ledger.records[self.state.started.tests[n].id]
        failure = snapshot.last_failure(record, self.state)
        return failure_groups.excerpt(failure) if failure else ""

    def _places(self, row: TestRow) -> set[int]:
        assert self.state.started is not None
        record = self.state.ledger.records[self.state.started.tests[row.n].id]
        return snapshot.failing_machines(record, self.state, self._positions) or {row.machine}

    def _changed_machines(self) -> list[tuple[int, dict[str, Any]]]:
        made = [
            snapshot.machine(machine, self._timelines.of(name).last_seen, self._positions)
            for name, machine in list(self.state.machines.items())[:MACHINES]
        ]
        before = self._machines
        self._machines = made
        return [(i, each) for i, each in enumerate(made) if i >= len(before) or before[i] != each]

    def _make_head(self, now: float) -> dict[str, Any]:
        counts = Counter(row.state for row in self._rows.values())
        counts["slow"] = sum(1 for row in self._rows.values() if "s" in row.flags)
        if self._spent is None and self.state.finished is not None:
            self._spent = snapshot.spent(self.state)
        head = snapshot.head(self.state, counts, now)
        head |= {"pace": self._pace, "omitted": self._omitted(), "spent": self._spent or []}
        if self.unreadable:
            head["warnings"].append(["dashboard", f"{count(self.unreadable, 'event')} of this run could not be read"])
        return head

    def _omitted(self) -> dict[str, int]:
        """How many of each list the pages do not get."""
        return {
            "tests": max(0, self.state.total - TESTS - len(self._more_tests)),
            "machines": max(0, len(self.state.machines) - MACHINES),
            "spans": self._timelines.omitted,
            "warnings": max(0, len(self.state.warnings) - snapshot.WARNINGS),
        }


class DeltaLog:
    """The last deltas, so that a page that was away a moment need not fetch everything again.

    Numbered from 1; ids are `EPOCH-NUMBER`, and an id of another epoch is always too old.
    """

    def __init__(self, epoch: str, count: int = DELTAS, size: int = DELTAS_LENGTH) -> None:
        self._epoch, self._count, self._limit = epoch, count, size
        self._ring: deque[tuple[int, str]] = deque()
        self._size = 0
        self.last = 0

    @property
    def last_id(self) -> str:
        return f"{self._epoch}-{self.last}"

    def add(self, delta: dict[str, Any]) -> None:
        self.last += 1
        text = json.dumps({"id": self.last_id, **delta}, ensure_ascii=False, separators=(",", ":"))
        self._ring.append((self.last, text))
        self._size += len(text)
        while len(self._ring) > self._count or self._size > self._limit:
            self._size -= len(self._ring.popleft()[1])

    def reset(self) -> None:
        """Forget everything: every page must fetch the state anew."""
        self._ring.clear()
        self._size = 0
        self.last += 1

    def after(self, id_: str) -> list[tuple[str, str]] | None:
        """Ids and texts of the deltas after `id_`; None when some of them are no longer known."""
        epoch, _, number = id_.rpartition("-")
        if epoch != self._epoch or not number.isascii() or not number.isdigit():
            return None
        known = int(number)
        if known == self.last:
            return []
        first = self._ring[0][0] if self._ring else self.last + 1
        if not first - 1 <= known < self.last:
            return None
        return [(f"{self._epoch}-{n}", text) for n, text in self._ring if n > known]


@dataclass(slots=True)
class _Tail:
    text: str = ""
    start: int = 0  # how many characters came before `text`


@dataclass(frozen=True, slots=True)
class OutputPiece:
    """Output from `start` to `end`, counted in characters since the attempt began."""

    text: str
    start: int
    end: int


class OutputTails:
    """Keeps the last characters of every attempt; forgets the attempt that was silent longest when all are too many."""

    def __init__(self, each: int = TAIL_LENGTH, in_all: int = ALL_TAILS_LENGTH) -> None:
        self._each, self._in_all = each, in_all
        self._tails: OrderedDict[LeaseNumber, _Tail] = OrderedDict()
        self.size = 0

    def add(self, lease: LeaseNumber, text: str) -> None:
        tail = self._tails.setdefault(lease, _Tail())
        self._tails.move_to_end(lease)
        before = len(tail.text)
        joined = tail.text + text
        tail.text = joined[-self._each :]
        tail.start += len(joined) - len(tail.text)
        self.size += len(tail.text) - before
        while self.size > self._in_all:
            _, gone = self._tails.popitem(last=False)
            self.size -= len(gone.text)

    def read(self, lease: LeaseNumber, since: int = 0) -> OutputPiece | None:
        """What came after the first `since` characters and is still known; None when nothing is known at all."""
        tail = self._tails.get(lease)
        if tail is None:
            return None
        end = tail.start + len(tail.text)
        start = tail.start if since > end else max(since, tail.start)  # beyond the end: it was forgotten and began anew
        return OutputPiece(tail.text[start - tail.start :], start, end)


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _tests_of(event: Event, state: RunState) -> Iterable[TestId]:
    """The tests whose row an event may change."""
    match event:
        case RunStarted(tests=tests):
            return (test.id for test in tests)
        case LeaseGranted(lease=lease):
            return lease.shard.tests
        case AttemptStarted(lease=number) | AttemptFinished(lease=number):
            return state.ledger.attempts[number].lease.shard.tests
        case RetryScheduled(tests=ids):
            return ids
        case VerdictReached(test=test) | TestFinished(result=TestResult(test=test)):
            return (test,)
        case _:
            return ()
