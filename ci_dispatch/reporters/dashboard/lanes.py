"""The machines' timelines as the page gets them: bars (attempts) that change, spans (tests) that are only added."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from ci_dispatch.core.events import AttemptFinished, AttemptStarted, Event, LeaseGranted
from ci_dispatch.core.model import LeaseNumber
from ci_dispatch.reporters.dashboard import snapshot
from ci_dispatch.reporters.dashboard.timeline import Span, Timeline
from ci_dispatch.run.state import RunState

LaneNews = list[Any]  # machine, bars, spans


class Lanes:
    """Remembers what the pages know of each lane; `machines` limits how many there are."""

    def __init__(self, timeline: Timeline, machines: int) -> None:
        self._timeline = timeline
        self._machines = machines
        self._touched: set[LeaseNumber] = set()
        self._told: Counter[int] = Counter()  # spans by machine

    def touch(self, event: Event) -> None:
        match event:
            case LeaseGranted(lease=lease):
                self._touched.add(lease.number)
            case AttemptStarted(lease=number) | AttemptFinished(lease=number):
                self._touched.add(number)
            case _:
                pass

    def changed(self, state: RunState, where: snapshot.Places) -> list[LaneNews]:
        """What the pages do not know yet; from now on they do."""
        bars = self._bars(state, where, self._touched)
        self._touched = set()
        news = []
        for i, name in enumerate(list(state.machines)[: self._machines]):
            spans = self._timeline.lane(name).spans
            new = spans[self._told[i] :]
            self._told[i] = len(spans)
            if new or i in bars:
                news.append([i, bars[i], [_span(span, state.started_at, where) for span in new]])
        return news

    def told(self, state: RunState, where: snapshot.Places) -> list[LaneNews]:
        """Everything the pages know."""
        bars = self._bars(state, where, set(state.ledger.attempts))
        return [
            [i, bars[i], [_span(s, state.started_at, where) for s in self._timeline.lane(name).spans[: self._told[i]]]]
            for i, name in enumerate(list(state.machines)[: self._machines])
        ]

    def _bars(self, state: RunState, where: snapshot.Places, leases: set[LeaseNumber]) -> defaultdict[int, list[Any]]:
        bars: defaultdict[int, list[Any]] = defaultdict(list)
        for number in sorted(leases):
            if attempt := state.ledger.attempts.get(number):
                bars[where.machine(attempt.lease.machine)].append(snapshot.bar(attempt, state.started_at))
        return bars


def _span(span: Span, origin: float, where: snapshot.Places) -> list[Any]:
    n = where.tests.get(span.test, -1)
    return [n, span.row, round(span.start - origin, 2), round(span.end - origin, 2), span.verdict.value]
