"""Everything about one test, for the drawer: its attempts side by side, and the command that runs it again."""

from __future__ import annotations

import shlex
from typing import Any

from ci_dispatch.core.model import Test, TestResult
from ci_dispatch.reporters.dashboard.snapshot import seconds_of
from ci_dispatch.run.ledger import AttemptRecord
from ci_dispatch.run.state import RunState
from report_merge.plain import one_line, plain

TEXT = 64 * 1024  # characters of one message or stack trace
ATTEMPTS = 50  # the latest ones


def test(state: RunState, test: Test, n: int) -> dict[str, Any]:
    entry = state.ledger.records[test.id]
    attempts = [a for a in state.ledger.attempts.values() if test.id in a.lease.shard.tests]
    return {
        "n": n,
        "id": one_line(test.id),
        "title": one_line(test.name),
        "file": one_line(f"{test.file}:{test.line}" if test.line else test.file),
        "project": one_line(test.project),
        "verdict": entry.verdict.value if entry.verdict else None,
        "reason": one_line(entry.reason),
        "retries": entry.retries,
        "moves": entry.reassignments,
        "avoid": one_line(entry.avoid_machine or "", 60),
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
        "word": ended.ended.value if ended else ("sent" if attempt.started is None else "running"),
        "trouble": one_line(ended.cause.value) if ended else "",
        "reason": one_line(ended.reason) if ended else "",
        "exit_code": ended.exit_code if ended else None,
        "stale": attempt.stale,
        "suspect": bool(ended and test.id in ended.suspects),
        "result": None if result is None else _result(result),
    }


def _result(result: TestResult) -> dict[str, Any]:
    return {
        "verdict": result.verdict.value,
        "seconds": seconds_of(result),
        "kind": one_line(result.kind),
        "message": plain(result.message)[:TEXT],
        "detail": plain(result.detail)[:TEXT],
        "reason": one_line(result.reason),
        "retries": result.retries,
    }


def reproduce(test: Test, runner: str) -> str:
    """The runner's own command for this one test, quoted for a POSIX shell; empty when the runner is not known."""
    if runner == "playwright" and test.file:
        place = f"{test.file}:{test.line}" if test.line else test.file
        project = [f"--project={test.project}"] if test.project else []
        return shlex.join(["npx", "playwright", "test", plain(place), *map(plain, project)])
    if runner == "pytest" and (test.runner_id or test.file):
        return shlex.join(["python", "-m", "pytest", plain(test.runner_id or test.file)])
    return ""
