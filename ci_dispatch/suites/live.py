"""The live file: what the runner's reporter appended, one JSON line at a time. Hostile until read here.

    {"kind": "plan", "tests": [{"id": ...}, ...]}          what the runner is about to run
    {"kind": "begin", "id": ...}
    {"kind": "end", "id": ..., "verdict": "passed" | "failed" | "flaky" | "skipped" | "not run", "seconds": ...,
     "message": ..., "detail": ..., "reason": ..., "retries": ..., "final": true}
    {"kind": "problem", "trouble": "load error" | "setup" | "crash" | "usage error", "message": ...}
    {"kind": "done"}                                        the runner came to its own end

A cut or strange line is no news. The last `end` of a test counts: a runner that retries says so itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ci_dispatch.core.model import FailureCause, TestId, TestResult, Verdict
from report_merge.plain import strip_ansi

MAX_LINE = 64 << 20  # bytes; a plan of very many tests is one line
_KIND = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Failure)\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    trouble: FailureCause
    message: str


@dataclass(slots=True, kw_only=True)
class News:
    """Everything one live file says."""

    planned: set[TestId] | None = None  # None: the runner never came so far
    helpers: set[TestId] = field(default_factory=set)  # run in every invocation, whatever it selects
    names: dict[TestId, str] = field(default_factory=dict)
    begun: dict[TestId, None] = field(default_factory=dict)  # an ordered set
    ended: dict[TestId, TestResult] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    done: bool = False

    def add(self, line: bytes) -> None:
        entry = parse(line)
        match entry.get("kind"):
            case "plan":
                self._plan(entries(entry.get("tests")))
            case "begin":
                self.begun[TestId(text(entry, "id"))] = None
            case "end":
                if result := result_of(entry):
                    self.ended[result.test] = result
            case "problem":
                self.problems.append(Problem(trouble=_trouble(entry), message=strip_ansi(text(entry, "message"))))
            case "done":
                self.done = True

    def _plan(self, tests: Iterable[Mapping[str, Any]]) -> None:
        self.planned = self.planned or set()
        for test in tests:
            test_id = TestId(text(test, "id"))
            self.planned.add(test_id)
            self.names[test_id] = (
                " › ".join(filter(None, (text(test, "project"), *texts(test.get("title"))))) or test_id
            )
            if test.get("setup") is True:
                self.helpers.add(test_id)


def read_news(lines: Iterable[bytes]) -> News:
    news = News()
    for line in lines:
        news.add(line)
    return news


def live_result(line: bytes) -> TestResult | None:
    """A line as the end of a test, or None; a failure that its runner is about to retry is not an end."""
    entry = parse(line)
    return result_of(entry) if entry.get("kind") == "end" and entry.get("final", True) else None


def parse(line: bytes) -> Mapping[str, Any]:
    """The line's fields, or none at all."""
    if len(line) > MAX_LINE:
        return {}
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return entry if isinstance(entry, dict) else {}


def result_of(entry: Mapping[str, Any]) -> TestResult | None:
    try:
        verdict = Verdict(text(entry, "verdict"))
    except ValueError:
        return None
    message = strip_ansi(text(entry, "message"))
    kind = _KIND.match(message)
    return TestResult(
        test=TestId(text(entry, "id")),
        verdict=verdict,
        seconds=_number(entry, "seconds"),
        message=message,
        detail=strip_ansi(text(entry, "detail")),
        kind=kind.group() if kind else "",
        reason=strip_ansi(text(entry, "reason")),
        retries=int(_number(entry, "retries") or 0),
    )


def entries(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def texts(value: object) -> tuple[str, ...]:
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def text(entry: Mapping[str, Any], name: str) -> str:
    value = entry.get(name)
    return value if isinstance(value, str) else ""


def _number(entry: Mapping[str, Any], name: str) -> float | None:
    value = entry.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if 0 <= value < 1e9 else None


def _trouble(entry: Mapping[str, Any]) -> FailureCause:
    try:
        return FailureCause(text(entry, "trouble") or FailureCause.CRASH)
    except ValueError:
        return FailureCause.CRASH
