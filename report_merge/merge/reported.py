"""What one report file tells: read once, its facts and, for `pipeline`, all it tells of certain tests."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path

from report_merge import failures
from report_merge.files.discover import InputSource
from report_merge.junit.dialects import seconds_text
from report_merge.junit.document import TOO_DAMAGED, Document, Identity, SuiteElement
from report_merge.junit.normalize import normalized, parsed
from report_merge.junit.testcase import EARLIER, ERROR, FAILURE, SKIPPED, NotNormalized, counted_bit
from report_merge.limits import ReadLimits, Rejected
from report_merge.merge.executions import ExecutionIndex, ReportedExecutions
from report_merge.merge.kept import LeanCases
from report_merge.model import Case, Duplicate, FileProblem, SuiteContext


@dataclass(slots=True)
class OutcomeCounts:
    """Counts as the merged file states them: each test once."""

    tests: int = 0
    failures: int = 0
    errors: int = 0
    skipped: int = 0
    flaky: int = 0
    took: int = 0  # microseconds, of the last attempts

    def plus(self, other: OutcomeCounts) -> None:
        self.tests += other.tests
        self.failures += other.failures
        self.errors += other.errors
        self.skipped += other.skipped
        self.flaky += other.flaky
        self.took += other.took

    @property
    def attributes(self) -> list[tuple[str, str]]:
        return [
            ("tests", str(self.tests)),
            ("failures", str(self.failures)),
            ("errors", str(self.errors)),
            ("skipped", str(self.skipped)),
            ("time", seconds_text(self.took)),
        ]


@dataclass(slots=True)
class MachineTotals:
    tests: int = 0
    failed: int = 0
    busy: int = 0  # microseconds


@dataclass(slots=True)
class ReportedFacts:
    """What a file tells before it is merged with others."""

    tests: int = 0
    attempts: int = 0  # surefire's tries too
    took: int = 0  # microseconds
    root_name: str = ""
    span: tuple[float, float] = (float("inf"), float("-inf"))
    machines: dict[str, MachineTotals] = field(default_factory=dict)
    asked_for: list[Identity] = field(default_factory=list)  # identities of tests with one of the names asked for
    content: bool = False  # a suite of it holds more than tests and suites
    keys: array[int] = field(default_factory=lambda: array("q"))  # of its tests, sorted, each once


@dataclass(slots=True)
class ReportPart:
    """What a file gave to the result."""

    counts: OutcomeCounts = field(default_factory=OutcomeCounts)
    path: Path | None = None  # of its suites as they go into the merged file; None: none were asked for, or are left
    eventful: list[tuple[int, Case]] = field(default_factory=list)  # by position in the file
    slowest: list[tuple[int, int, Case]] = field(default_factory=list)  # microseconds, position
    others: LeanCases | None = None
    duplicates: list[Duplicate] = field(default_factory=list)


@dataclass(slots=True)
class FileOutcome:
    """What became of one file: it was read and maybe changed, or `problem` says why not."""

    facts: ReportedFacts | None = None
    part: ReportPart | None = None
    executions: ReportedExecutions | None = None
    problem: FileProblem | None = None
    no_tests: bool = False  # with a problem: the file is of a kind that never holds tests
    note: str = ""  # what is no problem and must be known all the same


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeSettings:
    folder: Path  # for parts
    limits: ReadLimits
    asked_for: frozenset[str] = frozenset()  # names of tests whose identities are asked for
    rules: failures.FailureRules
    write: bool = True  # the merged file is wanted
    all_cases: bool = False
    by_time: bool = False


@dataclass(frozen=True, slots=True)
class MergePlan:
    """What one file must know of the others."""

    sources: list[InputSource]
    index: ExecutionIndex
    merged_before: AbstractSet[int] = frozenset()  # keys of tests that an earlier attempt's files have taken over
    owners: dict[int, int] = field(default_factory=dict)  # of keys that several files of this attempt hold


def look_up(number: int, plan: MergePlan, settings: MergeSettings, keys: AbstractSet[int] | None) -> FileOutcome:
    """What a file tells, and its executions of `keys`, or of all its tests. Never raises for what the file holds."""

    def collect(document: Document) -> FileOutcome:
        executions, facts = ReportedExecutions(), ReportedFacts()
        for suite, element, identity, bits, tries, took in document.tests():
            key = hash(identity)
            facts.keys.append(key)
            facts.attempts += tries
            if identity[3] in settings.asked_for:
                facts.asked_for.append(identity)
            count(suite, bits, took)
            if keys is None or key in keys:
                executions.add(key, element, suite.around, bits)
        close(facts, document)
        return FileOutcome(facts=facts, executions=executions)

    return read_report(plan.sources[number], settings, collect)


def read_report(source: InputSource, settings: MergeSettings, work: Callable[[Document], FileOutcome]) -> FileOutcome:
    try:
        with source.path.open("rb") as stream:
            data = stream.read(settings.limits.file_bytes + 1)
    except OSError as error:
        return FileOutcome(
            problem=FileProblem(file=source.name, reason=f"it cannot be read: {error.strerror or error}")
        )
    around = SuiteContext(source=source.name, shard=source.shard, attempt=source.attempt)
    try:
        report = parsed(data, settings.limits)
        del data
        try:
            outcome = work(Document(report.root, around))
        except NotNormalized:
            outcome = work(Document(normalized(report.root), around))
    except NotNormalized:
        return FileOutcome(problem=FileProblem(file=source.name, reason=TOO_DAMAGED))
    except Rejected as refusal:
        problem = FileProblem(file=source.name, reason=refusal.reason, line=refusal.line)
        return FileOutcome(problem=problem, no_tests=refusal.no_tests)
    outcome.note = f"converted from {report.converted}" if report.converted else ""
    if report.notes and outcome.facts:
        reason, salvaged = "; ".join(report.notes), outcome.facts.tests
        outcome.problem = FileProblem(file=source.name, reason=reason, line=report.line, salvaged=salvaged)
    return outcome


def close(facts: ReportedFacts, document: Document) -> None:
    """The facts that are known when the walk has ended."""
    facts.root_name = document.name
    facts.span = document.span()
    for suite in document.suites:
        facts.tests += suite.tests
        facts.took += suite.took
        facts.content |= suite.content
        if suite.tests and suite.around.machine:
            tally = facts.machines.setdefault(suite.around.machine, MachineTotals())
            tally.tests += suite.tests
            tally.failed += suite.failures + suite.errors
            tally.busy += suite.took


def count(suite: SuiteElement, bits: int, took: int | None, sign: int = 1) -> None:
    suite.tests += sign
    suite.took += sign * (took or 0)
    if bits:
        counted = counted_bit(bits)
        suite.failures += sign * (counted == FAILURE)
        suite.errors += sign * (counted == ERROR)
        suite.skipped += sign * (counted == SKIPPED)
        suite.flaky += sign * (counted == 0 and bits & EARLIER != 0)
