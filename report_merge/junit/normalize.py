"""Bytes of any JUnit dialect, damaged or not -> a tree, and any such tree -> the one dialect that `document` walks.

Normal means: <testsuites> holds only <testsuite>; every <testcase> is in a suite and has `classname` or none; no
namespaces; an outcome is always a child element; an <error> directly in a suite is a test of its own. Most reports are
normal as they come, and the walk finds out, so `normalized` is asked only when it must be.
"""

from __future__ import annotations

from dataclasses import dataclass

from report_merge.junit import dotnet, xml
from report_merge.junit.dialects import (
    BROKEN_TYPE,
    ENDED,
    FINAL,
    FOREIGN_TESTS,
    NO_TESTS,
    RERUN,
    STARTED,
    SUITE_LEVEL,
    WALL,
    outcome_in_status,
)
from report_merge.junit.repair import XmlFault, fault, has_dtd, is_utf8, repaired
from report_merge.junit.xml import Element, line_of, local_name
from report_merge.limits import ReadLimits, Rejected
from report_merge.model import Outcome

_OWN_ROOT_PROPERTIES = frozenset({STARTED, ENDED, WALL})
_BROKEN_MESSAGE = "the report is damaged inside this test, so nobody knows how it ended"


@dataclass(frozen=True, slots=True)
class Parsed:
    root: Element
    notes: tuple[str, ...] = ()  # what was repaired
    line: int | None = None  # where the damage begins; None: nothing was lost
    converted: str = ""  # the format that it was, when that was not JUnit


def parsed(data: bytes, limits: ReadLimits) -> Parsed:
    """The report as a tree, repaired if need be. Raises Rejected when it is no JUnit report."""
    if len(data) > limits.file_bytes:
        raise Rejected(f"it is larger than {limits.file_bytes} bytes")
    if is_utf8(data) and not has_dtd(data):
        try:
            root = xml.parse(data)
        except xml.XmlError:
            pass  # the repair says what is wrong
        else:
            _refuse_too_deep(root, limits.depth)
            if foreign := dotnet.converted(root):
                return Parsed(foreign[1], converted=foreign[0])
            _refuse_foreign(root)
            return Parsed(root)
    return _repaired(data, limits)


def _repaired(data: bytes, limits: ReadLimits) -> Parsed:
    if len(data) > limits.repair_bytes:
        raise Rejected(f"it needs repair, and is larger than the {limits.repair_bytes} bytes up to which that is done")
    data, notes = repaired(data)
    problem = fault(data)
    try:
        root = xml.parse(data) if problem is None else _recovered(data, problem, notes)
    except xml.XmlError as error:  # stricter than expat: nested too deep, a prefix without a namespace
        root = _recovered(data, XmlFault(0, error.lineno or 1, error.msg or "not XML", 0, False, False), notes)  # noqa: FBT003
    _refuse_too_deep(root, limits.depth)
    name = ""
    if problem is None and (foreign := dotnet.converted(root)):
        name, root = foreign
    _refuse_foreign(root)
    return Parsed(normalized(root), tuple(notes), problem.line if problem else None, name)


def normalized(root: Element) -> Element:
    """The same report in the normal dialect. Raises Rejected when recovery left names that no tree may hold."""
    try:
        return _normalized(root)
    except ValueError as error:
        raise Rejected(f"it is too damaged to be repaired: {error}") from None


def _recovered(data: bytes, problem: XmlFault, notes: list[str]) -> Element:
    root, error_lines = xml.recover(data)
    if root is None:
        raise Rejected(f"it is not XML: {problem.reason}", problem.line)
    _refuse_foreign(root, problem)
    broken = _damaged_cases(root, data, problem, error_lines)
    for case in broken:
        if not any(local_name(child) in ("failure", "error") for child in case):
            case.append(xml.new("error", type=BROKEN_TYPE, message=_BROKEN_MESSAGE))
    notes.append(f"{problem.reason} at line {problem.line}; what could be read was kept")
    return root


def _damaged_cases(root: Element, data: bytes, problem: XmlFault, error_lines: list[int]) -> list[Element]:
    """The tests whose elements hold an error: they are never taken for passed."""
    cases = [element for element in root.iter() if local_name(element) == "testcase"]
    if not cases:
        return []
    tag_start = data.rfind(b"<", 0, problem.offset + 1)  # an unclosed tag is reported where it begins
    in_start_tag = data.startswith(b"<testcase", tag_start) and b">" not in data[tag_start : problem.offset]
    first = problem.cases_before if in_start_tag else problem.cases_before - 1
    broken = [cases[first]] if (problem.in_case or in_start_tag) and 0 <= first < len(cases) else []
    later = {line for line in error_lines if line > problem.line}
    if len(error_lines) > 1 and not later and not _is_cut(data, problem):
        return [*broken, *cases[max(first, 0) + 1 :]]  # several errors on one line: no telling whose they are
    ends = [line_of(case) for case in cases[1:]] + [1 << 31]
    for case, end in zip(cases, ends, strict=True):
        if any(line_of(case) <= line <= end for line in later) and case not in broken:
            broken.append(case)
    return broken


def _is_cut(data: bytes, problem: XmlFault) -> bool:
    """Whether the report just ends: then nothing follows the first fault that could be damaged too."""
    return not data[problem.offset :].strip() or b">" not in data[problem.offset :]


def _refuse_foreign(root: Element, problem: XmlFault | None = None) -> None:
    name = local_name(root)
    if name in ("testsuites", "testsuite", "testcase"):
        return
    line = problem.line if problem else line_of(root)
    if kind := FOREIGN_TESTS.get(name) or FOREIGN_TESTS.get(name.lower()):
        raise Rejected(f"it is {kind} (<{name}>), not JUnit; have the test runner write JUnit XML", line)
    kind = NO_TESTS.get(name)
    reason = (
        f"it is {kind} (<{name}>), not JUnit" if kind else f"its root is <{name[:60]}>, not <testsuites> or <testsuite>"
    )
    raise Rejected(reason, line, no_tests=problem is None)


def _refuse_too_deep(root: Element, limit: int) -> None:
    if (line := xml.line_below(root, limit)) is not None:
        raise Rejected(f"its elements are nested deeper than {limit}", line)


def _normalized(root: Element) -> Element:
    xml.without_namespaces(root)
    if root.tag == "testcase":
        root = _wrapped(xml.new("testsuite"), [root])
    if root.tag == "testsuite":
        root = _wrapped(xml.new("testsuites"), [root])
    for inner in list(root.iterdescendants("testsuites")):
        inner.tag = "testsuite"
    _out_of_other_elements(root)
    for case in root.iter("testcase"):
        _normalize_case(case)
    _cases_into_suites(root)
    _suite_level_results(root)
    return _root_content_into_suite(root)


def _out_of_other_elements(root: Element) -> None:
    """Tests and suites inside anything but a suite are moved behind it: nobody nests like this on purpose."""
    for element in reversed(list(root.iter("testcase", "testsuite"))):
        parent = element.getparent()
        while parent is not None and parent.tag not in ("testsuite", "testsuites"):
            parent.addnext(element)
            parent = element.getparent()


def _normalize_case(case: Element) -> None:
    other = case.get("class")
    if other is not None:
        del case.attrib["class"]
        case.set("classname", case.get("classname", other))
    if not any(local_name(child) in FINAL for child in case):
        match outcome_in_status({str(name): str(value) for name, value in case.attrib.items()}):
            case Outcome.FAILED:
                case.append(xml.new("failure", message=f"status {case.get('status') or case.get('result')}"))
            case Outcome.SKIPPED:
                case.append(xml.new("skipped"))


def _wrapped(suite: Element, children: list[Element]) -> Element:
    suite.extend(children)
    return suite


def _cases_into_suites(root: Element) -> None:
    """Tests directly below <testsuites> get a suite around each run of them: most readers lose them otherwise."""
    suite: Element | None = None
    for child in list(root):
        if local_name(child) != "testcase":
            suite = None
        elif suite is None:
            suite = xml.new("testsuite", name=root.get("name", ""))
            child.addprevious(suite)
            suite.append(child)
        else:
            suite.append(child)


def _suite_level_results(root: Element) -> None:
    for suite in list(root.iter("testsuite", "testsuites")):
        for child in [child for child in suite if local_name(child) in {*FINAL, *RERUN}]:
            case = xml.new("testcase", classname=suite.get("name", ""), name=SUITE_LEVEL)
            child.addprevious(case)
            case.append(child)
    _cases_into_suites(root)


def _root_content_into_suite(root: Element) -> Element:
    """Properties and output of <testsuites> itself are kept by making its suites children of one suite."""
    names = {entry.get("name", "") for entry in root.iterfind("properties/property")}
    own = [child for child in root if local_name(child) not in ("", "testsuite")]
    if not own or ({local_name(child) for child in own} == {"properties"} and names <= _OWN_ROOT_PROPERTIES):
        return root
    suite = xml.new("testsuite", name=root.get("name", ""))
    for name in ("timestamp", "hostname", "time"):
        if value := root.get(name):
            suite.set(name, value)
    suite.extend(list(root))
    outer = xml.new("testsuites", **{name: value for name in ("id", "name") if (value := root.get(name)) is not None})
    outer.append(suite)
    return outer
