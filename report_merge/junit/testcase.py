"""One <testcase> element <-> one Case, with all its attempts.

Surefire's elements carry the earlier and later tries. In a test that failed for good, <failure> is the first failed
try and rerunFailure / rerunError are the others; in one that passed in the end, flakyFailure / flakyError are the
failed ones (https://maven.apache.org/surefire/maven-surefire-plugin/examples/rerun-failing-tests.html). `time` of the
<testcase> is that of the last try; `time`, `hostname` and `timestamp` on the elements are those of theirs. Outcomes
that these elements cannot tell (passed, then failed) are listed in a property of the test.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from report_merge.junit import xml
from report_merge.junit.dialects import BROKEN_TYPE, FINAL, HISTORY, RERUN, microseconds, seconds_text
from report_merge.junit.xml import Element, local_name, text_of
from report_merge.model import Attempt, Case, CaseKey, Outcome, SuiteContext, Verdict, verdict_of

FAILURE, ERROR, SKIPPED, EARLIER_FAILURE, EARLIER_ERROR = 1, 2, 4, 8, 16
BAD, EARLIER = FAILURE | ERROR, EARLIER_FAILURE | EARLIER_ERROR
_BITS = {"failure": FAILURE, "error": ERROR, "skipped": SKIPPED}
_BITS |= {tag: EARLIER_ERROR if "Error" in tag else EARLIER_FAILURE for tag in RERUN}
_LEAVES = frozenset({"system-out", "system-err"})
_OUTCOMES = frozenset(Outcome)
_OUTPUT = ("system-out", "system-err")
NOT_RUN_TYPE = "report-merge.not-run"


class NotNormalized(Exception):
    """The tree is not in the one dialect that is read here; `normalize` brings it there."""


def outcome_bits(element: Element) -> tuple[int, int]:
    """What the children of a <testcase> say: the bits of its outcomes, and how many tries they tell of.

    Several failures are one failed test, of the first one's kind. Raises NotNormalized.
    """
    bits = earlier = 0
    history = False
    for child in element:
        tag: object = child.tag
        if tag in _LEAVES:
            continue
        bit = _BITS.get(tag, 0) if isinstance(tag, str) else 0
        if bit & EARLIER:
            earlier += 1
            if not bits & EARLIER:  # the first one tells what it was counted as
                bits |= bit
        elif bit:
            if not (bit & BAD and bits & BAD):
                bits |= bit
        elif tag == "properties":
            history |= _has_history(child)
            continue
        elif isinstance(tag, str) and (tag.startswith("{") or tag in ("testcase", "testsuite", "testsuites")):
            raise NotNormalized
        if len(child) and next(child.iter("testcase", "testsuite", "testsuites"), None) is not None:
            raise NotNormalized
    return bits, len(_attempts(element, SuiteContext())) if history else 1 + earlier


def _has_history(properties: Element) -> bool:
    found = False
    for entry in properties:
        found |= entry.tag == "property" and entry.get("name") == HISTORY
        if len(entry) and next(entry.iter("testcase", "testsuite", "testsuites"), None) is not None:
            raise NotNormalized
    return found


def counted_bit(bits: int) -> int:
    """The bit that a test counts as: FAILURE, ERROR, SKIPPED, or 0 for passed and flaky.

    A failure and a skip count as the failure; a skip does not excuse an earlier try that failed.
    """
    if bits & BAD:
        return bits & BAD
    if bits & SKIPPED:
        if bits & EARLIER:
            return FAILURE if bits & EARLIER_FAILURE else ERROR
        return SKIPPED
    return 0


def case_of(element: Element, around: SuiteContext, key: CaseKey) -> Case:
    """The test and its attempts, numbered from the attempt its file belongs to."""
    return Case(
        key=key,
        suite=around.title,
        line=_line(element),
        attempts=tuple(_attempts(element, around)),
        properties=tuple(_properties(element)),
    )


def _line(element: Element) -> int | None:
    text = element.get("line") or element.get("lineno") or ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _properties(element: Element) -> Iterator[tuple[str, str]]:
    for entry in element.iterfind("properties/property"):
        name = entry.get("name", "")
        if name != HISTORY:
            yield name, entry.get("value") or text_of(entry)


def _attempts(element: Element, around: SuiteContext) -> list[Attempt]:
    reruns = [child for child in element if local_name(child) in RERUN]
    deciding = [child for child in element if local_name(child) in FINAL]
    bad = [child for child in deciding if FINAL[local_name(child)].bad]
    shown = bad or deciding
    took = _seconds(element)  # of the last one, unless that has a time of its own
    first = around.attempt
    if bad:
        others = [_rerun_attempt(child, around, first + 1 + index) for index, child in enumerate(reruns)]
        own = _seconds(bad[0])
        if others and others[-1].seconds is None:
            others[-1] = replace(others[-1], seconds=took)
        elif own is None:
            own = took
        attempts = [_main_attempt(element, shown, around, first, own), *others]
    else:
        others = [_rerun_attempt(child, around, first + index) for index, child in enumerate(reruns)]
        attempts = [*others, _main_attempt(element, shown, around, first + len(reruns), took)]
    for entry in element.iterfind("properties/property"):
        if entry.get("name") == HISTORY:
            ordered = _by_history(entry.get("value", "").split(), attempts)
            if verdict_of(attempt.outcome for attempt in ordered) is not verdict_of(a.outcome for a in attempts):
                break  # a property decides no verdict
            attempts = [replace(attempt, number=first + index) for index, attempt in enumerate(ordered)]
            if attempts[-1].seconds is None:
                attempts[-1] = replace(attempts[-1], seconds=took)
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
            first = attempts[0]
            result.append(Attempt(outcome=Outcome(word), machine=first.machine, shard=first.shard, source=first.source))
    return attempts if waiting else result[::-1]


def _main_attempt(
    element: Element, shown: list[Element], around: SuiteContext, number: int, seconds: float | None
) -> Attempt:
    """The attempt the <testcase> itself tells of; `shown` are the elements that decide its outcome."""
    named = {str(name): str(value) for name, value in shown[0].attrib.items()} if shown else {}
    outcome = FINAL[local_name(shown[0])] if shown else Outcome.PASSED
    if named.get("type") == BROKEN_TYPE:
        outcome = Outcome.BROKEN
    return Attempt(
        number=number,
        outcome=outcome,
        kind=named.get("type", ""),
        message=named.get("message", ""),
        text="\n\n".join(filter(None, map(text_of, shown))),
        stdout=_joined(element, "system-out"),
        stderr=_joined(element, "system-err"),
        seconds=seconds,
        started=named.get("timestamp") or element.get("timestamp") or around.started,
        machine=named.get("hostname") or element.get("hostname") or around.machine,
        shard=around.shard,
        source=around.source,
    )


def _rerun_attempt(element: Element, around: SuiteContext, number: int) -> Attempt:
    trace = element.find("stackTrace")
    return Attempt(
        number=number,
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
            element.set("hostname", xml.xml_text(last.machine))
        if last.started not in ("", started):
            element.set("timestamp", xml.xml_text(last.started))
    _set_history(element, case)
    for child in _outcome_elements(case):
        element.append(child)
    return element


def _fresh(case: Case) -> Element:
    key = case.key
    optional = {"file": key.file, "line": "" if case.line is None else str(case.line)}
    element = xml.new("testcase", classname=key.classname, name=key.name, **{k: v for k, v in optional.items() if v})
    if case.properties:
        holder = xml.new("properties")
        holder.extend(xml.new("property", name=name, value=value) for name, value in case.properties)
        element.append(holder)
    return element


def _set_history(element: Element, case: Case) -> None:
    outcomes = [attempt.outcome for attempt in case.attempts]
    visible = [outcome for outcome in outcomes if outcome.bad]
    if outcomes and (case.verdict is not Verdict.FAILED):
        visible.append(outcomes[-1])
    for holder in element.findall("properties"):
        for entry in holder.findall("property"):
            if entry.get("name") == HISTORY:
                holder.remove(entry)
    if visible == outcomes:
        return
    properties = element.find("properties")
    if properties is None:
        properties = xml.new("properties")
        element.insert(0, properties)
    properties.append(xml.new("property", name=HISTORY, value=" ".join(outcomes)))


def _outcome_elements(case: Case) -> Iterator[Element]:
    if not case.attempts:
        yield xml.new("error", type=NOT_RUN_TYPE, message=f"not run: {case.reason or 'no report came'}")
        return
    bad = [attempt for attempt in case.attempts if attempt.outcome.bad]
    main = case.attempts[-1]
    if case.verdict is Verdict.FAILED:
        main = bad.pop(0)
        yield _final(main, detailed=len(case.attempts) > 1)
        for attempt in bad:
            yield _rerun("rerun", attempt)
    else:
        for attempt in bad:
            yield _rerun("flaky", attempt)
        if main.outcome is Outcome.SKIPPED:
            yield _final(main, detailed=False)
    yield from _output(main)


def _final(attempt: Attempt, *, detailed: bool) -> Element:
    tag = {Outcome.FAILED: "failure", Outcome.SKIPPED: "skipped"}.get(attempt.outcome, "error")
    element = xml.new(tag, **_described(attempt, detailed=detailed))
    xml.set_text(element, attempt.text)
    return element


def _rerun(prefix: str, attempt: Attempt) -> Element:
    element = xml.new(
        prefix + ("Failure" if attempt.outcome is Outcome.FAILED else "Error"), **_described(attempt, detailed=True)
    )
    if attempt.text:
        trace = xml.new("stackTrace")
        xml.set_text(trace, attempt.text)
        element.append(trace)
    element.extend(_output(attempt))
    return element


def _described(attempt: Attempt, *, detailed: bool) -> dict[str, str]:
    """Attributes of an outcome; `detailed`: with when, where and how long, for the <testcase> tells of another."""
    kind = attempt.kind or (BROKEN_TYPE if attempt.outcome is Outcome.BROKEN else "")
    pairs = {"message": attempt.message, "type": kind}
    if detailed:
        took = "" if attempt.seconds is None else seconds_text(round(attempt.seconds * 1e6))
        pairs |= {"time": took, "hostname": attempt.machine, "timestamp": attempt.started}
    return {name: value for name, value in pairs.items() if value}


def _output(attempt: Attempt) -> Iterator[Element]:
    for tag, text in zip(_OUTPUT, (attempt.stdout, attempt.stderr), strict=True):
        if text:
            element = xml.new(tag)
            xml.set_text(element, text)
            yield element
