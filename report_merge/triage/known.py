"""Failures that somebody has taken on until a day: they are run, shown and counted, and do not make the run red.

[[failure]]
test = "tests/test_cart.py::test_total"      # as in --expect; or a table of project, file, classname and name
message = "connection refused"               # optional: only when the failure says this
owner = "@acme/shop"
reason = "issue 123"
expires = 2026-12-31                         # the last day; from the next on it is a failure like any other
"""

from __future__ import annotations

import tomllib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

from report_merge.merge.expected import ExpectedTest, named_test
from report_merge.model import Case, FileProblem, KnownFailure, Report, Verdict
from report_merge.sanitize import one_line

_FIELDS = ("test", "message", "owner", "reason", "expires")
NOTES = 50  # entries that a note names


class BadKnownFailures(ValueError):
    """The file cannot be used. The reason is for people."""


@dataclass(frozen=True, slots=True)
class KnownEntry:
    test: ExpectedTest
    message: str
    owner: str
    reason: str
    expires: date


def parse(text: str) -> tuple[KnownEntry, ...]:
    """Raises BadKnownFailures with everything that is wrong."""
    try:
        document = tomllib.loads(text)
    except ValueError as error:
        raise BadKnownFailures(f"it is not TOML: {error}") from None
    entries = document.get("failure")
    if set(document) - {"failure"} or not isinstance(entries, list):
        raise BadKnownFailures("it must hold [[failure]] tables and nothing else")
    wrong: list[str] = []
    found = [_entry(entry, number, wrong) for number, entry in enumerate(entries, 1)]
    if wrong:
        raise BadKnownFailures("; ".join([*wrong[:10], *([f"and {len(wrong) - 10} more"] if len(wrong) > 10 else [])]))
    return tuple(entry for entry in found if entry)


def _entry(entry: object, number: int, wrong: list[str]) -> KnownEntry | None:
    before = len(wrong)
    if not isinstance(entry, dict):
        wrong.append(f"failure {number} is no table")
        return None
    wrong += [f'failure {number}: unknown key "{key}"' for key in entry if key not in _FIELDS]
    for name in ("owner", "reason"):
        if not isinstance(entry.get(name), str) or not entry[name].strip():
            wrong.append(f"failure {number} needs a text {name}")
    message, expires = entry.get("message", ""), entry.get("expires")
    if not isinstance(message, str):
        wrong.append(f"failure {number}: message must be a text")
    if not isinstance(expires, date) or isinstance(expires, datetime):
        wrong.append(f"failure {number} needs a day it expires on, such as expires = 2026-12-31, without quotes")
    test = named_test(entry.get("test"), wrong)
    if len(wrong) > before or test is None or not isinstance(expires, date):
        return None
    return KnownEntry(test, message, entry["owner"], entry["reason"], expires)


def with_known(report: Report, entries: Sequence[KnownEntry], today: date, file: str) -> Report:
    """Tests that failed as an entry says are `known`; entries that nothing failed for are notes about `file`."""
    by_name: defaultdict[str, list[KnownEntry]] = defaultdict(list)
    for entry in entries:
        by_name[entry.test.name].append(entry)
    met: set[KnownEntry] = set()
    known = 0

    def marked(case: Case) -> Case:
        nonlocal known
        if case.verdict is not Verdict.FAILED:
            return case
        fitting = [entry for entry in by_name.get(case.key.name, ()) if _fits(entry, case)]
        met.update(fitting)
        if not fitting:
            return case
        latest = max(fitting, key=lambda entry: entry.expires)
        expired = latest.expires < today
        known += not expired
        told = KnownFailure(
            owner=latest.owner, reason=latest.reason, expires=latest.expires.isoformat(), expired=expired
        )
        return replace(case, known=told)

    report = report.with_eventful(marked)
    idle = [entry for entry in entries if entry not in met]
    notes = [FileProblem(file=file, reason=f"{entry.test.text} did not fail: take it out") for entry in idle[:NOTES]]
    if len(idle) > NOTES:
        notes.append(FileProblem(file=file, reason=f"{len(idle) - NOTES} more did not fail"))
    return replace(report, totals=replace(report.totals, known=known), notes=(*report.notes, *notes))


def _fits(entry: KnownEntry, case: Case) -> bool:
    key = case.key
    if not entry.test.is_one(key.project, key.file, key.classname):
        return False
    bad = next(attempt for attempt in reversed(case.attempts) if attempt.outcome.bad)
    said = one_line(f"{bad.message} {bad.text}", 1_000_000).casefold()
    return one_line(entry.message, 1_000_000).casefold() in said
