"""The list of all tests inside the HTML report, as compact JSON: what needs attention first, within its bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from report_merge.model import Case, Report, Verdict
from report_merge.render.escape import NAME_LIMIT, script_json
from report_merge.render.view import excerpt
from report_merge.render.wording import count
from report_merge.sanitize import one_line, plain

ATTEMPTS = 20  # of one test
_ORDER = (Verdict.FAILED, Verdict.NOT_RUN, Verdict.FLAKY, Verdict.SKIPPED, Verdict.PASSED)


@dataclass(frozen=True, slots=True)
class ListedTests:
    json: str
    listed: int
    unlisted: int


class _Names:
    """A list in which each name stands once, for rows to refer to by number."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.bytes = 0

    def __call__(self, name: str) -> int:
        name = one_line(name, NAME_LIMIT)
        if name not in self.numbers:
            self.numbers[name] = len(self.numbers)
            self.bytes += _size(name)
        return self.numbers[name]


def listed_tests(report: Report, budget_bytes: int) -> ListedTests:
    """Rows ``[verdict, place, name, project, machine, seconds, detail?]`` and, beside them, what the attempts did.

    Rows come first; texts of attempts get what then is left, failed tests before flaky ones.
    """
    cases = sorted(report.cases, key=lambda case: _ORDER.index(case.verdict))
    places, projects, machines = _Names(), _Names(), _Names()
    rows: list[list[Any]] = []
    used = 500
    for case in cases:
        row = _row(case, places, projects, machines)
        cost = _size(row) + 8  # a comma, and the number of its detail
        if used + cost + places.bytes + projects.bytes + machines.bytes > budget_bytes:
            break
        used += cost
        rows.append(row)
    details: list[Any] = []
    left = budget_bytes - used - places.bytes - projects.bytes - machines.bytes
    for case, row in zip(cases, rows, strict=False):
        if case.verdict is Verdict.PASSED and len(case.attempts) == 1:
            continue
        detail = next((d for d in _details(case) if _size(d) <= left), None)
        if detail is not None:
            left -= _size(detail)
            row.append(len(details))
            details.append(detail)
    document = {
        "verdicts": [str(verdict) for verdict in _ORDER],
        "places": list(places.numbers),
        "projects": list(projects.numbers),
        "machines": list(machines.numbers),
        "rows": rows,
        "details": details,
    }
    return ListedTests(_dumps(document), len(rows), report.totals.tests - len(rows))


def _row(case: Case, places: _Names, projects: _Names, machines: _Names) -> list[Any]:
    machine = case.last.machine if case.last else ""
    seconds = case.last.seconds if case.last else None
    name = case.key.name + (f" ({case.key.ordinal + 1})" if case.key.ordinal else "")
    return [
        _ORDER.index(case.verdict),
        places(case.key.classname or case.key.file),
        one_line(name, NAME_LIMIT),
        projects(case.key.project),
        machines(machine),
        round(seconds, 3) if seconds is not None and abs(seconds) < 1e9 else None,
    ]


def _details(case: Case) -> Iterable[list[Any]]:
    """What happened in each attempt: in full, in a few lines, without a text."""
    if not case.attempts:
        yield [[str(Verdict.NOT_RUN), None, "", plain(case.reason)]]
        return
    more = len(case.attempts) - ATTEMPTS
    rest = [[f"and {count(more, 'more attempt')}", None, "", ""]] if more > 0 else []
    for head, tail in ((100, 30), (6, 3), (0, 0)):
        yield [
            *(
                [
                    str(attempt.outcome),
                    attempt.seconds if attempt.seconds is None or abs(attempt.seconds) < 1e9 else None,
                    one_line(attempt.machine, NAME_LIMIT),
                    plain(excerpt(attempt.text or attempt.message, head, tail)) if head and attempt.outcome.bad else "",
                ]
                for attempt in case.attempts[:ATTEMPTS]
            ),
            *rest,
        ]


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _size(value: Any) -> int:
    """Bytes of `value` in the page, where some characters are written as escapes."""
    return len(script_json(_dumps(value)).encode("utf-8")) + 1
