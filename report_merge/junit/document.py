"""JUnit XML in memory: bytes -> tests, a report -> bytes. `merging` streams what does not fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import IO

from report_merge.junit import xml
from report_merge.junit.dialects import PROJECT, is_playwright_root, microseconds, seconds_text
from report_merge.junit.normalize import tidy
from report_merge.junit.testcase import Surroundings, case_of, element_of, key_of
from report_merge.junit.xml import Element
from report_merge.limits import ReadLimits, ReportRefused
from report_merge.model import Case, CaseKey, FileProblem, Report, Verdict, count


@dataclass(frozen=True, slots=True, kw_only=True)
class JUnitReading:
    """What one file gave. With a problem that has `salvaged`, the cases are what could be saved."""

    cases: tuple[Case, ...] = ()
    problem: FileProblem | None = None


def read(
    data: bytes, source: str, *, attempt: int = 1, shard: str = "", machine: str = "", limits: ReadLimits | None = None
) -> JUnitReading:
    """Every test of one JUnit file of any dialect, in document order. Never raises for what the bytes hold.

    `machine` is where it ran, when the file does not say (`hostname`). Parametrised duplicates get ordinals.
    """
    limits = limits or ReadLimits()
    try:
        tree = tidy(data, limits)
    except ReportRefused as refusal:
        return JUnitReading(problem=FileProblem(file=source, reason=refusal.reason, line=refusal.line))
    around = Surroundings(source=source, shard=shard, attempt=attempt, machine=machine)
    seen: Counter[CaseKey] = Counter()
    cases: list[Case] = []
    for element, where in _walk(tree.root, around, playwright=is_playwright_root(_attributes(tree.root))):
        key = key_of(element, where)
        cases.append(case_of(element, where, ordinal=seen[key]))
        seen[key] += 1
    problem = None
    if tree.notes:
        problem = FileProblem(file=source, reason="; ".join(tree.notes), line=tree.line, salvaged=len(cases))
    return JUnitReading(cases=tuple(cases), problem=problem)


def _attributes(element: Element) -> dict[str, str]:
    return {str(name): str(value) for name, value in element.attrib.items()}


def _walk(parent: Element, around: Surroundings, *, playwright: bool) -> Iterator[tuple[Element, Surroundings]]:
    for child in parent:
        if child.tag == "testcase":
            yield child, around
        elif child.tag == "testsuite":
            yield from _walk(
                child, inside(_attributes(child), around, playwright, _project(child)), playwright=playwright
            )


def _project(suite: Element) -> str:
    return next((p.get("value", "") for p in suite.iterfind("properties/property") if p.get("name") == PROJECT), "")


def inside(suite: dict[str, str], around: Surroundings, playwright: bool, project: str) -> Surroundings:  # noqa: FBT001
    """What holds inside a suite, from its attributes and from what holds around it."""
    hostname = suite.get("hostname", "")
    project = project or (hostname if playwright else around.project)
    return Surroundings(
        suite=suite.get("name") or around.suite,
        file=suite.get("file") or suite.get("filepath") or around.file,
        project=project,
        machine=hostname if hostname not in ("", project) else around.machine,
        started=suite.get("timestamp") or around.started,
        source=around.source,
        shard=around.shard,
        attempt=around.attempt,
    )


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
