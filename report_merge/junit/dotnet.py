"""Visual Studio's TRX, NUnit 3 and xUnit.net v2 -> the same results as JUnit, before anything else reads them.

What says neither passed nor skipped is a failure or an error: an outcome nobody knows is never green.
https://github.com/microsoft/vstest-docs/blob/main/docs/report.md, https://docs.nunit.org/articles/nunit/technical-notes/usage/Test-Result-XML-Format.html,
https://xunit.net/docs/format-xml-v2
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from report_merge.junit import xml
from report_merge.junit.xml import Element, local_name, text_of
from report_merge.limits import Rejected

_CLOCK = re.compile(r"(?:(\d{1,6})\.)?(\d{1,2}):(\d{1,2}):(\d{1,2}(?:\.\d{1,9})?)")


@dataclass(slots=True, kw_only=True)
class _Test:
    suite: str
    classname: str
    name: str
    time: str = ""
    outcome: str = ""  # "", "skipped", "failure" or "error"
    kind: str = ""
    message: str = ""
    stack: str = ""
    stdout: str = ""
    stderr: str = ""
    machine: str = ""
    started: str = ""
    file: str = ""
    line: str = ""
    properties: tuple[tuple[str, str], ...] = ()


def converted(root: Element) -> tuple[str, Element] | None:
    """The name of the format and its tests as <testsuites>; None for any other root element.

    Raises Rejected when it lacks even the element that holds the results: it was not written to its end.
    """
    name = local_name(root)
    if name not in _FORMATS:
        return None
    title, results, read = _FORMATS[name]
    xml.without_namespaces(root)
    if root.find(results) is None:
        raise Rejected(f"it is {title} without <{results}>: the run may have ended before it was written")
    return title, _written(read(root))


def _written(tests: Iterable[_Test]) -> Element:
    """One suite for each suite's name, machine and start, in the order of their first tests."""
    root = xml.new("testsuites")
    suites: dict[tuple[str, str], Element] = {}
    for test in tests:
        key = test.suite, test.machine
        if key not in suites:
            about = {"name": test.suite, "hostname": test.machine, "timestamp": test.started}
            suites[key] = xml.new("testsuite", **{name: value for name, value in about.items() if value})
            root.append(suites[key])
        suites[key].append(_case(test))
    return root


def _case(test: _Test) -> Element:
    about = {"classname": test.classname, "time": test.time, "file": test.file, "line": test.line}
    case = xml.new("testcase", name=test.name, **{name: value for name, value in about.items() if value})
    if test.properties:
        properties = xml.new("properties")
        properties.extend(xml.new("property", name=name, value=value) for name, value in test.properties)
        case.append(properties)
    if test.outcome:
        about = {"type": test.kind, "message": test.message.strip()}
        result = xml.new(test.outcome, **{name: value for name, value in about.items() if value})
        result.text = xml.xml_text(f"{test.message.strip()}\n{test.stack}".strip()) if test.stack.strip() else None
        case.append(result)
    for tag, text in (("system-out", test.stdout), ("system-err", test.stderr)):
        if text.strip():
            output = xml.new(tag)
            output.text = xml.xml_text(text)
            case.append(output)
    return case


# -- Visual Studio TRX ------------------------------------------------------------------------------------------------

_TRX_OUTCOMES = {
    "passed": "", "completed": "", "warning": "", "passedbutrunaborted": "", "failed": "failure",
    "notexecuted": "skipped", "inconclusive": "skipped", "notrunnable": "skipped", "pending": "skipped",
}  # fmt: skip


def _trx(root: Element) -> Iterator[_Test]:
    classes: dict[str, str] = {}
    for definition in root.iterfind("TestDefinitions/*"):
        method = definition.find("TestMethod")
        name = "" if method is None else (method.get("className") or "")
        classes[definition.get("id", "")] = name.partition(",")[0]  # the assembly follows
    for result in root.iterfind("Results/*"):
        yield from _trx_results(result, classes)


def _trx_results(result: Element, classes: dict[str, str]) -> Iterator[_Test]:
    """The result, or those inside it: of a data-driven or an ordered test only the parts are tests."""
    if inner := result.findall("InnerResults/*"):
        for part in inner:
            yield from _trx_results(part, classes)
        return
    classname, name = classes.get(result.get("testId", ""), ""), result.get("testName", "")
    outcome = _TRX_OUTCOMES.get(result.get("outcome", "").lower(), "error")
    files = [
        f"[[ATTACHMENT|{path}]]" for file in result.iterfind("ResultFiles/ResultFile") if (path := file.get("path"))
    ]
    message = _text(result, "Output/ErrorInfo/Message")
    if outcome == "error" and not message:
        message = f"outcome {result.get('outcome') or 'not told'}"
    yield _Test(
        suite=classname,
        classname=classname,
        name=name.removeprefix(f"{classname}."),
        time=_seconds(result.get("duration", "")),
        outcome=outcome,
        message=message,
        stack=_text(result, "Output/ErrorInfo/StackTrace"),
        stdout="\n".join([_text(result, "Output/StdOut"), *files]),
        stderr=_text(result, "Output/StdErr"),
        machine=result.get("computerName", ""),
        started=result.get("startTime", ""),
    )


# -- NUnit 3 ----------------------------------------------------------------------------------------------------------


def _nunit(root: Element) -> Iterator[_Test]:
    environment = next(root.iter("environment"), None)
    machine = "" if environment is None else environment.get("machine-name", "")
    for element in root.iter("test-case", "test-suite"):
        if element.tag == "test-case":
            yield _nunit_case(element, machine)
        elif _broke_itself(element):
            yield _nunit_suite(element, machine)


def _nunit_case(case: Element, machine: str) -> _Test:
    full, name = case.get("fullname", ""), case.get("name", "")
    classname = case.get("classname") or full.removesuffix(name).rstrip(".")
    result, label = case.get("result", ""), case.get("label", "")
    match result:
        case "Passed" | "Warning":
            outcome = ""
        case "Skipped" | "Inconclusive":
            outcome = "skipped"
        case "Failed" if label not in ("Error", "Invalid", "Cancelled"):
            outcome = "failure"
        case _:
            outcome = "error"
    properties = [(p.get("name", ""), p.get("value", "")) for p in case.iterfind("properties/property")]
    files = [f"[[ATTACHMENT|{text_of(path)}]]" for path in case.iterfind("attachments/attachment/filePath")]
    message = _text(case, "failure/message") or _text(case, "reason/message")
    return _Test(
        suite=classname,
        classname=classname,
        name=name,
        time=case.get("duration") or case.get("time") or "",
        outcome=outcome,
        kind=label if outcome in ("failure", "error") else "",
        message=message or (f"result {result or 'not told'}" if outcome == "error" else ""),
        stack=_text(case, "failure/stack-trace"),
        stdout="\n".join([_text(case, "output"), *files]),
        machine=machine,
        started=case.get("start-time", ""),
        properties=tuple(properties),
    )


def _broke_itself(suite: Element) -> bool:
    """Whether a set-up or tear-down of the suite failed, which no test below it tells."""
    if suite.get("result") != "Failed" or suite.get("site") in ("Child", "Parent"):
        return False
    return not any(case.get("result") == "Failed" for case in suite.iter("test-case"))


def _nunit_suite(suite: Element, machine: str) -> _Test:
    name = suite.get("fullname", "") or suite.get("name", "")
    return _Test(
        suite=name,
        classname=name,
        name=f"({suite.get('site') or 'suite'})",
        outcome="error",
        kind=suite.get("label", ""),
        message=_text(suite, "failure/message") or "the suite failed and no test of it did",
        stack=_text(suite, "failure/stack-trace"),
        machine=machine,
        started=suite.get("start-time", ""),
    )


# -- xUnit.net v2 -----------------------------------------------------------------------------------------------------

_XUNIT_OUTCOMES = {"Pass": "", "Fail": "failure", "Skip": "skipped", "NotRun": "skipped"}


def _xunit(root: Element) -> Iterator[_Test]:
    for assembly in [root] if root.tag == "assembly" else root.iterfind("assembly"):
        started = "T".join(filter(None, (assembly.get("run-date"), assembly.get("run-time"))))
        for test in assembly.iter("test"):
            yield _xunit_test(test, started)
        for error in assembly.iterfind("errors/error"):
            name = assembly.get("name", "").replace("\\", "/").rsplit("/", 1)[-1]
            yield _Test(
                suite=name,
                classname=name,
                name=f"({error.get('type') or 'error'} {error.get('name', '')})".replace(" )", ")"),
                outcome="error",
                kind=_attribute(error, "failure", "exception-type"),
                message=_text(error, "failure/message") or "the assembly could not be run as a whole",
                stack=_text(error, "failure/stack-trace"),
                started=started,
            )


def _xunit_test(test: Element, started: str) -> _Test:
    classname, name = test.get("type", ""), test.get("name", "")
    outcome = _XUNIT_OUTCOMES.get(test.get("result", ""), "error")
    message = _text(test, "failure/message") or _text(test, "reason")
    return _Test(
        suite=classname,
        classname=classname,
        name=name.removeprefix(f"{classname}."),
        time=test.get("time", ""),
        outcome=outcome,
        kind=_attribute(test, "failure", "exception-type"),
        message=message or (f"result {test.get('result') or 'not told'}" if outcome == "error" else ""),
        stack=_text(test, "failure/stack-trace"),
        stdout=_text(test, "output"),
        started=started,
        file=test.get("source-file", ""),
        line=test.get("source-line", ""),
        properties=tuple((one.get("name", ""), one.get("value", "")) for one in test.iterfind("traits/trait")),
    )


# ---------------------------------------------------------------------------------------------------------------------


def _text(element: Element, path: str) -> str:
    found = element.find(path)
    return "" if found is None else text_of(found)


def _attribute(element: Element, path: str, name: str) -> str:
    found = element.find(path)
    return "" if found is None else found.get(name, "")


def _seconds(duration: str) -> str:
    """`00:00:01.5000000`, with days before a dot, as seconds; empty when it is something else."""
    match = _CLOCK.fullmatch(duration)
    if match is None:
        return ""
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return f"{days * 86400 + hours * 3600 + minutes * 60 + seconds:.7f}".rstrip("0").rstrip(".")


_FORMATS: dict[str, tuple[str, str, Callable[[Element], Iterator[_Test]]]] = {  # by the name of the root element
    "TestRun": ("Visual Studio TRX", "Results", _trx),
    "test-run": ("NUnit 3", "test-suite", _nunit),
    "assemblies": ("xUnit.net v2", "assembly", _xunit),
    "assembly": ("xUnit.net v2", "collection", _xunit),
}
