"""One JUnit file: the only walk through its suites and tests, the tests as values, and a report as such a file."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import IO, NamedTuple

from report_merge.junit import xml
from report_merge.junit.dialects import (
    ENDED,
    FINAL,
    PROJECT,
    RERUN,
    STARTED,
    WALL,
    instant,
    is_playwright_root,
    is_playwright_suite,
    microseconds,
    outcome_in_status,
    portable_file,
    seconds_text,
)
from report_merge.junit.normalize import normalized, parsed
from report_merge.junit.testcase import (
    BAD,
    SKIPPED,
    NotNormalized,
    case_of,
    element_of,
    outcome_bits,
)
from report_merge.junit.xml import Element
from report_merge.limits import ReadLimits, Rejected
from report_merge.model import Case, CaseKey, FileProblem, Report, SuiteContext, Verdict, count

Identity = tuple[str, str, str, str]  # project, file, classname, name
_portable = lru_cache(maxsize=1024)(portable_file)
_NOT_IN_SUITES = frozenset({"testsuites", *FINAL, *RERUN})
TOO_DAMAGED = "it is too damaged to be repaired"
_RUN_PROPERTIES = frozenset({STARTED, ENDED, WALL})


@dataclass(frozen=True, slots=True, kw_only=True)
class JUnitReading:
    """What one file gave. With a problem that has `salvaged`, the cases are what could be saved."""

    cases: tuple[Case, ...] = ()
    problem: FileProblem | None = None
    converted: str = ""  # the format that it was, when that was not JUnit


@dataclass(slots=True)
class SuiteElement:
    """A <testsuite> as it is met; its counts are for whoever walks."""

    element: Element
    parent: int  # the number of the suite around it; -1: none
    around: SuiteContext  # what its tests inherit
    project_by_root: bool  # only Playwright's root element told the project
    content: bool = False  # it holds more than tests and suites
    tests: int = 0
    failures: int = 0
    errors: int = 0
    skipped: int = 0
    flaky: int = 0
    took: int = 0  # microseconds
    lost: bool = False  # a test of it is now told elsewhere


class CaseElement(NamedTuple):
    """A <testcase> as it is met."""

    suite: SuiteElement
    element: Element
    identity: Identity
    bits: int
    tries: int
    took: int | None  # microseconds


ReportedCase = tuple[SuiteElement, Element, Identity, int, int, int | None]  # a CaseElement before anybody keeps it


class Document:
    """A parsed report in the normal dialect."""

    def __init__(self, root: Element, around: SuiteContext) -> None:
        self.root = root
        self.around = around
        self.suites: list[SuiteElement] = []  # those met so far, each behind the suite around it
        self._playwright = is_playwright_root(_attributes(root))

    @property
    def name(self) -> str:
        return self.root.get("name", "") if self.root.tag == "testsuites" else ""

    def tests(self) -> Iterator[ReportedCase]:
        """Every test, in document order. Raises NotNormalized before it leaves anything out."""
        root = self.root
        if root.tag == "testsuite":
            yield from self._inside(self._enter(root, -1, self.around))
            return
        if root.tag != "testsuites" or root.nsmap:  # its children may use the namespaces, and it is not kept
            raise NotNormalized
        for child in root:
            if child.tag == "testsuite":
                yield from self._inside(self._enter(child, -1, self.around))
            elif child.tag == "properties":
                if any(entry.get("name") not in _RUN_PROPERTIES for entry in child):
                    raise NotNormalized
            elif isinstance(child.tag, str):
                raise NotNormalized

    def _enter(self, element: Element, parent: int, around: SuiteContext) -> SuiteElement:
        attributes = _attributes(element)
        project = next(
            (p.get("value", "") for p in element.iterfind("properties/property") if p.get("name") == PROJECT), ""
        )
        hostname = attributes.get("hostname", "")
        by_root = not project and self._playwright and bool(hostname) and _is_playwrights(element, attributes)
        project = project or (hostname if by_root else around.project)
        inside = SuiteContext(
            title=attributes.get("name") or around.title,
            file=attributes.get("file") or attributes.get("filepath") or around.file,
            project=project,
            machine=hostname if hostname not in ("", project) else around.machine,
            started=attributes.get("timestamp") or around.started,
            source=around.source,
            shard=around.shard,
            attempt=around.attempt,
        )
        suite = SuiteElement(element, parent, inside, by_root)
        self.suites.append(suite)
        return suite

    def _inside(self, suite: SuiteElement) -> Iterator[ReportedCase]:  # once a test of all reports: lean
        number, around = len(self.suites) - 1, suite.around
        project, title, own_file = around.project, around.title, around.file
        for child in suite.element:
            tag: object = child.tag
            if tag == "testcase":
                get = child.get
                classname = get("classname")
                if classname is None and get("class") is not None:
                    raise NotNormalized
                bits, tries = outcome_bits(child) if len(child) else (0, 1)
                if not bits & (BAD | SKIPPED) and _outcome_in_attributes(get("status"), get("result")):
                    raise NotNormalized
                file = get("file") or own_file
                time = get("time")
                took = microseconds(time) if time else None
                if took is not None and time and "," in time:  # others read 1,234.5 as 1
                    child.set("time", seconds_text(took))
                identity = (project, _portable(file) if file else "", classname or title, get("name") or "")
                yield suite, child, identity, bits, tries, took
            elif tag == "testsuite":
                yield from self._inside(self._enter(child, number, around))
            elif isinstance(tag, str):  # no comment
                if tag.startswith("{") or tag in _NOT_IN_SUITES:
                    raise NotNormalized
                suite.content = True
                _no_tests_in(child)

    def span(self) -> tuple[float, float]:
        """First start and last end of all suites met, in seconds since 1970: infinite when unknown."""
        own = {p.get("name"): instant(p.get("value", "")) for p in self.root.iterfind("properties/property")}
        if self.root.tag == "testsuites" and (began := own.get(STARTED)) and (ended := own.get(ENDED)):
            return began.timestamp(), ended.timestamp()  # ours include suites that merging left out
        began_at, ended_at = math.inf, -math.inf
        for suite in self.suites:
            if moment := instant(suite.element.get("timestamp", "")):
                began_at = min(began_at, moment.timestamp())
                ended_at = max(ended_at, moment.timestamp() + (declared_time(suite.element) or suite.took) / 1e6)
        return began_at, ended_at


def _outcome_in_attributes(status: str | None, result: str | None) -> bool:
    """Whether they name an outcome other than passed, which then no child element has."""
    return bool(status or result) and outcome_in_status({"status": status or "", "result": result or ""}) is not None


def _no_tests_in(element: Element) -> None:
    if len(element) and next(element.iter("testcase", "testsuite", "testsuites"), None) is not None:
        raise NotNormalized


def _is_playwrights(suite: Element, attributes: dict[str, str]) -> bool:
    first = suite.find("testcase")
    return is_playwright_suite(attributes, attributes.get("name", "") if first is None else first.get("classname", ""))


def declared_time(suite: Element) -> int | None:
    """The microseconds a suite said it took, before merging stated the sum of its tests."""
    for entry in suite.iterfind("properties/property"):
        if entry.get("name") == WALL:
            return microseconds(entry.get("value"))
    return microseconds(suite.get("time"))


def read(
    data: bytes, source: str, *, attempt: int = 1, shard: str = "", machine: str = "", limits: ReadLimits | None = None
) -> JUnitReading:
    """Every test of one JUnit file of any dialect, in document order. Never raises for what the bytes hold.

    `machine` is where it ran, when the file does not say (`hostname`). Parametrised duplicates get ordinals.
    """
    around = SuiteContext(source=source, shard=shard, attempt=attempt, machine=machine)
    try:
        report = parsed(data, limits or ReadLimits())
        try:
            cases = _cases(Document(report.root, around))
        except NotNormalized:
            cases = _cases(Document(normalized(report.root), around))
    except NotNormalized:
        return JUnitReading(problem=FileProblem(file=source, reason=TOO_DAMAGED))
    except Rejected as refusal:
        return JUnitReading(problem=FileProblem(file=source, reason=refusal.reason, line=refusal.line))
    problem = None
    if report.notes:
        problem = FileProblem(file=source, reason="; ".join(report.notes), line=report.line, salvaged=len(cases))
    return JUnitReading(cases=tuple(cases), problem=problem, converted=report.converted)


def _cases(document: Document) -> list[Case]:
    seen: Counter[Identity] = Counter()
    cases: list[Case] = []
    for suite, element, identity, *_ in document.tests():
        cases.append(case_of(element, suite.around, key_of(identity, seen[identity])))
        seen[identity] += 1
    return cases


def key_of(identity: Identity, ordinal: int = 0) -> CaseKey:
    project, file, classname, name = identity
    return CaseKey(project=project, file=file, classname=classname, name=name, ordinal=ordinal)


def _attributes(element: Element) -> dict[str, str]:
    return {str(name): str(value) for name, value in element.attrib.items()}


def write(report: Report, stream: IO[bytes]) -> None:
    """The report as one JUnit XML document with totals that add up; tests that never ran are errors in it.

    Suites are made of neighbouring tests with the same suite, project and machine of their first attempt. A project is
    the `hostname`, as Playwright has it; then the tests name their machines themselves.
    """
    root = xml.new("testsuites", **_counts(report.cases))
    if report.context.title:
        root.set("name", xml.xml_text(report.context.title))
    for (name, project, machine, started), cases in groupby(report.cases, key=_suite_of):
        members = list(cases)
        named = {"name": name, "hostname": project or machine, "timestamp": started}
        suite = xml.new("testsuite", **{k: v for k, v in named.items() if v or k == "name"}, **_counts(members))
        if project:
            holder = xml.new("properties")
            holder.append(xml.new("property", name=PROJECT, value=project))
            suite.append(holder)
        suite.extend(element_of(case, machine=machine, started=started) for case in members)
        root.append(suite)
    stream.write(xml.to_bytes(root, declaration=True))


def _suite_of(case: Case) -> tuple[str, str, str, str]:
    first = case.attempts[0] if case.attempts else None
    machine = first.machine if first and not case.key.project else ""
    return case.suite or case.key.classname, case.key.project, machine, first.started if first else ""


def _counts(members: Sequence[Case]) -> dict[str, str]:
    totals = count(members)
    errors = sum(1 for case in members if _is_error(case))
    took = sum(microseconds(repr(case.seconds)) or 0 for case in members)
    return {
        "tests": str(totals.tests),
        "failures": str(totals.failed + totals.not_run - errors),
        "errors": str(errors),
        "skipped": str(totals.skipped),
        "time": seconds_text(took),
    }


def _is_error(case: Case) -> bool:
    if case.verdict is not Verdict.FAILED:
        return case.verdict is Verdict.NOT_RUN
    first_bad = next(attempt for attempt in case.attempts if attempt.outcome.bad)
    return first_bad.outcome.value != "failed"
