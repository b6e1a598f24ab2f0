"""What a JUnit file says about the expected tests, however its runner names them there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import report_merge  # its reader brings lxml: only those who read load that
from ci_dispatch.core.model import Test, TestId, TestResult, Verdict
from report_merge.model import Case, Outcome

MAX_BYTES = 256 << 20
_WORST = (Verdict.FAILED, Verdict.FLAKY, Verdict.PASSED, Verdict.SKIPPED, Verdict.NOT_RUN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    results: tuple[TestResult, ...] = ()
    strangers: tuple[str, ...] = ()  # cases that are none of the tests
    problem: str = ""  # why the file was not, or only partly, read


def told_by(file: Path, tests: Sequence[Test]) -> Told:
    """One result for each of `tests` that the file names; no file tells nothing.

    Several cases of one test (its name is a file's or a class's) are one result: the worst, with their times added.
    """
    try:
        size = file.stat().st_size
    except FileNotFoundError:
        return Told(problem="there is none")
    if size > MAX_BYTES:
        return Told(problem=f"it has {size} bytes, more than {MAX_BYTES}")
    reading = report_merge.read(file.read_bytes(), file.name)
    expected = {test.runner_id: test.id for test in tests}
    cases: dict[TestId, list[Case]] = {}
    strangers = []
    for case in reading.cases:
        name = next((name for name in _names(case) if name in expected), None)
        if name is None:
            strangers.append(next(_names(case)))
        else:
            cases.setdefault(expected[name], []).append(case)
    return Told(
        results=tuple(_result(test, several) for test, several in cases.items()),
        strangers=tuple(strangers),
        problem=reading.problem.reason if reading.problem else "",
    )


def _names(case: Case) -> Iterator[str]:
    """How a list command may call this case, the most exact first."""
    key = case.key
    yield "::".join(filter(None, (key.file, key.classname, key.name)))
    if key.file:
        yield f"{key.file}::{key.name}"
    if key.classname:
        yield f"{key.classname}::{key.name}"
        yield f"{key.classname}.{key.name}"
    yield key.name
    yield from filter(None, (key.file, key.classname))


def _result(test: TestId, cases: Sequence[Case]) -> TestResult:
    worst = min(cases, key=lambda case: _WORST.index(case.verdict))
    told = next((attempt for attempt in worst.attempts if attempt.outcome.bad), worst.last)
    if told and told.outcome is Outcome.BROKEN:
        return TestResult(test=test, verdict=Verdict.NOT_RUN, reason="its JUnit file ends inside this test")
    seconds = [attempt.seconds for case in cases for attempt in case.attempts if attempt.seconds is not None]
    return TestResult(
        test=test,
        verdict=worst.verdict,
        seconds=sum(seconds) if seconds else None,
        message=told.message if told else "",
        detail=told.text if told else "",
        kind=told.kind if told else "",
        reason=told.message if told and worst.verdict is Verdict.SKIPPED else worst.reason,
        retries=max(len(worst.attempts) - 1, 0),
    )
