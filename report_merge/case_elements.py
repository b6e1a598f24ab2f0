"""One <testcase> element <-> one Case, with all its attempts.

Surefire's elements carry the earlier and later tries. In a test that failed for good, <failure> is the first failed
try and rerunFailure / rerunError are the others; in one that passed in the end, flakyFailure / flakyError are the
failed ones (https://maven.apache.org/surefire/maven-surefire-plugin/examples/rerun-failing-tests.html). `time` of the
<testcase> is that of the last try; `time`, `hostname` and `timestamp` on the elements are those of theirs. Outcomes
that these elements cannot tell (passed, then failed) are listed in a property of the test.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from report_merge import elements
from report_merge.dialects import BROKEN_TYPE, FINAL, HISTORY, RERUN, microseconds, portable_file, seconds_text
from report_merge.elements import Element, local_name, text_of
from report_merge.model import Attempt, Case, CaseKey, Outcome, Verdict

_OUTCOMES = frozenset(Outcome)
_OUTPUT = ("system-out", "system-err")
NOT_RUN_TYPE = "report-merge.not-run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a test inherits from its suites and from the file it stands in."""

    suite: str = ""
    file: str = ""
    project: str = ""
    machine: str = ""
    started: str = ""
    source: str = ""
    shard: str = ""
    attempt: int = 1


def case_of(element: Element, around: Surroundings, *, ordinal: int = 0) -> Case:
    """The test and its attempts, numbered from the attempt its file belongs to."""
    attempts = _attempts(element, around)
    return Case(
        key=key_of(element, around, ordinal),
        suite=around.suite,
        line=_line(element),
        attempts=tuple(replace(attempt, number=around.attempt + index) for index, attempt in enumerate(attempts)),
        properties=tuple(_properties(element)),
    )


def key_of(element: Element, around: Surroundings, ordinal: int = 0) -> CaseKey:
    return CaseKey(
        project=around.project,
        file=portable_file(element.get("file") or around.file),
        classname=element.get("classname") or around.suite,
        name=element.get("name", ""),
        ordinal=ordinal,
    )


def _line(element: Element) -> int | None:
    text = element.get("line") or element.get("lineno") or ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _properties(element: Element) -> Iterator[tuple[str, str]]:
    for entry in element.iterfind("properties/property"):
        name = entry.get("name", "")
        if name != HISTORY:
            yield name, entry.get("value") or text_of(entry)


def _attempts(element: Element, around: Surroundings) -> list[Attempt]:
    main = _main_attempt(element, around)
    others = [_rerun_attempt(child, around) for child in element if local_name(child) in RERUN]
    attempts = [main, *others] if main.outcome.bad else [*others, main]
    for entry in element.iterfind("properties/property"):
        if entry.get("name") == HISTORY:
            attempts = _by_history(entry.get("value", "").split(), attempts)
    took = microseconds(element.get("time"))
    attempts[-1] = replace(attempts[-1], seconds=None if took is None else took / 1e6)
    return attempts


def _by_history(words: list[str], attempts: list[Attempt]) -> list[Attempt]:
    """The attempts in the property's order, with those it names and no element shows; as they were if it lies."""
    waiting = list(attempts)
    result: list[Attempt] = []
    for word in reversed(words):
        if word not in _OUTCOMES:
            return attempts
        bad = Outcome(word).bad
        if waiting and waiting[-1].outcome.bad == bad:
            result.append(waiting.pop())
        elif bad:
            return attempts
        else:
            result.append(Attempt(outcome=Outcome(word), source=attempts[0].source, shard=attempts[0].shard))
    return attempts if waiting else result[::-1]


def _main_attempt(element: Element, around: Surroundings) -> Attempt:
    deciding = [child for child in element if local_name(child) in FINAL]
    bad = [child for child in deciding if FINAL[local_name(child)].bad]
    shown = bad or deciding
    outcome = FINAL[local_name(shown[0])] if shown else Outcome.PASSED
    if shown and shown[0].get("type") == BROKEN_TYPE:
        outcome = Outcome.BROKEN
    return Attempt(
        outcome=outcome,
        kind=shown[0].get("type", "") if shown else "",
        message=shown[0].get("message", "") if shown else "",
        text="\n\n".join(filter(None, (text_of(child) for child in shown))),
        stdout=_joined(element, "system-out"),
        stderr=_joined(element, "system-err"),
        seconds=_seconds(shown[0]) if shown else None,
        started=(shown[0].get("timestamp") if shown else None) or element.get("timestamp") or around.started,
        machine=(shown[0].get("hostname") if shown else None) or element.get("hostname") or around.machine,
        shard=around.shard,
        source=around.source,
    )


def _rerun_attempt(element: Element, around: Surroundings) -> Attempt:
    trace = element.find("stackTrace")
    return Attempt(
        outcome=RERUN[local_name(element)],
        kind=element.get("type", ""),
        message=element.get("message", ""),
        text=text_of(trace) if trace is not None else _own_text(element),
        stdout=_joined(element, "system-out"),
        stderr=_joined(element, "system-err"),
        seconds=_seconds(element),
        started=element.get("timestamp", "") or around.started,
        machine=element.get("hostname", "") or around.machine,
        shard=around.shard,
        source=around.source,
    )


def _own_text(element: Element) -> str:
    return "".join([element.text or "", *(child.tail or "" for child in element)])


def _joined(element: Element, tag: str) -> str:
    return "\n".join(text_of(child) for child in element if local_name(child) == tag)


def _seconds(element: Element) -> float | None:
    took = microseconds(element.get("time"))
    return None if took is None else took / 1e6


def element_of(case: Case, *, base: Element | None = None, machine: str = "", started: str = "") -> Element:
    """The <testcase>: attributes, properties and foreign children from `base` if given, outcomes from the attempts.

    `machine` and `started` are what its suite already says, and what need not be said again.
    """
    element = base if base is not None else _fresh(case)
    for child in list(element):
        if local_name(child) in {*FINAL, *RERUN, *_OUTPUT}:
            element.remove(child)
    last = case.last
    if last is not None:
        if last.seconds is not None:
            element.set("time", seconds_text(round(last.seconds * 1e6)))
        if last.machine not in ("", machine):
            element.set("hostname", elements.xml_text(last.machine))
        if last.started not in ("", started):
            element.set("timestamp", elements.xml_text(last.started))
    _set_history(element, case)
    for child in _outcome_elements(case):
        element.append(child)
    return element


def _fresh(case: Case) -> Element:
    key = case.key
    optional = {"file": key.file, "line": "" if case.line is None else str(case.line)}
    element = elements.new(
        "testcase", classname=key.classname, name=key.name, **{k: v for k, v in optional.items() if v}
    )
    if case.properties:
        holder = elements.new("properties")
        holder.extend(elements.new("property", name=name, value=value) for name, value in case.properties)
        element.append(holder)
    return element


def _set_history(element: Element, case: Case) -> None:
    outcomes = [attempt.outcome for attempt in case.attempts]
    told = [outcome for outcome in outcomes if outcome.bad]
    if outcomes and (case.verdict is not Verdict.FAILED):
        told.append(outcomes[-1])
    for holder in element.findall("properties"):
        for entry in holder.findall("property"):
            if entry.get("name") == HISTORY:
                holder.remove(entry)
    if told == outcomes:
        return
    properties = element.find("properties")
    if properties is None:
        properties = elements.new("properties")
        element.insert(0, properties)
    properties.append(elements.new("property", name=HISTORY, value=" ".join(outcomes)))


def _outcome_elements(case: Case) -> Iterator[Element]:
    if not case.attempts:
        yield elements.new("error", type=NOT_RUN_TYPE, message=f"not run: {case.reason or 'no report came'}")
        return
    bad = [attempt for attempt in case.attempts if attempt.outcome.bad]
    main = case.attempts[-1]
    if case.verdict is Verdict.FAILED:
        main = bad.pop(0)
        yield _final(main, told=len(case.attempts) > 1)
        for attempt in bad:
            yield _rerun("rerun", attempt)
    else:
        for attempt in bad:
            yield _rerun("flaky", attempt)
        if main.outcome is Outcome.SKIPPED:
            yield _final(main, told=False)
    yield from _output(main)


def _final(attempt: Attempt, *, told: bool) -> Element:
    tag = {Outcome.FAILED: "failure", Outcome.SKIPPED: "skipped"}.get(attempt.outcome, "error")
    element = elements.new(tag, **_described(attempt, told=told))
    element.text = elements.xml_text(attempt.text) or None
    return element


def _rerun(prefix: str, attempt: Attempt) -> Element:
    element = elements.new(
        prefix + ("Failure" if attempt.outcome is Outcome.FAILED else "Error"), **_described(attempt, told=True)
    )
    if attempt.text:
        trace = elements.new("stackTrace")
        trace.text = elements.xml_text(attempt.text)
        element.append(trace)
    element.extend(_output(attempt))
    return element


def _described(attempt: Attempt, *, told: bool) -> dict[str, str]:
    """Attributes of an outcome; `told`: with when, where and how long, because the <testcase> speaks of another try."""
    kind = attempt.kind or (BROKEN_TYPE if attempt.outcome is Outcome.BROKEN else "")
    pairs = {"message": attempt.message, "type": kind}
    if told:
        took = "" if attempt.seconds is None else seconds_text(round(attempt.seconds * 1e6))
        pairs |= {"time": took, "hostname": attempt.machine, "timestamp": attempt.started}
    return {name: value for name, value in pairs.items() if value}


def _output(attempt: Attempt) -> Iterator[Element]:
    for tag, text in zip(_OUTPUT, (attempt.stdout, attempt.stderr), strict=True):
        if text:
            element = elements.new(tag)
            element.text = elements.xml_text(text)
            yield element
