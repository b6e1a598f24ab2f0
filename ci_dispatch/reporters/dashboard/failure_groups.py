"""Failures grouped by their cause, as they happen; verdicts and fingerprints are those of `report_merge.failures`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ci_dispatch.core.model import TestResult
from ci_dispatch.reporters.dashboard.snapshot import TestRow
from report_merge.failures import classify, fingerprint
from report_merge.sanitize import first_line, one_line, printable

GROUPS = 60  # shown; the rest is counted
TESTS_OF_A_GROUP = 200  # named; the rest is counted
_HEAD, _TAIL = 25, 10  # lines of a sample: long assertions have what was received at their end
_SCANNED = 8_000  # characters of a stack trace that are read and remembered

_KINDS = ("failed", "not run", "flaky")  # what needs a person first, and among those:
_WHOSE = ("product", "test", "unknown", "setup", "environment", "infrastructure", "cancelled")


@dataclass(frozen=True, slots=True)
class SharedCause:
    """What the failures of one group have in common."""

    key: str
    title: str
    whose: str  # product, test, environment, infrastructure, setup, unknown
    hint: str = ""


UNKNOWN = SharedCause(key="unknown", title="no attempt gave a reason", whose="unknown")


def cause_of(result: TestResult) -> SharedCause:
    """Why this execution failed."""
    return _cause(result.kind, result.message[:_SCANNED], result.detail[-_SCANNED:])


@lru_cache(maxsize=512)  # one cause breaks many tests
def _cause(kind: str, message: str, detail: str) -> SharedCause:
    text = message if not kind or kind in message or kind in detail else f"{kind}: {message}"
    finding = classify(detail, message=text, source="test")
    return SharedCause(
        key=fingerprint(finding, kind, message, detail),
        title=first_line(text, 200) or first_line(detail, 200) or one_line(kind, 200) or "no message",
        whose=finding.verdict.value,
        hint=finding.hint if finding.rule else "",
    )


def not_run(reason: str) -> SharedCause:
    title = one_line(reason, 200) or "no reason was given"
    return SharedCause(key=f"not-run:{title}", title=title, whose="infrastructure")


def groups(
    rows: Iterable[TestRow],
    causes: Mapping[str, SharedCause],
    sample: Callable[[int], str],
    places: Callable[[TestRow], set[int]],
) -> tuple[list[dict[str, Any]], int]:
    """The groups to show, most needed and largest first, and how many were left out.

    `sample` gives a test's text, `places` the machines it failed on.
    """
    members: defaultdict[tuple[str, str], list[TestRow]] = defaultdict(list)
    for row in rows:
        if row.cause:
            members[_kind(row), row.cause].append(row)
    ordered = sorted(members.items(), key=lambda item: (*_need(item[0], causes), -len(item[1]), item[1][0].n))
    shown = [_group(kind, causes[key], found, sample(found[0].n), places) for (kind, key), found in ordered[:GROUPS]]
    return shown, len(ordered) - len(shown)


def _need(group: tuple[str, str], causes: Mapping[str, SharedCause]) -> tuple[int, int]:
    kind, key = group
    return _KINDS.index(kind), _WHOSE.index(causes[key].whose)


def _kind(row: TestRow) -> str:
    return row.state if row.state in _KINDS else "failed"  # a test that is being retried has failed so far


def _group(
    kind: str, cause: SharedCause, rows: list[TestRow], sample: str, places: Callable[[TestRow], set[int]]
) -> dict[str, Any]:
    return {
        "key": f"{kind}:{cause.key}",
        "kind": kind,
        "whose": cause.whose,
        "title": cause.title,
        "hint": cause.hint,
        "count": len(rows),
        "machines": sorted(set().union(*map(places, rows)) - {-1}),
        "tests": [row.n for row in rows[:TESTS_OF_A_GROUP]],
        "retrying": sum(1 for row in rows if row.state not in _KINDS or "l" in row.flags),
        "sample": sample,
    }


def excerpt(result: TestResult) -> str:
    """The first and the last lines of what an execution reported."""
    text = printable(result.detail or result.message)
    lines = text.splitlines()
    if len(lines) > _HEAD + _TAIL:
        lines = [*lines[:_HEAD], f"… {len(lines) - _HEAD - _TAIL} more lines …", *lines[-_TAIL:]]
    return "\n".join(line if len(line) <= 400 else line[:399] + "…" for line in lines)
