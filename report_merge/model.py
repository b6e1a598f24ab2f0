"""The result model every reader fills and every renderer shows: frozen values, totals computed and never stored.

    Report ─┬─ Case ── Attempt       a test and each of its executions, oldest first
            ├─ MachineUse            who ran what, for how long
            ├─ Missing               what was expected and never came
            └─ FileProblem           a file that could not be read, or not wholly

This module performs no I/O and imports nothing but the standard library.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NamedTuple


class Outcome(StrEnum):
    """How one execution of one test ended."""

    PASSED = "passed"
    FAILED = "failed"  # an assertion did not hold: JUnit's <failure>
    ERROR = "error"  # something else went wrong: JUnit's <error>
    SKIPPED = "skipped"
    BROKEN = "broken"  # the report ends inside this test: it is never taken for passed

    @property
    def bad(self) -> bool:
        return self in (Outcome.FAILED, Outcome.ERROR, Outcome.BROKEN)


class Verdict(StrEnum):
    """The one final word on a test."""

    PASSED = "passed"
    FAILED = "failed"
    FLAKY = "flaky"  # failed, then passed: never green without being said
    SKIPPED = "skipped"
    NOT_RUN = "not run"


class AttachmentKind(StrEnum):
    IMAGE = "image"
    VIDEO = "video"
    TRACE = "trace"  # of Playwright, for its viewer
    FILE = "file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file that a test left behind."""

    name: str  # as the report names it: a path or an address
    kind: AttachmentKind = AttachmentKind.FILE
    path: str = ""  # where it was found when the reports were merged; empty: nowhere that may be opened


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why an attempt failed, as all of its text told it before any of it was cut (`report_merge.failures`)."""

    fingerprint: str
    rule: str = ""  # the id of the failure rule; empty: none matched
    evidence: str = ""
    offset: int | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One execution of one test. Texts are raw: the one who shows them escapes them."""

    number: int = 1  # from 1; the order of attempts decides the verdict, not the order of files
    outcome: Outcome
    seconds: float | None = None  # None: the report does not say
    kind: str = ""  # exception or assertion type
    message: str = ""
    text: str = ""  # stack trace or diff
    stdout: str = ""
    stderr: str = ""
    started: str = ""  # ISO 8601 as reported, or empty
    machine: str = ""
    shard: str = ""
    source: str = ""  # the file this was read from
    attachments: tuple[Attachment, ...] = ()
    cause: Cause | None = None  # None: the texts are whole and tell it


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class CaseKey:
    """What makes two executions the same test: on every machine, in every shard and attempt.

    `ordinal` tells apart tests that share all names inside one file (parametrised duplicates): they are different
    tests, never retries of one another.
    """

    project: str = ""  # browser or platform: Playwright writes it into `hostname`
    file: str = ""
    classname: str = ""
    name: str = ""
    ordinal: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFailure:
    """That somebody has taken on that a test fails, until the end of a day."""

    owner: str
    reason: str
    expires: str  # ISO 8601
    expired: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    key: CaseKey
    suite: str = ""
    line: int | None = None
    attempts: tuple[Attempt, ...] = ()
    properties: tuple[tuple[str, str], ...] = ()
    reason: str = ""  # why it did not run, when there is no attempt
    source: str = ""  # the file to look at, as the repository names it; empty when nobody knows
    owners: tuple[str, ...] = ()  # whose it is
    history: str = ""  # earlier runs, oldest first: one of .F~-? each (passed, failed, flaky, skipped, not there)
    since: str = ""  # the run since which it fails, "2026-11-26, main 1a2b3c4" or "this run"; empty when nobody knows
    known: KnownFailure | None = None

    @property
    def verdict(self) -> Verdict:
        return verdict_of(attempt.outcome for attempt in self.attempts)

    @property
    def last(self) -> Attempt | None:
        return self.attempts[-1] if self.attempts else None

    @property
    def seconds(self) -> float:
        """The time of the last attempt, 0.0 when unknown."""
        return (self.attempts[-1].seconds or 0.0) if self.attempts else 0.0


class SuiteContext(NamedTuple):
    """What the tests of one suite have in common: they inherit it from their suites and from the file they stand in."""

    title: str = ""
    file: str = ""
    project: str = ""
    machine: str = ""
    started: str = ""
    source: str = ""
    shard: str = ""
    attempt: int = 1  # that the file belongs to


class UneventfulTest(NamedTuple):
    """A test that passed or was skipped at its only attempt and said no more: a large report holds a million of them.

    It is a Case in a smaller form, for those who walk through all tests.
    """

    suite: SuiteContext
    name: str
    classname: str
    file: str
    ordinal: int
    seconds: float | None
    outcome: Outcome
    message: str  # why it was skipped

    @property
    def case(self) -> Case:
        suite = self.suite
        attempt = Attempt(
            number=suite.attempt,
            outcome=self.outcome,
            seconds=self.seconds,
            message=self.message,
            machine=suite.machine,
            shard=suite.shard,
            source=suite.source,
        )
        key = CaseKey(
            project=suite.project, file=self.file, classname=self.classname, name=self.name, ordinal=self.ordinal
        )
        return Case(key=key, suite=suite.title, attempts=(attempt,))


def verdict_of(outcomes: Iterable[Outcome]) -> Verdict:
    """The verdict of a test from its outcomes, oldest first.

    The last one decides; an earlier bad one makes a pass flaky. A skip after a failure does not excuse it.
    """
    seen = list(outcomes)
    if not seen:
        return Verdict.NOT_RUN
    failed_before = any(outcome.bad for outcome in seen[:-1])
    match seen[-1]:
        case Outcome.PASSED:
            return Verdict.FLAKY if failed_before else Verdict.PASSED
        case Outcome.SKIPPED:
            return Verdict.FAILED if failed_before else Verdict.SKIPPED
        case Outcome.FAILED | Outcome.ERROR | Outcome.BROKEN:
            return Verdict.FAILED


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkSpan:
    """A stretch of work on a machine's timeline, in seconds since the start of the run."""

    start: float
    end: float
    label: str = ""
    verdict: Verdict = Verdict.PASSED


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineUse:
    name: str
    tests: int = 0
    failed: int = 0
    retries: int = 0
    busy_seconds: float = 0.0
    idle_seconds: float = 0.0
    lost: str = ""  # why it left the run; empty when it did not
    spans: tuple[WorkSpan, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedFleet:
    """How long the run was planned to take with these machines."""

    machines: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """Something that was expected and never came. Its presence makes a report INCOMPLETE."""

    what: str  # "shard", "attempt" or "test"
    name: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileProblem:
    """A file that was refused or only partly read."""

    file: str
    reason: str
    line: int | None = None
    salvaged: int | None = None  # how many cases were saved from it; None: it was refused

    @property
    def lossless(self) -> bool:
        """Whether all of it was repaired: what loses nothing has no line at which the loss begins."""
        return self.salvaged is not None and self.line is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate:
    """A test that several files of one attempt tell of: one test whose worst outcome counts, or tests of one name."""

    key: CaseKey
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    tests: int = 0
    passed: int = 0
    failed: int = 0
    flaky: int = 0
    skipped: int = 0
    not_run: int = 0
    attempts: int = 0
    known: int = 0  # of the failed ones: somebody has taken them on, and the time for it is not over


def count(cases: Iterable[Case]) -> Totals:
    """Totals recounted from the cases themselves."""
    verdicts: Counter[Verdict] = Counter()
    attempts = 0
    for case in cases:
        verdicts[case.verdict] += 1
        attempts += len(case.attempts)
    return Totals(
        tests=verdicts.total(),
        passed=verdicts[Verdict.PASSED],
        failed=verdicts[Verdict.FAILED],
        flaky=verdicts[Verdict.FLAKY],
        skipped=verdicts[Verdict.SKIPPED],
        not_run=verdicts[Verdict.NOT_RUN],
        attempts=attempts,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """Where a report comes from; every field may be empty."""

    title: str = ""
    repository: str = ""
    branch: str = ""
    sha: str = ""
    run_id: str = ""
    attempt: int = 1
    url: str = ""  # of the run
    report_url: str = ""
    files_url: str = ""  # of the repository's files at this commit, ending in a slash
    reproduce: str = ""  # the command that runs the failed tests again
    started: str = ""  # ISO 8601


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything the renderers need. `cases` may leave out uneventful tests; `totals` then counts all of them."""

    context: RunContext = field(default_factory=RunContext)
    cases: Sequence[Case] = ()
    totals: Totals = field(default_factory=Totals)
    machines: tuple[MachineUse, ...] = ()
    missing: tuple[Missing, ...] = ()  # what no case stands for
    problems: tuple[FileProblem, ...] = ()
    notes: tuple[FileProblem, ...] = ()  # what is no error and must be known: files passed over, converted ...
    duplicates: tuple[Duplicate, ...] = ()  # the first of them
    duplicate_count: int = 0
    verdict: str = ""  # the one word (`wording.Status`) of whoever ran it; empty: the cases and files say it
    reason: str = ""  # why it ended before all was done, in the words of whoever ran it
    wall_seconds: float | None = None  # from the first start to the last end
    summed_seconds: float = 0.0  # of all attempts
    compared_times: tuple[tuple[str, float], ...] = ()  # named seconds to set the wall time against: ("planned", 171.0)
    planned_fleets: tuple[PlannedFleet, ...] = ()  # each with the machines of the one before it and more
    spent_times: tuple[tuple[str, float], ...] = ()  # what the wall time went into, by name; they add up to it

    @property
    def eventful(self) -> Sequence[Case]:
        """The cases that failed, were flaky, skipped or never ran, and the slowest, when the others are kept apart."""
        return getattr(self.cases, "eventful", self.cases)

    @property
    def tests(self) -> Iterator[Case | UneventfulTest]:
        """All `cases` in their order; those that are kept apart are not made into a Case, which takes longer."""
        walk = getattr(self.cases, "tests", None)
        return walk() if walk else iter(self.cases)

    @property
    def durations(self) -> Iterable[float]:
        """How long each test that ran took: the time of its last attempt, 0.0 when unknown."""
        kept = getattr(self.cases, "durations", None)
        return kept() if kept else (case.seconds for case in self.cases if case.attempts)

    def with_eventful(self, change: Callable[[Case], Case]) -> Report:
        """The report with each of its eventful cases changed; cases that are kept apart stay so."""
        mapped = getattr(self.cases, "mapped", None)
        return replace(self, cases=mapped(change) if mapped else tuple(map(change, self.cases)))

    @property
    def incomplete(self) -> bool:
        return bool(self.missing) or self.totals.not_run > 0 or self.totals.tests == 0
