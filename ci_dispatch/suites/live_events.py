"""The live file: what a test runner's reporter appends, one JSON object a line. Foreign text until it is read here.

    {"kind": "plan", "tests": [{"id": ...}, ...],          what the runner is about to run; fields: `ListedTest`
     "workers": 1,                                          how many of them it can run at once; 0: any number
     "flaky_is_failure": true}                              it was told that a flaky test is a failure
    {"kind": "begin", "id": ...}
    {"kind": "end", "id": ..., "verdict": "passed" | "failed" | "flaky" | "skipped" | "not run", "seconds": ...,
     "message": ..., "detail": ..., "reason": ..., "retries": ..., "final": true}
    {"kind": "deselected", "tests": [{"id": ...}, ...]}    tests that are there, and that this machine leaves out
    {"kind": "problem", "cause": "load error" | "setup" | "crash" | "usage error", "message": ..., "file": ...}
    {"kind": "note", "message": ...}                       what a person should know about a listing
    {"kind": "done"}                                        the runner ended by itself

A line that is cut or has a field of another type is no event. A runner that repeats a test writes an `end` for each
time, all but the last with `"final": false`: the last counts. Several final ends of one id are several tests of one
name: the worst counts, and none before each of them has ended.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ci_dispatch.core import codec
from ci_dispatch.core.codec import Value
from ci_dispatch.core.groups import GroupSpec
from ci_dispatch.core.model import FailureCause, Test, TestId, TestResult, UnitId, Verdict
from report_merge.sanitize import strip_ansi

MAX_LINE = 64 << 20  # bytes; a plan of very many tests is one line
MAX_SECONDS = 1e9
WORST_FIRST = (Verdict.FAILED, Verdict.NOT_RUN, Verdict.FLAKY, Verdict.PASSED, Verdict.SKIPPED)
BAD = (Verdict.FAILED, Verdict.FLAKY)
_KIND = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Failure)\b")


class ListedTest(Value):
    """A test as its runner lists it."""

    id: str = ""
    project: str = ""
    file: str = ""
    title: tuple[str, ...] = ()
    line: int | None = None
    unit: str = ""  # what the runner would not cut; empty: the test alone
    group: str = ""  # what the runner repeats as a whole; empty: the test alone
    setup: bool = False  # it runs in every invocation, whatever that selects
    classname: str = ""  # in the runner's own JUnit reports; empty: the file
    tags: tuple[str, ...] = ()
    marks: tuple[GroupSpec, ...] = ()  # groups that the suite itself puts it in; without a name: for it alone

    def as_test(self) -> Test:
        return Test(
            id=TestId(self.id),
            unit=UnitId(self.id),
            project=self.project,
            file=self.file,
            title=self.title,
            line=self.line,
            runner_id=self.id,
            classname=self.classname,
        )


class _Line(Value):
    """The fields of all kinds of lines. `Any`: a value of another type does not make the rest of the line useless."""

    kind: str
    id: str = ""
    version: str = ""
    tests: tuple[ListedTest, ...] = ()
    workers: int = 0
    flaky_is_failure: bool = False
    verdict: Verdict | None = None
    seconds: Any = None
    message: str | None = None
    detail: str | None = None
    reason: str | None = None
    retries: Any = None
    final: bool = True
    cause: Any = None
    file: str | None = None


class RunnerProblem(Value):
    """What the runner itself reports that is not about one test."""

    cause: FailureCause
    message: str
    file: str = ""  # or folder, as `ListedTest.file`: what it is about


@dataclass(slots=True, kw_only=True)
class LiveEvents:
    """Everything one live file says."""

    planned: dict[TestId, ListedTest] | None = None  # None: the runner never came so far
    copies: Counter[TestId] = field(default_factory=Counter)  # how many tests of the plan have this id
    version: str = ""  # of the runner
    workers: int = 0  # how many tests it can run at once; 0: any number
    flaky_is_failure: bool = False
    deselected: set[TestId] = field(default_factory=set)
    begun: dict[TestId, None] = field(default_factory=dict)  # an ordered set
    ended: dict[TestId, TestResult] = field(default_factory=dict)
    problems: list[RunnerProblem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    undisturbed: int | None = None  # lines, after which a failure says nothing; see `JobEnd.undisturbed_lines`
    disturbed: set[TestId] = field(default_factory=set)  # tests of which there are such failures alone
    unreadable: str = ""  # why a whole line is no event; of the first such line
    _ends: dict[TestId, list[TestResult]] = field(default_factory=dict)  # of each id, all final but perhaps the last
    _repeating: set[TestId] = field(default_factory=set)  # whose last end was not final
    _lines: int = 0

    def add(self, data: bytes) -> None:
        """Take in one line of the file, whatever it holds."""
        self._lines += 1
        try:
            line = _parse(data)
        except ValueError as error:
            if data.strip() and data.endswith(b"\n"):  # without it, it is the end of a runner that was killed
                self.unreadable = self.unreadable or str(error)
            return
        match line.kind:
            case "plan":
                self._plan(line)
            case "begin":
                self.begun[TestId(line.id)] = None
            case "end":
                if result := _result(line):
                    if self._is_disturbed(result):
                        self.disturbed.add(result.test)
                    self._end(result, final=line.final)
            case "deselected":
                self.deselected.update(TestId(test.id) for test in line.tests)
            case "problem":
                message = strip_ansi(line.message or "")
                self.problems.append(RunnerProblem(cause=_cause(line.cause), message=message, file=line.file or ""))
            case "note":
                self.notes.append(strip_ansi(line.message or ""))

    def _is_disturbed(self, result: TestResult) -> bool:
        late = self.undisturbed is not None and self._lines > self.undisturbed
        known = self.ended.get(result.test)
        return late and result.verdict in BAD and (known is None or known.verdict not in BAD)

    def _plan(self, line: _Line) -> None:
        self.version = line.version or self.version
        self.workers, self.flaky_is_failure = line.workers, line.flaky_is_failure
        self.planned = self.planned or {}
        for test in line.tests:
            if test.id:
                self.planned[TestId(test.id)] = test
                self.copies[TestId(test.id)] += 1

    def _end(self, result: TestResult, *, final: bool) -> None:
        ends = self._ends.setdefault(result.test, [])
        if result.test in self._repeating:
            ends.pop()
        (self._repeating.discard if final else self._repeating.add)(result.test)
        ends.append(result)
        worst = min(ends, key=lambda end: WORST_FIRST.index(end.verdict))
        if len(ends) >= self.copies[result.test] or worst.verdict is Verdict.FAILED:
            self.ended[result.test] = worst
        else:
            self.ended.pop(result.test, None)

    @property
    def setup(self) -> set[TestId]:
        """Planned tests that run in every invocation, whatever it selects."""
        return {test_id for test_id, test in (self.planned or {}).items() if test.setup}


def events_in(lines: Iterable[bytes], undisturbed: int | None = None) -> LiveEvents:
    events = LiveEvents(undisturbed=undisturbed)
    for line in lines:
        events.add(line)
    return events


def read_live_file(attempt: Path, undisturbed: int | None = None) -> LiveEvents:
    """The events of the attempt whose files are in the folder `attempt`; without a live file there are none.

    Of failures behind `undisturbed` lines the tests are noted.
    """
    try:
        with (attempt / "live.jsonl").open("rb") as lines:
            return events_in(lines, undisturbed)
    except FileNotFoundError:
        return LiveEvents()


def live_result(line: bytes) -> TestResult | None:
    """A line as the end of a test, or None; a failure that its runner is about to retry is not an end."""
    try:
        parsed = _parse(line)
    except ValueError:
        return None
    return _result(parsed) if parsed.kind == "end" and parsed.final else None


def _parse(line: bytes) -> _Line:
    """Raises ValueError for what is no event."""
    if len(line) > MAX_LINE:
        raise ValueError(f"a line has {len(line)} bytes, more than {MAX_LINE}")
    try:
        return codec.from_data(_Line, json.loads(line))  # by json, which reads the NaN that Python programs write
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _result(line: _Line) -> TestResult | None:
    if line.verdict is None or not line.id:
        return None
    message = strip_ansi(line.message or "")
    kind = _KIND.match(message)
    return TestResult(
        test=TestId(line.id),
        verdict=line.verdict,
        seconds=_number(line.seconds),
        message=message,
        detail=strip_ansi(line.detail or ""),
        kind=kind.group() if kind else "",
        reason=strip_ansi(line.reason or ""),
        retries=int(_number(line.retries) or 0),
    )


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if 0 <= value < MAX_SECONDS else None


def _cause(value: Any) -> FailureCause:
    try:
        return FailureCause(value or FailureCause.CRASH)
    except ValueError:
        return FailureCause.CRASH
