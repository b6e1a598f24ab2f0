"""The merged file: copied byte for byte from the reports, except where merging has something to say.

Three things are written anew: every suite's start tag (with recounted totals), every test that several files tell of
(with its attempts), and the few tests whose time or outcome is spelt in a way that other readers misread. Copying is
why merging costs little more than reading, keeps all that is not understood, and changes nothing the second time.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain
from typing import IO, NamedTuple

from report_merge.fragments import Fragments, raw_attributes
from report_merge.index import EARLIER, GIVE_PROJECT, HAS_CONTENT, HAS_PROJECT, HAS_WALL, REWRITE, SKIPPED, SuiteTable
from report_merge.joining import Joined, OutcomeCounts
from report_merge.junit import xml
from report_merge.junit.dialects import ENDED, PROJECT, STARTED, WALL, microseconds, seconds_text
from report_merge.junit.testcase import case_of, element_of
from report_merge.numbering import MergedCase

_ROUNDING = 1000  # microseconds: a suite's own time this close to the sum of its tests is that sum
_NEEDS_REWRITING = re.compile(b"[%s]" % re.escape(bytes(flags for flags in range(64) if flags & REWRITE)))


class Edit(NamedTuple):
    """At this offset, write what `make` gives, and go on behind the offset it gives."""

    start: int
    make: Callable[[], tuple[bytes, int]]


def write_start(totals: OutcomeCounts, name: str, span: tuple[float, float], stream: IO[bytes]) -> None:
    stream.write(b"<?xml version='1.0' encoding='utf-8'?>\n")
    stream.write(_root_start(totals, name, span))


def write_end(stream: IO[bytes]) -> None:
    stream.write(b"</testsuites>\n")


def _root_start(totals: OutcomeCounts, name: str, span: tuple[float, float]) -> bytes:
    root = xml.new("testsuites", **({"name": name} if name else {}))
    for attribute, value in _counts(totals):
        root.set(attribute, value)
    root.text = "\n"
    if all(map(math.isfinite, span)):
        began, ended = (round(moment * 1000) for moment in span)  # milliseconds: the same when read and written again
        properties = xml.new("properties")
        told = {STARTED: _iso(began), ENDED: _iso(ended), WALL: seconds_text((ended - began) * 1000)}
        properties.extend(xml.new("property", name=name, value=value) for name, value in told.items())
        properties.tail = "\n"
        root.append(properties)
    return xml.to_bytes(root).removesuffix(b"</testsuites>")


def _iso(milliseconds: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)).isoformat(timespec="milliseconds")


def _counts(totals: OutcomeCounts) -> list[tuple[str, str]]:
    return [
        ("tests", str(totals.tests)),
        ("failures", str(totals.failures)),
        ("errors", str(totals.errors)),
        ("skipped", str(totals.skipped)),
        ("time", seconds_text(totals.took)),
    ]


def write_file(
    fragments: Fragments, joined: Joined, file: int, tests: dict[int, MergedCase], stream: IO[bytes]
) -> None:
    """The suites of one file; `tests` are those of them that other files tell of too."""
    suites = fragments.files[file].index.suites
    subtree, dropped = _subtree_counts(suites, _suites_that_lost_tests(fragments, joined, file))
    edits = sorted(chain(_suite_edits(fragments, file, subtree, dropped), _case_edits(fragments, joined, file, tests)))
    at = 0
    for number, parent in enumerate(suites.parent):
        if parent < 0 and not dropped[number]:
            start, end = suites.start[number], _suite_end(fragments, file, number)
            while at < len(edits) and edits[at].start < start:
                at += 1
            while at < len(edits) and edits[at].start < end:
                edit = edits[at]
                at += 1
                if edit.start >= start:  # else it lies in something that was left out
                    fragments.copy(file, start, edit.start, stream)
                    new, start = edit.make()
                    stream.write(new)
            fragments.copy(file, start, end, stream)
            stream.write(b"\n")


def _suites_that_lost_tests(fragments: Fragments, joined: Joined, file: int) -> set[int]:
    return {fragments.files[file].index.cases.suite[case] for case in joined.absorbed[file]}


def _subtree_counts(suites: SuiteTable, lost: set[int]) -> tuple[list[OutcomeCounts], list[bool]]:
    """What each suite counts with the suites inside it, and whether all it held is now told elsewhere."""
    size = len(suites.start)
    totals = [
        OutcomeCounts(
            tests=suites.tests[number],
            failures=suites.failures[number],
            errors=suites.errors[number],
            skipped=suites.skipped[number],
            took=suites.took[number],
        )
        for number in range(size)
    ]
    emptied = [number in lost for number in range(size)]
    content = [suites.flags[number] & HAS_CONTENT != 0 for number in range(size)]
    for number in range(size - 1, -1, -1):  # children come after their parents
        parent = suites.parent[number]
        if parent >= 0:
            totals[parent].plus(totals[number])
            emptied[parent] |= emptied[number]
            content[parent] |= content[number]
    return totals, [emptied[n] and not content[n] and totals[n].tests == 0 for n in range(size)]


def _suite_end(fragments: Fragments, file: int, suite: int) -> int:
    suites = fragments.files[file].index.suites
    tag = fragments.start_tag(file, suites.start[suite])
    if tag.endswith(b"/>"):
        return suites.start[suite] + len(tag)
    return fragments.end_of(file, suites.end[suite], b"testsuite")


def _suite_edits(fragments: Fragments, file: int, counts: list[OutcomeCounts], dropped: list[bool]) -> Iterator[Edit]:
    suites = fragments.files[file].index.suites
    for number, start in enumerate(suites.start):
        if dropped[number]:
            yield Edit(start, partial(_drop_suite, fragments, file, number))
            continue
        yield Edit(start, partial(_suite_start, fragments, file, number, counts[number]))
        if at := suites.properties_at[number]:
            yield Edit(at, partial(_more_properties, fragments, file, number, counts[number]))


def _drop_suite(fragments: Fragments, file: int, suite: int) -> tuple[bytes, int]:
    return b"", _suite_end(fragments, file, suite)


def _suite_start(fragments: Fragments, file: int, suite: int, counts: OutcomeCounts) -> tuple[bytes, int]:
    """The start tag with the totals of what the suite holds now; all its other attributes as they were."""
    suites = fragments.files[file].index.suites
    tag = fragments.start_tag(file, suites.start[suite])
    attributes = dict(raw_attributes(tag))
    for name, value in _counts(counts):
        attributes[name.encode()] = b'"%s"' % value.encode()
    new = b"<testsuite" + b"".join(b" %s=%s" % pair for pair in attributes.items())
    properties = b"" if suites.properties_at[suite] else _own_properties(suites, suite, tag, counts)
    if properties:
        properties = b"<properties>" + properties + b"</properties>"
    if tag.endswith(b"/>"):
        return new + (b">" + properties + b"</testsuite>" if properties else b"/>"), suites.start[suite] + len(tag)
    return new + b">" + properties, suites.start[suite] + len(tag)


def _more_properties(fragments: Fragments, file: int, suite: int, counts: OutcomeCounts) -> tuple[bytes, int]:
    suites = fragments.files[file].index.suites
    at = suites.properties_at[suite]
    tag = fragments.start_tag(file, at)
    own = _own_properties(suites, suite, fragments.start_tag(file, suites.start[suite]), counts)
    if own and tag.endswith(b"/>"):
        return b"<properties>" + own + b"</properties>", at + len(tag)
    return tag + own, at + len(tag)


def _own_properties(suites: SuiteTable, suite: int, tag: bytes, counts: OutcomeCounts) -> bytes:
    """Ours: the time a suite said it took, if that is not the sum of its tests; the project that only its root told."""
    flags, named = suites.flags[suite], dict(raw_attributes(tag))
    told: list[tuple[str, bytes]] = []
    declared = microseconds(named.get(b"time", b"")[1:-1].decode("ascii", "replace"))
    if declared is not None and abs(declared - counts.took) > _ROUNDING and not flags & HAS_WALL:
        told.append((WALL, b'"%s"' % seconds_text(declared).encode()))
    if flags & GIVE_PROJECT and not flags & HAS_PROJECT:
        told.append((PROJECT, named[b"hostname"]))
    return b"".join(b'<property name="%s" value=%s/>' % (name.encode(), quoted) for name, quoted in told)


def _case_edits(fragments: Fragments, joined: Joined, file: int, tests: dict[int, MergedCase]) -> Iterator[Edit]:
    cases, absorbed = fragments.files[file].index.cases, joined.absorbed[file]
    for case in absorbed:
        yield Edit(cases.start[case], partial(_drop_case, fragments, file, case))
    for case, test in tests.items():
        yield Edit(cases.start[case], partial(_merged, fragments, file, case, test))
    for match in _NEEDS_REWRITING.finditer(cases.flags):
        case = match.start()
        if case not in absorbed and case not in tests:
            yield Edit(cases.start[case], partial(_rewritten, fragments, file, case))


def _drop_case(fragments: Fragments, file: int, case: int) -> tuple[bytes, int]:
    return b"", fragments.case_end(file, case)


def _merged(fragments: Fragments, file: int, case: int, test: MergedCase) -> tuple[bytes, int]:
    around = fragments.around_case(file, case)
    element = element_of(test.case, base=test.first, machine=around.machine, started=around.started)
    return xml.to_bytes(element), fragments.case_end(file, case)


def _rewritten(fragments: Fragments, file: int, case: int) -> tuple[bytes, int]:
    element = fragments.case(file, case)
    flags = fragments.files[file].index.cases.flags[case]
    if flags & SKIPPED and flags & EARLIER:
        around = fragments.around_case(file, case)
        element = element_of(case_of(element, around), base=element, machine=around.machine, started=around.started)
    elif (took := microseconds(element.get("time"))) is not None:
        element.set("time", seconds_text(took))
    return xml.to_bytes(element), fragments.case_end(file, case)
