"""The JUnit file of a runner that has no reporter of ours: its cases as results of the expected tests."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import report_merge  # it loads lxml when `read` is first asked for
from ci_dispatch.core.model import Test, TestId, TestResult, UnitId, UnlistedResult, Verdict
from ci_dispatch.suites.attempts import without_pass
from ci_dispatch.suites.live_events import WORST_FIRST
from report_merge.model import Case, Outcome

MAX_JUNIT = 256 << 20  # bytes
_SUITE = re.compile(rb"<testsuites?\s([^<>]*)>")
_FAILURES = re.compile(rb"""\b(?:failures|errors)\s*=\s*["'](\d{1,9})["']""")


@dataclass(frozen=True, slots=True, kw_only=True)
class JUnitResults:
    """What a JUnit file says about the expected tests, however its runner names them there."""

    results: tuple[TestResult, ...] = ()
    others: tuple[UnlistedResult, ...] = ()  # cases that are none of the tests
    problem: str = ""  # why the file was not, or only partly, read


def junit_results(file: Path, tests: Sequence[Test]) -> JUnitResults:
    """One result for each of `tests` that the file names.

    Several cases of one test (its name is a file's or a class's) are one result: the worst, with their times added.
    """
    try:
        size = file.stat().st_size
    except FileNotFoundError:
        return JUnitResults(problem="there is none")
    if size > MAX_JUNIT:
        return JUnitResults(problem=f"it has {size} bytes, more than {MAX_JUNIT}")
    data = file.read_bytes()
    reading = report_merge.read(data, file.name)
    expected = {test.runner_id: test.id for test in tests}
    cases: dict[TestId, list[Case]] = {}
    others: dict[str, list[Case]] = {}
    for case in reading.cases:
        name = next((name for name in _names(case) if name in expected), None)
        if name is None:
            others.setdefault(next(_names(case)), []).append(case)
        else:
            cases.setdefault(expected[name], []).append(case)
    problem = reading.problem.reason if reading.problem else ""
    results = [_result_of(test, several) for test, several in cases.items()]
    if problem:  # what is lost may be cases of the same file or class
        whole = {expected[name] for case in reading.cases for name in _own_names(case) if name in expected}
        results = [
            result if result.test in whole else without_pass(result, "its JUnit file is damaged") for result in results
        ]
    elif (failures := _failures_counted(data)) and not any(
        attempt.outcome.bad for case in reading.cases for attempt in case.attempts
    ):
        problem = f"it counts {failures} failures and shows none"
        results = [without_pass(result, f"of its JUnit file: {problem}") for result in results]
    return JUnitResults(
        results=tuple(results), others=tuple(_other(several) for several in others.values()), problem=problem
    )


def _failures_counted(data: bytes) -> int:
    """The largest number of failures and errors that a suite of this JUnit file says it has."""
    counted = [_FAILURES.findall(attributes) for attributes in _SUITE.findall(data)]
    return max((sum(int(number) for number in numbers) for numbers in counted), default=0)


def _names(case: Case) -> Iterator[str]:
    """How a list command may call this case, the most exact first."""
    yield from _own_names(case)
    yield from filter(None, (case.key.file, case.key.classname))


def _own_names(case: Case) -> Iterator[str]:
    """Those that are not its file's or class's."""
    key = case.key
    yield "::".join(filter(None, (key.file, key.classname, key.name)))
    if key.file:
        yield f"{key.file}::{key.name}"
    if key.classname:
        yield f"{key.classname}::{key.name}"
        yield f"{key.classname}.{key.name}"
    yield key.name


def _other(cases: Sequence[Case]) -> UnlistedResult:
    key, names = cases[0].key, tuple(_names(cases[0]))
    title = tuple(filter(None, (key.classname, key.name)))
    test = Test(id=TestId(names[0]), unit=UnitId(names[0]), file=key.file, title=title, runner_id=names[0])
    return UnlistedResult(test=test, result=_result_of(test.id, cases), names=names)


def _result_of(test: TestId, cases: Sequence[Case]) -> TestResult:
    worst = min(cases, key=lambda case: WORST_FIRST.index(case.verdict))
    shown = next((attempt for attempt in worst.attempts if attempt.outcome.bad), worst.last)
    if shown and shown.outcome is Outcome.BROKEN:
        return TestResult(test=test, verdict=Verdict.NOT_RUN, reason="its JUnit file ends inside this test")
    seconds = [attempt.seconds for case in cases for attempt in case.attempts if attempt.seconds is not None]
    return TestResult(
        test=test,
        verdict=worst.verdict,
        seconds=sum(seconds) if seconds else None,
        message=shown.message if shown else "",
        detail=shown.text if shown else "",
        kind=shown.kind if shown else "",
        reason=shown.message if shown and worst.verdict is Verdict.SKIPPED else worst.reason,
        retries=max(len(worst.attempts) - 1, 0),
        classname=worst.key.classname if len(cases) == 1 else "",
        name=worst.key.name if len(cases) == 1 else "",
    )
