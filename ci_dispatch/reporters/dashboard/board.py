"""The dashboard's own copy of a run: folds events, remembers what the pages have been told, and says what changed.

One thread owns a Board. What it keeps for the pages is bounded: 10,000 tests (and 2,000 more that are in trouble),
100 machines, the deltas of `deltas.py`, the output of `tails.py`, the spans of `timeline.py`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

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
from ci_dispatch.core.model import TestId, TestResult
from ci_dispatch.reporters.dashboard import causes, detail, snapshot
from ci_dispatch.reporters.dashboard.deltas import Deltas
from ci_dispatch.reporters.dashboard.lanes import Lanes
from ci_dispatch.reporters.dashboard.snapshot import Row
from ci_dispatch.reporters.dashboard.tails import Tails
from ci_dispatch.reporters.dashboard.timeline import Timeline
from ci_dispatch.run.state import RunState

TESTS, MORE_TESTS, MACHINES = 10_000, 2_000, 100


class Board:
    """`apply` events, then `flush`: what changed becomes one delta for every page that looks."""

    def __init__(self, epoch: str, pace: float = 1.0) -> None:
        """`epoch` tells this Board's deltas from those of an earlier server; `pace` is how fast its clock runs."""
        self._pace = pace
        self.tails = Tails()
        self.deltas = Deltas(epoch)
        self.unreadable = 0  # events that could not be folded
        self._begin()

    def _begin(self) -> None:
        self.state = RunState()
        self._timeline = Timeline()
        self._lanes = Lanes(self._timeline, MACHINES)
        self._where = snapshot.places(self.state)
        self._names: list[tuple[str, str, str]] = []
        self._rows: dict[int, Row] = {}
        self._more_tests: set[int] = set()  # beyond the limit, and shown all the same
        self._causes: dict[str, causes.Cause] = {}
        self._head: dict[str, Any] = {}
        self._machines: list[dict[str, Any]] = []
        self._groups: list[dict[str, Any]] = []
        self._groups_omitted = 0
        self._touched: set[TestId] = set()

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
            self._timeline.apply(stamped, self.state)
            self._touched.update(_tests_of(event, self.state))
        except (KeyError, ValueError):
            self.unreadable += 1
            return
        if isinstance(event, RunStarted):
            self._where = snapshot.places(self.state)
            self._names = snapshot.names(self.state)
            self.deltas.reset()
        self._lanes.touch(event)

    def flush(self, now: float) -> bool:
        """Tell what changed since the last flush; False when nothing did. `now` is on the clock of the run."""
        delta: dict[str, Any] = {}
        if self._touched:
            rows = self._changed_rows()
            delta["tests"] = rows
            delta["names"] = [[row.n, *self._names[row.n]] for row in rows if row.n >= TESTS]
            self._regroup(delta)
        if machines := self._changed_machines():
            delta["machines"] = machines
        if lanes := self._lanes.changed(self.state, self._where):
            delta["lanes"] = lanes
        head = self._make_head(now)
        if head != self._head:
            self._head = delta["head"] = head
        if not delta:
            return False
        self.deltas.add({**delta, "now": round(now, 2), "seq": self.state.seq})
        return True

    # -- out --------------------------------------------------------------------------------------------------------

    def snapshot(self, now: float) -> bytes:
        """Everything the pages have been told so far, as JSON."""
        shown = [row for row in self._rows.values() if self._is_shown(row.n)]
        told = {
            "id": self.deltas.last_id,
            "seq": self.state.seq,
            "now": round(now, 2),
            "head": self._head,
            "machines": list(enumerate(self._machines)),
            "machines_omitted": max(0, len(self.state.machines) - MACHINES),
            "lanes": self._lanes.told(self.state, self._where),
            "names": [[row.n, *self._names[row.n]] for row in shown],
            "tests": shown,
            "tests_omitted": self.state.total - len(shown),
            "groups": self._groups,
            "groups_omitted": self._groups_omitted,
        }
        return _json(told)

    def test(self, n: int) -> bytes | None:
        """Everything about one test as JSON, None when there is no such number."""
        if self.state.started is None or not 0 <= n < len(self.state.started.tests):
            return None
        return _json(detail.test(self.state, self.state.started.tests[n], n))

    # -- what changed -----------------------------------------------------------------------------------------------

    def _changed_rows(self) -> list[Row]:
        where, entries = self._where, self.state.ledger.records
        touched = sorted((where.tests[test], test) for test in self._touched if test in where.tests)
        self._touched = set()
        changed = []
        for n, test in touched:
            row = snapshot.row(n, entries[test], self.state, where)
            row = row._replace(cause=self._cause(row, test))
            if self._rows.get(n) != row:
                self._rows[n] = row
                if row.state in snapshot.TROUBLE and n >= TESTS and len(self._more_tests) < MORE_TESTS:
                    self._more_tests.add(n)
                if self._is_shown(n):
                    changed.append(row)
        return changed

    def _is_shown(self, n: int) -> bool:
        return n < TESTS or n in self._more_tests

    def _cause(self, row: Row, test: TestId) -> str:
        if row.state not in snapshot.TROUBLE:
            return ""
        entry = self.state.ledger.records[test]
        if row.state == "not run":
            cause = causes.not_run(entry.reason)
        elif failure := snapshot.last_failure(entry, self.state):
            cause = causes.cause_of(failure[1])
        else:
            cause = causes.UNKNOWN
        self._causes[cause.key] = cause
        return cause.key

    def _regroup(self, delta: dict[str, Any]) -> None:
        groups, omitted = causes.groups(self._rows.values(), self._causes, self._excerpt)
        if groups != self._groups or omitted != self._groups_omitted:
            self._groups, self._groups_omitted = groups, omitted
            delta["groups"], delta["groups_omitted"] = groups, omitted

    def _excerpt(self, n: int) -> str:
        assert self.state.started is not None
        entry = self.state.ledger.records[self.state.started.tests[n].id]
        failure = snapshot.last_failure(entry, self.state)
        return causes.excerpt(failure[1]) if failure else ""

    def _changed_machines(self) -> list[tuple[int, dict[str, Any]]]:
        made = [
            snapshot.machine(machine, self._timeline.lane(name).heard, self._where)
            for name, machine in list(self.state.machines.items())[:MACHINES]
        ]
        before = self._machines
        self._machines = made
        return [(i, each) for i, each in enumerate(made) if i >= len(before) or before[i] != each]

    def _make_head(self, now: float) -> dict[str, Any]:
        counts = Counter(row.state for row in self._rows.values())
        counts["slow"] = sum(1 for row in self._rows.values() if "s" in row.flags)
        head = snapshot.head(self.state, counts, now) | {"pace": self._pace}
        if self.unreadable:
            head["warnings"].append(["dashboard", f"{self.unreadable} events of this run could not be understood"])
        return head


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
