"""What the page shows, computed from the state of a run: pure functions, JSON-able values, foreign text made plain.

Times are seconds since the epoch on the clock of the run, unless noted otherwise. Machines and tests are numbered
by their positions in `RunStarted`, so that no foreign name becomes a key.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ci_dispatch.core.model import MachineName, Test, TestResult, Verdict
from ci_dispatch.reporters.counts import failed_on
from ci_dispatch.run.ledger import AttemptRecord, TestRecord
from ci_dispatch.run.run_report import attempts_of, fails_without_attempt, verdict_word
from ci_dispatch.run.state import MachineState, RunState
from ci_dispatch.run.time_use import time_use
from report_merge.render.wording import count, nothing_passed
from report_merge.sanitize import one_line, printable

LOST_AFTER = 60.0  # seconds without an event, twice the interval of the health checks: the controller is gone
SLOW_FACTOR, SLOW_KNOWN, SLOW_UNKNOWN = 2.0, 5.0, 30.0  # times what was expected, and at least; without expectation
WARNINGS = 20  # the newest ones
TEXT = 64 * 1024  # characters of one message or stack trace
ATTEMPTS = 50  # of one test, the latest ones

NOT_FINE = ("failed", "not run", "flaky", "retrying")


class TestRow(NamedTuple):
    """One test in the table, as short as it can be: it is sent whenever it changes."""

    n: int
    state: str  # a verdict, or: waiting, running (its shard is on a machine), retrying
    machine: int  # -1: none yet
    seconds: float | None
    tries: int  # executions so far
    flags: str  # l: a live result, not yet decided; s: slow; m: moved because of a machine
    moved_from: int  # -1: never
    cause: str  # key of its failure group, empty when there is none


@dataclass(frozen=True, slots=True)
class Positions:
    """Of tests and machines in `RunStarted`."""

    tests: Mapping[str, int]
    machines: Mapping[MachineName, int]

    def machine(self, name: MachineName | None) -> int:
        return -1 if name is None else self.machines.get(name, -1)


def positions_of(state: RunState) -> Positions:
    tests = state.started.tests if state.started else ()
    return Positions({test.id: n for n, test in enumerate(tests)}, {name: i for i, name in enumerate(state.machines)})


def row(n: int, record: TestRecord, state: RunState, positions: Positions, cause: str = "") -> TestRow:
    attempt = state.ledger.attempts.get(record.lease) if record.lease is not None else None
    live = attempt.live.get(record.test.id) if attempt is not None else None
    last = record.history[-1] if record.history else None
    result = live or (last[2] if last else None)
    machine = attempt.lease.machine if attempt is not None else (last[1] if last else None)
    flags = ("l" if live and record.verdict is None else "") + ("m" if record.reassignments else "")
    return TestRow(
        n=n,
        state=_word(record, live, attempt),
        machine=positions.machine(machine),
        seconds=seconds_of(result),
        tries=len(record.history) + (live is not None),
        flags=flags + ("s" if result is not None and is_slow(result, state) else ""),
        moved_from=positions.machine(record.avoid_machine) if record.reassignments else -1,
        cause=cause,
    )


def seconds_of(result: TestResult | None) -> float | None:
    """What JSON can carry: a report may have NaN, which a browser refuses to read."""
    if result is None or result.seconds is None or not math.isfinite(result.seconds):
        return None
    return round(result.seconds, 2)


def _word(record: TestRecord, live: TestResult | None, attempt: AttemptRecord | None) -> str:
    if record.verdict is not None:
        return record.verdict.value
    if live is not None:
        return live.verdict.value
    if attempt is not None:
        return "running" if attempt.started is not None else "waiting"
    return "retrying" if record.retries else "waiting"


def is_slow(result: TestResult, state: RunState) -> bool:
    """Took more than twice what was expected and over 5 s; over 30 s positions nothing was expected."""
    if result.seconds is None or state.started is None:
        return False
    expected = state.started.expected_seconds.get(result.test)
    if expected is None:
        return result.seconds > SLOW_UNKNOWN
    return result.seconds > max(SLOW_KNOWN, SLOW_FACTOR * expected)


def last_failure(record: TestRecord, state: RunState) -> TestResult | None:
    """The latest execution that failed; where none did and the verdict says so, that verdict's reason."""
    if fails_without_attempt(record):
        return TestResult(test=record.test.id, verdict=Verdict.FAILED, message=record.reason)
    attempt = state.ledger.attempts.get(record.lease) if record.lease is not None else None
    live = attempt.live.get(record.test.id) if attempt is not None else None
    if live is not None and _bad(live):
        return live
    return next((result for _, _, result in reversed(record.history) if _bad(result)), None)


def failing_machines(record: TestRecord, state: RunState, positions: Positions) -> set[int]:
    """The machines on which it failed, the attempt that still runs included."""
    machines = {MachineName(a.machine) for a in attempts_of(record, state) if a.outcome.bad and a.machine}
    attempt = state.ledger.attempts.get(record.lease) if record.lease is not None else None
    if attempt is not None and (live := attempt.live.get(record.test.id)) is not None and _bad(live):
        machines.add(attempt.lease.machine)
    return {positions.machine(name) for name in machines}


def _bad(result: TestResult) -> bool:
    return result.verdict is Verdict.FAILED or (result.verdict is Verdict.FLAKY and bool(result.message))


def names(state: RunState) -> list[tuple[str, str, str]]:
    """Title, file with line, project of every test: what never changes."""
    tests = state.started.tests if state.started else ()
    return [
        (one_line(test.name), one_line(f"{test.file}:{test.line}" if test.line else test.file), one_line(test.project))
        for test in tests
    ]


def machine(state: MachineState, last_seen: float | None, positions: Positions) -> dict[str, Any]:
    checked = state.checked
    spec = state.spec
    return {
        "name": one_line(spec.name, 60),
        "word": state.word,
        "why": one_line(state.why_unusable),
        "cores": (checked.cores if checked else 0) or spec.cores,
        "health": one_line(checked.text) if checked else "",
        "done": state.done,
        "given": max(state.given, state.done),
        "failed": failed_on(state),
        "retries": state.retries,
        "losses": state.losses,
        "lost_at": state.lost_at,
        "current": -1 if state.current is None else positions.tests.get(state.current, -1),
        "last_seen": last_seen,
    }


def attempt_bar(attempt: AttemptRecord, origin: float) -> tuple[int, float, float | None, str]:
    """An attempt on its machine's timeline: lease, start, end, how it ended. Seconds since `origin`."""
    start = attempt.lease.granted if attempt.started is None else attempt.started
    end = None if attempt.ended is None else round(attempt.ended - origin, 2)
    return (attempt.lease.number, round(start - origin, 2), end, _attempt_word(attempt))


def _attempt_word(attempt: AttemptRecord) -> str:
    if attempt.result is not None:
        return attempt.result.ended.value
    return "sent" if attempt.started is None else "running"


def head(state: RunState, counts: Mapping[str, int], now: float) -> dict[str, Any]:
    """The verdict bar. `now` is on the clock of the run, by which the phase `lost` is decided."""
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
        "last_event": state.now or None,
        "remaining": None if remaining is None else round(remaining),
        "reason": one_line(finished.reason) if finished else "",
        "total": state.total,
        "counts": dict(counts),
        "planned": makespan.planned if makespan else (started.planned if started else 0.0),
        "lower_bound": makespan.lower_bound if makespan else (started.lower_bound if started else 0.0),
        "realised": makespan.realised if makespan else None,
        "retried": len(state.retried),
        "moved": state.reassigned,
        "resumed": len(state.resumed),
        "warnings": [[one_line(w.source, 60), one_line(w.text)] for w in state.warnings[-WARNINGS:]],
    }


def spent(state: RunState) -> list[tuple[str, int]]:
    """What the whole seconds of a run that is over went into."""
    return [(name, round(seconds)) for name, seconds in time_use(state).parts if seconds >= 1]


def phase_of(state: RunState, now: float) -> str:
    if state.finished is not None:
        return verdict_word(state).lower()
    if state.started is None:
        return "starting"
    if now - state.now > LOST_AFTER:
        return "lost"
    return "running" if state.interrupted is None else "stopping"


def _headline(phase: str, counts: Mapping[str, int]) -> str:
    if phase == "passed" and counts.get("flaky"):
        return "Passed, flaky"
    return "Waiting for the run" if phase == "starting" else phase.capitalize()


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
    quarantined = sum(1 for each in state.machines.values() if each.quarantined)
    parts += [f"{count(n, 'machine')} {word}" for n, word in ((lost, "lost"), (quarantined, "quarantined")) if n]
    if parts and (failed or not_run):
        return ", ".join(parts)
    if nothing := nothing_passed(total, counts.get("skipped", 0)):
        return ", ".join([nothing, *parts])
    done = counts.get("passed", 0) + counts.get("skipped", 0) + counts.get("flaky", 0)
    first = (
        f"{count(total, 'test')}, nothing failed"
        if done >= total > 0
        else f"{done} of {count(total, 'test')} done, none failed"
    )
    return ", ".join([first, *parts]) if total else "no test is known yet"


# -- one test -------------------------------------------------------------------------------------------------------


def detail_of(state: RunState, test: Test, n: int) -> dict[str, Any]:
    """Everything about one test, for the drawer: its attempts side by side, and the command that runs it again."""
    record = state.ledger.records[test.id]
    attempts = [a for a in state.ledger.attempts.values() if test.id in a.lease.shard.tests]
    return {
        "n": n,
        "title": one_line(test.name),
        "file": one_line(f"{test.file}:{test.line}" if test.line else test.file),
        "project": one_line(test.project),
        "verdict": record.verdict.value if record.verdict else None,
        "reason": one_line(record.reason),
        "retries": record.retries,
        "moves": record.reassignments,
        "avoid": one_line(record.avoid_machine or "", 60),
        "reproduce": reproduce(test, state.started.runner if state.started else ""),
        "attempts": [_attempt(a, test, state.started_at) for a in attempts[-ATTEMPTS:]],
        "attempts_omitted": max(0, len(attempts) - ATTEMPTS),
    }


def _attempt(attempt: AttemptRecord, test: Test, origin: float) -> dict[str, Any]:
    ended = attempt.result
    results = ended.results if ended is not None else tuple(attempt.live.values())
    result = next((each for each in results if each.test == test.id), attempt.live.get(test.id))
    return {
        "lease": attempt.lease.number,
        "machine": one_line(attempt.lease.machine, 60),
        "kind": attempt.lease.shard.kind.value,
        "tests": len(attempt.lease.shard.tests),
        "started": None if attempt.started is None else round(attempt.started - origin, 2),
        "ended": None if attempt.ended is None else round(attempt.ended - origin, 2),
        "word": _attempt_word(attempt),
        "cause": one_line(ended.cause.value) if ended else "",
        "reason": one_line(ended.reason) if ended else "",
        "stale": attempt.stale,
        "suspect": bool(ended and test.id in ended.suspects),
        "result": None if result is None else _result(result),
    }


def _result(result: TestResult) -> dict[str, Any]:
    return {
        "verdict": result.verdict.value,
        "seconds": seconds_of(result),
        "message": _cut(result.message),
        "detail": _cut(result.detail),
        "reason": one_line(result.reason),
        "retries": result.retries,
    }


def _cut(text: str) -> str:
    shown = printable(text)
    left = len(shown) - TEXT
    return shown if left <= 0 else f"{shown[:TEXT]}\n… {count(left, 'more character')}"


def reproduce(test: Test, runner: str) -> str:
    """The runner's own command for this one test, quoted for a POSIX shell; empty when the runner is not known."""
    if runner == "playwright" and test.file:
        place = f"{test.file}:{test.line}" if test.line else test.file
        project = [f"--project={test.project}"] if test.project else []
        return shlex.join(["npx", "playwright", "test", printable(place), *map(printable, project)])
    if runner == "pytest" and (test.runner_id or test.file):
        return shlex.join(["python", "-m", "pytest", printable(test.runner_id or test.file)])
    return ""
