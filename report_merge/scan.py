"""One plain JUnit file -> its index: where every suite and test stands, how it ended, which test it is. No texts.

This is the first of the two passes that merging takes. It reads by chunks with expat, trusts no attribute that could be
counted instead, and raises Odd for whatever is not plain (see `tidy`), which the caller rewrites once and scans again.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache
from typing import IO
from xml.parsers import expat

from report_merge.index import (
    BAD,
    EARLIER,
    EARLIER_ERROR,
    EARLIER_FAILURE,
    ERROR,
    FAILURE,
    GIVE_PROJECT,
    HAS_CONTENT,
    HAS_PROJECT,
    HAS_WALL,
    REWRITE,
    SKIPPED,
    FileIndex,
    MachineTotals,
    verdict_flags,
)
from report_merge.junit.dialects import (
    ENDED,
    FINAL,
    HISTORY,
    PROJECT,
    RERUN,
    STARTED,
    WALL,
    instant,
    is_playwright_root,
    microseconds,
    outcome_in_status,
    portable_file,
)
from report_merge.junit.repair import is_plain_utf8
from report_merge.limits import MIB, ReadLimits, ReportRefused

_BITS = {"failure": FAILURE, "error": ERROR, "skipped": SKIPPED}
_BITS |= {tag: EARLIER_ERROR if "Error" in tag else EARLIER_FAILURE for tag in RERUN}
_CHUNK = MIB
_LONGEST_TAG = 32 * MIB  # expat before 2.6 reads an unfinished tag again with every chunk

_portable = lru_cache(maxsize=1024)(portable_file)
SLOWEST = 20


class Odd(Exception):
    """The file is not plain; `tidy` may make it so."""


def scan(stream: IO[bytes], limits: ReadLimits, wanted: AbstractSet[str] = frozenset()) -> FileIndex:
    """The index of a plain report. Raises Odd when it is not plain, ReportRefused when it must not be read at all.

    `wanted` are names of tests whose full identity is to be listed in `expected`.
    """
    scanner = _Scanner(limits, wanted)
    parser = scanner.parser
    fed = 0
    try:
        while chunk := stream.read(_CHUNK):
            if fed == 0 and not is_plain_utf8(chunk):
                raise Odd
            fed += len(chunk)
            parser.Parse(chunk, False)  # noqa: FBT003  expat takes it by position only
            if fed - parser.CurrentByteIndex > _LONGEST_TAG:
                raise ReportRefused(f"one of its tags is longer than {_LONGEST_TAG} bytes")
        parser.Parse(b"", True)  # noqa: FBT003
    except expat.ExpatError:
        raise Odd from None
    return scanner.index


class _Scanner:
    """The handlers of one expat parser. They run once an element of all reports, so they are kept lean."""

    __slots__ = (
        "around",
        "case_depth",
        "cases",
        "depth",
        "earlier",
        "flags",
        "history",
        "index",
        "limits",
        "open_suites",
        "parser",
        "playwright",
        "root_namespaces",
        "slow_floor",
        "status",
        "suites",
        "wanted",
    )

    def __init__(self, limits: ReadLimits, wanted: AbstractSet[str]) -> None:
        self.limits = limits
        self.wanted = wanted
        self.index = FileIndex()
        self.suites, self.cases = self.index.suites, self.index.cases
        self.depth = 0
        self.case_depth = 0  # 0: not inside a test
        self.flags = 0
        self.earlier = 0  # tries of the open test told by surefire's elements
        self.history = 0  # tries of the open test told by our property
        self.open_suites: list[_OpenSuite] = []
        self.around = _OpenSuite(number=-1)
        self.status = False  # an attribute of the open test names an outcome other than passed
        self.playwright = False
        self.root_namespaces = False
        self.slow_floor = -1
        self.parser = expat.ParserCreate(
            "utf-8", " "
        )  # with a separator it knows namespaces and refuses unbound prefixes
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.StartNamespaceDeclHandler = self._namespace
        self.parser.StartDoctypeDeclHandler = self._doctype

    def _namespace(self, *_: object) -> None:
        self.root_namespaces |= self.depth == 0

    def _doctype(self, *_: object) -> None:
        raise Odd  # `tidy` words the refusal

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self.depth += 1
        if self.case_depth:
            self._start_in_case(tag, attributes)
        elif tag == "testcase":
            self._start_case(attributes)
        elif tag == "testsuite":
            self._start_suite(attributes)
        elif self.depth == 1:
            self._start_root(tag, attributes)
        else:
            self._start_in_suite(tag, attributes)

    def _start_root(self, tag: str, attributes: dict[str, str]) -> None:
        if tag != "testsuites" or self.root_namespaces:  # its children may use them, and we do not copy it
            raise Odd
        self.index.root_name = attributes.get("name", "")
        self.playwright = is_playwright_root(attributes)

    def _start_suite(self, attributes: dict[str, str]) -> None:
        if self.depth > 1 and self.depth != self.around.depth + 1:
            raise Odd
        around, table = self.around, self.suites
        project = attributes.get("hostname", "") if self.playwright else around.project
        hostname = attributes.get("hostname", "")
        moment = instant(attributes.get("timestamp", ""))
        suite = _OpenSuite(
            number=len(table.start),
            depth=self.depth,
            name=attributes.get("name") or around.name,
            file=attributes.get("file") or attributes.get("filepath") or around.file,
            project=project,
            machine=hostname if hostname not in ("", project) else around.machine,
            declared=microseconds(attributes.get("time")) or 0,
        )
        table.start.append(self.parser.CurrentByteIndex)
        table.parent.append(around.number)
        table.began.append(moment.timestamp() if moment else math.nan)
        table.flags.append(GIVE_PROJECT if self.playwright and project else 0)
        for column in (table.end, table.properties_at, table.tests, table.failures, table.errors, table.skipped):
            column.append(0)
        table.took.append(0)
        self.open_suites.append(around)
        self.around = suite

    def _start_case(self, attributes: dict[str, str]) -> None:
        around, cases = self.around, self.cases
        if around.number < 0 or self.depth != around.depth + 1:
            raise Odd
        classname = attributes.get("classname")
        if classname is None and "class" in attributes:
            raise Odd
        self.status = ("status" in attributes or "result" in attributes) and outcome_in_status(attributes) is not None
        took = microseconds(attributes.get("time"))
        if "," in attributes.get("time", ""):
            self.flags = REWRITE
        file = attributes.get("file") or around.file
        name = attributes.get("name", "")
        identity = (around.project, _portable(file) if file else "", classname or around.name, name)
        cases.identity.append(hash(identity))
        cases.start.append(self.parser.CurrentByteIndex)
        cases.suite.append(around.number)
        cases.took.append(-1 if took is None else took)
        if self.wanted and name in self.wanted:
            self.index.expected.append(identity)
        self.case_depth = self.depth

    def _start_in_case(self, tag: str, attributes: dict[str, str]) -> None:
        if self.depth == self.case_depth + 1:
            bit = _BITS.get(tag, 0)
            if bit & EARLIER:
                self.earlier += 1
                if not self.flags & EARLIER:  # the first one tells what it was counted as
                    self.flags |= bit
            elif tag in ("testcase", "testsuite"):
                raise Odd
            elif not (bit & BAD and self.flags & BAD):  # several failures are one failed test, of the first one's kind
                self.flags |= bit
        elif tag == "property":
            if attributes.get("name") == HISTORY:
                self.history = len(attributes.get("value", "").split())
        elif self.depth > self.limits.depth:
            raise ReportRefused(f"its elements are nested deeper than {self.limits.depth}")

    def _start_in_suite(self, tag: str, attributes: dict[str, str]) -> None:
        around = self.around
        if self.depth > self.limits.depth:
            raise ReportRefused(f"its elements are nested deeper than {self.limits.depth}")
        if tag == "property":
            self._property(attributes)
        elif self.depth == around.depth + 1:
            if tag in FINAL or tag in RERUN or (around.number < 0 and tag != "properties"):
                raise Odd
            if around.number >= 0:
                self.suites.flags[around.number] |= HAS_CONTENT
                if tag == "properties" and not self.suites.properties_at[around.number]:
                    self.suites.properties_at[around.number] = self.parser.CurrentByteIndex

    def _property(self, named: dict[str, str]) -> None:
        name, value = named.get("name", ""), named.get("value", "")
        around = self.around
        if around.number < 0:
            self._root_property(name, value)
        elif name == WALL:
            around.declared = microseconds(value) or 0
            self.suites.flags[around.number] |= HAS_WALL
        elif name == PROJECT:
            around.project = value
            around.machine = "" if around.machine == value else around.machine
            self.suites.flags[around.number] |= HAS_PROJECT
            self.index.projects[around.number] = value

    def _root_property(self, name: str, value: str) -> None:
        if name not in (STARTED, ENDED, WALL):
            raise Odd
        moment = instant(value)
        if moment and name == STARTED:
            self.index.began = moment.timestamp()
        elif moment and name == ENDED:
            self.index.ended, self.index.span_told = moment.timestamp(), True

    def _end(self, tag: str) -> None:
        if self.depth == self.case_depth:
            self._end_case()
        elif tag == "testsuite" and not self.case_depth:
            self._end_suite()
        self.depth -= 1

    def _end_case(self) -> None:
        cases, flags, index = self.cases, self.flags, self.index
        if self.status and not flags & (BAD | SKIPPED):
            raise Odd
        if flags & SKIPPED and flags & EARLIER:
            flags |= REWRITE
        cases.end.append(self.parser.CurrentByteIndex)
        cases.flags.append(flags)
        took = cases.took[-1]
        if took > self.slow_floor:
            self._note_slow(took)
        index.attempts += self.history or 1 + self.earlier
        self.case_depth = self.flags = self.earlier = self.history = 0
        around = self.around
        around.tests += 1
        if took > 0:
            around.took += took
        if flags:
            match verdict_flags(flags):
                case 1:
                    around.failures += 1
                case 2:
                    around.errors += 1
                case 4:
                    around.skipped += 1

    def _note_slow(self, took: int) -> None:
        slowest = self.index.slowest
        heapq.heappush(slowest, (took, len(self.cases.end) - 1))
        if len(slowest) > SLOWEST:
            heapq.heappop(slowest)
            self.slow_floor = slowest[0][0]

    def _end_suite(self) -> None:
        suite, table, index = self.around, self.suites, self.index
        number = suite.number
        table.end[number] = self.parser.CurrentByteIndex
        table.tests[number] = suite.tests
        table.failures[number] = suite.failures
        table.errors[number] = suite.errors
        table.skipped[number] = suite.skipped
        table.took[number] = suite.took
        began = table.began[number]
        if not math.isnan(began) and not index.span_told:
            index.began = min(index.began, began)
            index.ended = max(index.ended, began + (suite.declared or suite.took) / 1e6)
        if suite.tests and suite.machine:
            tally = index.machines.setdefault(suite.machine, MachineTotals())
            tally.tests += suite.tests
            tally.failed += suite.failures + suite.errors
            tally.busy += suite.took
        self.around = self.open_suites.pop()


@dataclass(slots=True, kw_only=True)
class _OpenSuite:
    """What holds for the tests of the innermost open suite, and their counts so far."""

    number: int
    depth: int = 1
    name: str = ""
    file: str = ""
    project: str = ""
    machine: str = ""
    declared: int = 0  # the time it says it took, microseconds
    tests: int = 0
    failures: int = 0
    errors: int = 0
    skipped: int = 0
    took: int = 0
