"""What the page shows, computed from the state of a run: pure functions, JSON-able values, foreign text made plain.

Times are seconds since the epoch on the clock of the run, unless they say otherwise. Machines and tests are named by
their place in `RunStarted`, so that no foreign name becomes a key.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ci_dispatch.core.errors import ExitCode
from ci_dispatch.core.model import MachineName, TestResult, Verdict
from ci_dispatch.reporters.tally import failed_on, trouble
from ci_dispatch.run.ledger import AttemptRecord, TestRecord
from ci_dispatch.run.state import MachineState, RunState
from report_merge.plain import one_line
from report_merge.render.wording import count

QUIET_AFTER = 10.0  # seconds without news that are worth a word
LOST_AFTER = 60.0  # twice the interval of the health checks: nobody is there any more
SLOW_FACTOR, SLOW_KNOWN, SLOW_UNKNOWN = 2.0, 5.0, 30.0  # times what was expected, and at least; without expectation

TROUBLE = ("failed", "not run", "flaky", "retrying")


class Row(NamedTuple):
    """One test in the table, as short as it can be: it is sent whenever it changes."""

    n: int
    state: str  # a verdict, or: waiting, running (its shard is on a machine), retrying
    machine: int  # -1: none yet
    seconds: float | None
    tries: int  # executions so far
    flags: str  # l: live news, not yet decided; s: slow; m: moved because of a machine
    moved_from: int  # -1: never
    cause: str  # key of its failure group, empty when there is none


@dataclass(frozen=True, slots=True)
class Places:
    """Positions of tests and machines in `RunStarted`."""

    tests: Mapping[str, int]
    machines: Mapping[MachineName, int]

    def machine(self, name: MachineName | None) -> int:
        return -1 if name is None else self.machines.get(name, -1)


def places(state: RunState) -> Places:
    tests = state.started.tests if state.started else ()
    return Places({test.id: n for n, test in enumerate(tests)}, {name: i for i, name in enumerate(state.machines)})


def row(n: int, entry: TestRecord, state: RunState, where: Places, cause: str = "") -> Row:
    attempt = state.ledger.attempts.get(entry.lease) if entry.lease is not None else None
    live = attempt.live.get(entry.test.id) if attempt is not None else None
    last = entry.history[-1] if entry.history else None
    result = live or (last[2] if last else None)
    machine = attempt.lease.machine if attempt is not None else (last[1] if last else None)
    flags = ("l" if live and entry.verdict is None else "") + ("m" if entry.reassignments else "")
    return Row(
        n=n,
        state=_word(entry, live, attempt),
        machine=where.machine(machine),
        seconds=seconds_of(result),
        tries=len(entry.history) + (live is not None),
        flags=flags + ("s" if result is not None and is_slow(result, state) else ""),
        moved_from=where.machine(entry.avoid_machine) if entry.reassignments else -1,
        cause=cause,
    )


def seconds_of(result: TestResult | None) -> float | None:
    """What JSON can carry: a report may say NaN, which a browser refuses to read."""
    if result is None or result.seconds is None or not math.isfinite(result.seconds):
        return None
    return round(result.seconds, 2)


def _word(entry: TestRecord, live: TestResult | None, attempt: AttemptRecord | None) -> str:
    if entry.verdict is not None:
        return entry.verdict.value
    if live is not None:
        return live.verdict.value
    if attempt is not None:
        return "running" if attempt.started is not None else "waiting"
    return "retrying" if entry.retries else "waiting"


def is_slow(result: TestResult, state: RunState) -> bool:
    """Took more than twice what was expected and over 5 s; over 30 s where nothing was expected."""
    if result.seconds is None or state.started is None:
        return False
    expected = state.started.expected_seconds.get(result.test)
    if expected is None:
        return result.seconds > SLOW_UNKNOWN
    return result.seconds > max(SLOW_KNOWN, SLOW_FACTOR * expected)


def last_failure(entry: TestRecord, state: RunState) -> tuple[MachineName, TestResult] | None:
    """The latest execution that failed, with its machine."""
    attempt = state.ledger.attempts.get(entry.lease) if entry.lease is not None else None
    live = attempt.live.get(entry.test.id) if attempt is not None else None
    if attempt is not None and live is not None and _bad(live):
        return attempt.lease.machine, live
    return next(((name, result) for _, name, result in reversed(entry.history) if _bad(result)), None)


def _bad(result: TestResult) -> bool:
    return result.verdict is Verdict.FAILED or (result.verdict is Verdict.FLAKY and bool(result.message))


def names(state: RunState) -> list[tuple[str, str, str]]:
    """Title, file with line, project of every test: what never changes."""
    tests = state.started.tests if state.started else ()
    return [
        (one_line(test.name), one_line(f"{test.file}:{test.line}" if test.line else test.file), one_line(test.project))
        for test in tests
    ]


def machine(state: MachineState, heard: float | None, where: Places) -> dict[str, Any]:
    checked = state.checked
    spec = state.spec
    return {
        "name": one_line(spec.name, 60),
        "word": state.word,
        "why": trouble(state),
        "cores": (checked.cores if checked else 0) or spec.cores,
        "slots": spec.slots,
        "health": one_line(checked.text) if checked else "",
        "done": state.done,
        "given": max(state.given, state.done),
        "failed": failed_on(state),
        "retries": state.retries,
        "losses": state.losses,
        "lost_at": state.lost_at,
        "current": -1 if state.current is None else where.tests.get(state.current, -1),
        "heard": heard,
    }


def bar(attempt: AttemptRecord, origin: float) -> tuple[int, float, float | None, str, str, int, str]:
    """An attempt on its machine's lane: lease, start, end, how it ended, kind of shard, tests, what was wrong.

    Seconds since `origin`, the start of the run.
    """
    result = attempt.result
    word = result.ended.value if result else ("sent" if attempt.started is None else "running")
    reason = one_line(" ".join(part for part in (result.cause.value, result.reason) if part)) if result else ""
    start = attempt.lease.granted if attempt.started is None else attempt.started
    shard = attempt.lease.shard
    end = None if attempt.ended is None else round(attempt.ended - origin, 2)
    return (attempt.lease.number, round(start - origin, 2), end, word, shard.kind.value, len(shard.tests), reason)


def head(state: RunState, counts: Mapping[str, int], now: float) -> dict[str, Any]:
    """The verdict bar. `now` is on the clock of the run; `quiet` and `lost` are decided here, by that clock."""
    started, finished = state.started, state.finished
    remaining = state.remaining_seconds(now) if started and not finished else None
    phase = phase_of(state, now)
    makespan = finished.makespan if finished else None
    return {
        "phase": phase,
        "word": _headline(phase, counts),
        "sentence": sentence(state, counts),
        "title": one_line(started.title) if started else "",
        "run": one_line(started.run) if started else "",
        "runner": one_line(started.runner) if started else "",
        "started": state.started_at if started else None,
        "finished": state.finished_at,
        "heard": state.now or None,
        "remaining": None if remaining is None else round(remaining),
        "exit_code": finished.exit_code if finished else None,
        "reason": one_line(finished.reason) if finished else "",
        "total": state.total,
        "counts": dict(counts),
        "planned": makespan.planned if makespan else (started.planned if started else 0.0),
        "lower_bound": makespan.lower_bound if makespan else (started.lower_bound if started else 0.0),
        "realised": makespan.realised if makespan else None,
        "retried": len(state.retried),
        "moved": state.reassigned,
        "resumed": len(state.resumed),
        "warnings": [[one_line(w.source, 60), one_line(w.text)] for w in state.warnings[-20:]],
    }


def phase_of(state: RunState, now: float) -> str:
    if state.finished is not None:
        try:
            code = ExitCode(state.finished.exit_code)
        except ValueError:
            return "error"
        return _PHASES.get(code, "error")
    if state.started is None:
        return "starting"
    if now - state.now > LOST_AFTER:
        return "lost"
    return "running" if state.interrupted is None else "stopping"


_PHASES = {
    ExitCode.PASSED: "passed",
    ExitCode.TESTS_FAILED: "failed",
    ExitCode.INCOMPLETE: "incomplete",
    ExitCode.INTERRUPTED: "interrupted",
    ExitCode.TERMINATED: "interrupted",
}


def _headline(phase: str, counts: Mapping[str, int]) -> str:
    if phase == "passed" and counts.get("flaky"):
        return "Passed, flaky"
    return {"starting": "Waiting for the run", "lost": "Lost", "error": "Ended with an error"}.get(
        phase, phase.capitalize()
    )


def sentence(state: RunState, counts: Mapping[str, int]) -> str:
    """The number that matters first, then what else is not as it should be."""
    total = state.total
    parts = []
    if failed := counts.get("failed", 0):
        so_far = "" if state.finished else " so far"
        parts.append(f"{failed} of {count(total, 'test')} failed{so_far}")
    if not_run := counts.get("not run", 0):
        parts.append(f"{not_run} not run")
    if flaky := counts.get("flaky", 0):
        parts.append(f"{flaky} flaky")
    lost = sum(1 for each in state.machines.values() if each.lost)
    fenced = sum(1 for each in state.machines.values() if each.quarantined)
    parts += [f"{count(n, 'machine')} {word}" for n, word in ((lost, "lost"), (fenced, "fenced off")) if n]
    if parts and (failed or not_run):
        return ", ".join(parts)
    done = counts.get("passed", 0) + counts.get("skipped", 0) + counts.get("flaky", 0)
    first = (
        f"{count(total, 'test')}, nothing failed"
        if done >= total > 0
        else f"{done} of {count(total, 'test')} done, none failed"
    )
    return ", ".join([first, *parts]) if total else "no test is known yet"
