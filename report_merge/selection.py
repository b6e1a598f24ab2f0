"""The tests a report holds: those worth showing with all they said, within a budget; on request the others, lean."""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from report_merge.fragments import Fragments, decoded_attributes
from report_merge.index import BAD, EARLIER, ERROR, FAILURE, SKIPPED, verdict_flags
from report_merge.indexing import Indexed
from report_merge.joining import Execution, Joined, combined_flags
from report_merge.junit.dialects import portable_file
from report_merge.junit.testcase import case_of
from report_merge.limits import ReadLimits
from report_merge.model import Attempt, Case, CaseKey, Outcome, Verdict
from report_merge.numbering import MergedCase

SLOWEST = 20
_SKIPPED_KEPT = 200
_CLIPPED = 300  # characters left of a text when the budget is spent: enough for the first line
_EVENTFUL = re.compile(rb"[^\x00]")


class Selection:
    """Failed, flaky and skipped tests and the slowest ones, in document order; with `all_cases` every test."""

    def __init__(self, fragments: Fragments, joined: Joined, limits: ReadLimits, *, all_cases: bool) -> None:
        self._fragments = fragments
        self._joined = joined
        self._most = limits.text_bytes
        self._room = {  # what failed for good is not to lack room because of what passed in the end
            Verdict.FAILED: limits.kept_text_bytes * 3 // 4,
            Verdict.FLAKY: limits.kept_text_bytes // 8,
            Verdict.PASSED: limits.kept_text_bytes // 16,
            Verdict.SKIPPED: limits.kept_text_bytes // 16,
        }
        self._all_cases = all_cases
        self._chosen = _worth_showing(fragments.files, joined, limits)

    def of(self, file: int, tests: dict[int, MergedCase]) -> Iterator[Case]:
        """The tests of one file; `tests` are those of them that other files tell of too."""
        chosen, ordinals = self._chosen[file], _ordinals(self._fragments.files[file])
        count = len(self._fragments.files[file].index.cases.flags)
        for case in range(count) if self._all_cases else sorted(chosen):
            at = Execution(file, case)
            if case in self._joined.absorbed[file]:
                continue
            ordinal = self._joined.ordinals.get(at, ordinals.get(case, 0))
            if case not in chosen:
                yield _lean(self._fragments, self._joined, at, ordinal)
            elif case in tests:
                yield self._within_budget(tests[case].case)
            else:
                element, around = self._fragments.case(*at), self._fragments.around_case(*at)
                yield self._within_budget(case_of(element, around, ordinal=ordinal))

    def _within_budget(self, case: Case) -> Case:
        room = self._room[case.verdict]
        attempts = tuple(_clipped(attempt, room, self._most) for attempt in case.attempts)
        self._room[case.verdict] -= sum(map(_size, attempts))
        return case if attempts == case.attempts else replace(case, attempts=attempts)


def _worth_showing(files: Sequence[Indexed], joined: Joined, limits: ReadLimits) -> list[set[int]]:
    chosen: list[set[int]] = [set() for _ in files]
    slowest: list[tuple[int, Execution]] = []
    kept = skipped = 0
    for number, file in enumerate(files):
        eventful = {match.start() for match in _EVENTFUL.finditer(file.index.cases.flags)} | joined.tests[number].keys()
        for case in sorted(eventful - joined.absorbed[number]):
            flags = _flags(files, joined, Execution(number, case))
            if flags & (BAD | EARLIER) and kept < limits.kept_cases:
                kept += 1
                chosen[number].add(case)
            elif flags & SKIPPED and skipped < _SKIPPED_KEPT:
                skipped += 1
                chosen[number].add(case)
        slowest += [(took, Execution(number, case)) for took, case in file.index.slowest if took > 0]
    for _, at in heapq.nlargest(SLOWEST, slowest):
        if at.case not in joined.absorbed[at.file]:
            chosen[at.file].add(at.case)
    return chosen


def _flags(files: Sequence[Indexed], joined: Joined, at: Execution) -> int:
    executions = joined.tests[at.file].get(at.case)
    return combined_flags(files, executions) if executions else files[at.file].index.cases.flags[at.case]


def _ordinals(file: Indexed) -> dict[int, int]:
    """The ordinals above 0 of tests that share all names inside one file."""
    identities = file.index.cases.identity
    if len(set(identities)) == len(identities):
        return {}
    seen: Counter[int] = Counter()
    ordinals: dict[int, int] = {}
    for case, identity in enumerate(identities):
        if seen[identity]:
            ordinals[case] = seen[identity]
        seen[identity] += 1
    return ordinals


def _lean(fragments: Fragments, joined: Joined, at: Execution, ordinal: int) -> Case:
    """A test without texts: its name, verdict and time."""
    cases = fragments.files[at.file].index.cases
    around = fragments.around_case(*at)
    named = decoded_attributes(fragments.start_tag(at.file, cases.start[at.case]))
    key = CaseKey(
        project=around.project,
        file=portable_file(named.get("file") or around.file),
        classname=named.get("classname") or around.suite,
        name=named.get("name", ""),
        ordinal=ordinal,
    )
    last = joined.tests[at.file].get(at.case, [at])[-1]
    took = fragments.files[last.file].index.cases.took[last.case]
    *earlier, outcome = _outcomes(_flags(fragments.files, joined, at))
    final = Attempt(number=len(earlier) + 1, outcome=outcome, seconds=None if took < 0 else took / 1e6)
    return Case(key=key, suite=around.suite, attempts=(*(Attempt(outcome=tried) for tried in earlier), final))


def _outcomes(flags: int) -> tuple[Outcome, ...]:
    match verdict_flags(flags):
        case value if value == FAILURE:
            return (Outcome.FAILED,)
        case value if value == ERROR:
            return (Outcome.ERROR,)
        case value if value == SKIPPED:
            return (Outcome.SKIPPED,)
    return (Outcome.FAILED, Outcome.PASSED) if flags & EARLIER else (Outcome.PASSED,)


def _clipped(attempt: Attempt, room: int, most: int) -> Attempt:
    """The attempt with each text cut to what may be held; the ends of traces and output tell more than the middles."""
    allowed = most if room > 0 else _CLIPPED
    if _size(attempt) <= min(allowed, max(room, _CLIPPED)):
        return attempt
    return replace(
        attempt,
        message=_cut(attempt.message, allowed),
        text=_cut(attempt.text, allowed),
        stdout=_cut(attempt.stdout, allowed),
        stderr=_cut(attempt.stderr, allowed),
    )


def _cut(text: str, allowed: int) -> str:
    if len(text) <= allowed:
        return text
    half = allowed // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters left out; the merged XML has them ...\n{text[-half:]}"


def _size(attempt: Attempt) -> int:
    return len(attempt.message) + len(attempt.text) + len(attempt.stdout) + len(attempt.stderr)
