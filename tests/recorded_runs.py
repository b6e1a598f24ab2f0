"""Recorded runs and how to play them to a reporter: events in order, a tick every half second in between."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from ci_dispatch.core.events import TRANSIENT, Stamped
from ci_dispatch.run.journal import dumps, loads
from ci_dispatch.run.ports import Reporter
from ci_dispatch.run.state import RunState

RUNS = Path(__file__).parent / "data" / "runs"


def recorded(name: str) -> list[Stamped]:
    lines = (RUNS / f"{name}.jsonl").read_bytes().splitlines()
    return [stamped for line in lines for stamped in loads(line)]


def journal_bytes(name: str) -> bytes:
    """The recorded run as its journal has it: what is only shown (output) is not in a journal."""
    return b"".join(dumps(event) + b"\n" for event in recorded(name) if not isinstance(event.event, TRANSIENT))


def steps(events: Iterable[Stamped], state: RunState, every: float = 0.5) -> Iterator[tuple[float, Stamped | None]]:
    """Each event after it was folded into `state`, and None for each tick, with its time."""
    now: float | None = None
    for stamped in events:
        now = stamped.at if now is None else now
        while now + every <= stamped.at:
            now += every
            yield now, None
        if not isinstance(stamped.event, TRANSIENT):
            state.apply(stamped)
        yield stamped.at, stamped


def play(events: Iterable[Stamped], *reporters: Reporter, close: bool = True) -> RunState:
    state = RunState()
    for now, stamped in steps(events, state):
        for reporter in reporters:
            if stamped is None:
                reporter.tick(now, state)
            else:
                reporter.handle(stamped, state)
    for reporter in reporters if close else ():
        reporter.close()
    return state
