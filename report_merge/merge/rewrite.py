"""One report file -> its part of the merged file, and all that is to be known of it: parsed once, walked once.

What merging changes is changed in the tree: tests that several files tell of get all their attempts, or leave; suites
get counts that are true. All else stays as it is, which is why merging a merged file again changes nothing.
"""

from __future__ import annotations

import heapq
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from report_merge.junit import xml
from report_merge.junit.dialects import PROJECT, WALL, microseconds, seconds_text
from report_merge.junit.document import CaseElement, Document, SuiteElement, declared_time, key_of
from report_merge.junit.testcase import (
    BAD,
    SKIPPED,
    case_of,
    counted_bit,
    element_of,
    outcome_bits,
)
from report_merge.junit.xml import Element
from report_merge.merge.attempts import collided, matched
from report_merge.merge.executions import Execution, batch_of, rank
from report_merge.merge.kept import LeanWriter, cut_to, headline, with_cause
from report_merge.merge.reported import (
    FileOutcome,
    MergePlan,
    MergeSettings,
    OutcomeCounts,
    ReportedFacts,
    ReportPart,
    close,
    count,
    read_report,
)
from report_merge.model import Attempt, Case, Duplicate

SLOWEST = 20
REASON = 300  # characters of why a test was skipped
SKIPPED_KEPT = 20  # of one file, where not every test is kept
_ROUNDING = 1000  # microseconds: a suite's own time this close to the sum of its tests is that sum


class _Slot(NamedTuple):
    """A test of this file that other files tell of too."""

    position: int
    test: CaseElement


def rewrite(number: int, plan: MergePlan, settings: MergeSettings) -> FileOutcome:
    """A file's part of the result. Never raises for what the file holds."""

    def change(document: Document) -> FileOutcome:
        return _Rewriting(number, plan, settings, document).run()

    return read_report(plan.sources[number], settings, change)


class _Rewriting:
    """The work on one file."""

    def __init__(self, number: int, plan: MergePlan, settings: MergeSettings, document: Document) -> None:
        self.number, self.plan, self.settings, self.document = number, plan, settings, document
        self.source = plan.sources[number]
        self.facts = ReportedFacts()
        self.part = ReportPart()
        self.eventful: list[tuple[int, CaseElement]] = []
        self.slow: list[tuple[int, int, CaseElement]] = []  # while the file is walked, a heap of the slowest
        self.lean = LeanWriter() if settings.all_cases else None
        self.slots: defaultdict[int, list[_Slot]] = defaultdict(list)
        self.keys = array("q")  # by position
        self.behind: dict[int, Element] = {}  # the last element put behind a test, by the test's position
        self.skipped = 0

    def run(self) -> FileOutcome:
        self._walk()
        close(self.facts, self.document)
        self.facts.keys = array("q", sorted(set(self.keys)))  # sorted, so that they can be compared a slice at a time
        ordinals = self._ordinals()
        for key, slots in self.slots.items():
            self._join(key, slots)
        for position, test in self.eventful:
            self._keep_eventful(position, test, ordinals.get(position, 0))
        for took, position, test in heapq.nlargest(SLOWEST, self.slow, key=lambda one: one[:2]):
            name = key_of(test.identity, ordinals.get(position, 0))
            self.part.slowest.append((took, position, headline(case_of(test.element, test.suite.around, name))))
        if self.lean is not None:
            self.part.others = self.lean.closed(ordinals)
        self._write()
        return FileOutcome(facts=self.facts, part=self.part)

    def _walk(self) -> None:  # once a test of all reports, so it is kept lean
        keys, facts, known, asked_for = self.keys, self.facts, self.plan.index.keys, self.settings.asked_for
        slow, slow_floor, lean = self.slow, 0, self.lean
        for test in self.document.tests():
            suite, _, identity, bits, tries, took = test
            key = hash(identity)
            position = len(keys)
            keys.append(key)
            facts.attempts += tries
            if asked_for and identity[3] in asked_for:
                facts.asked_for.append(identity)
            if bits:
                count(suite, bits, took)
            else:
                suite.tests += 1
                if took:
                    suite.took += took
            if key in known:
                self.slots[key].append(_Slot(position, CaseElement(*test)))
                continue
            if bits:
                self.eventful.append((position, CaseElement(*test)))
                continue
            if lean is not None:
                lean.add(position, suite, identity, took)
            if took is not None and took > slow_floor:
                heapq.heappush(slow, (took, position, CaseElement(*test)))
                if len(slow) > SLOWEST:
                    heapq.heappop(slow)
                    slow_floor = slow[0][0]

    def _ordinals(self) -> dict[int, int]:
        """The ordinals above 0 of tests that share all names inside the file, by position."""
        if len(self.facts.keys) == len(self.keys):
            return {}
        seen: Counter[int] = Counter()
        ordinals: dict[int, int] = {}
        for position, key in enumerate(self.keys):
            if seen[key]:
                ordinals[position] = seen[key]
            seen[key] += 1
        return ordinals

    def _join(self, key: int, slots: list[_Slot]) -> None:
        plan = self.plan
        if key in plan.merged_before or plan.owners.get(key, self.number) != self.number:
            for _, test in slots:
                count(test.suite, test.bits, test.took, -1)
                test.suite.lost = True
                _remove(test.element)
            return
        own = [Execution(test.element, test.suite.around, test.bits, slot) for slot in slots for test in (slot.test,)]
        others = plan.index.of(key, attempts_from=self.source.attempt, besides=self.number)
        batches = [batch_of(self.source, own), *others]
        if files := collided(batches, by_time=self.settings.by_time):
            self.part.duplicates.append(Duplicate(key=key_of(slots[0].test.identity), files=files))
        for ordinal, executions in enumerate(matched(batches, rank, by_time=self.settings.by_time)):
            self._put(executions, slots[-1], ordinal)

    def _put(self, executions: list[Execution], last: _Slot, ordinal: int) -> None:
        """All executions of one test in place of its own here, or behind the last test of its name."""
        own = next((execution.slot for execution in executions if execution.slot is not None), None)
        if own is not None and len(executions) == 1:
            self._keep(own.position, own.test, ordinal)
            return
        key = key_of(last.test.identity, ordinal)
        cases = [case_of(execution.element, execution.around, key) for execution in executions]
        suite = (own or last).test.suite
        if own is not None:
            element = own.test.element
            count(suite, own.test.bits, own.test.took, -1)
            shown = cases[next(n for n, execution in enumerate(executions) if execution.slot is own)]
        else:
            element, shown = executions[0].element, cases[0]
            behind = self.behind.get(last.position, last.test.element)
            behind.addnext(element)
            self.behind[last.position] = element
        case = replace(shown, suite=suite.around.title, attempts=tuple(_renumbered(cases)))
        element_of(case, base=element, machine=suite.around.machine, started=suite.around.started)
        bits, _ = outcome_bits(element)
        took = microseconds(element.get("time"))
        count(suite, bits, took)
        test = CaseElement(suite, element, last.test.identity, bits, 0, took)
        self._keep((own or last).position, test, ordinal, case)

    def _keep(self, position: int, test: CaseElement, ordinal: int, case: Case | None = None) -> None:
        if test.bits:
            self._keep_eventful(position, test, ordinal, case)
        elif self.lean is not None:
            self.lean.add(position, test.suite, test.identity, test.took, ordinal=ordinal)
        if test.took and not test.bits:
            self.slow.append((test.took, position, test))

    def _keep_eventful(self, position: int, test: CaseElement, ordinal: int, case: Case | None = None) -> None:
        suite, element, identity, bits, _, took = test
        if counted_bit(bits) == SKIPPED:
            self._keep_skipped(position, test, ordinal, case)
            return
        if case is None:
            case = case_of(element, suite.around, key_of(identity, ordinal))
            if (
                bits & SKIPPED and not bits & BAD
            ):  # a skip after a failed try: said so that other readers see the failure too
                count(suite, bits, took, -1)
                element_of(case, base=element, machine=suite.around.machine, started=suite.around.started)
                count(suite, outcome_bits(element)[0], microseconds(element.get("time")))
        self.part.eventful.append((position, with_cause(case, self.settings.limits, self.settings.rules)))

    def _keep_skipped(self, position: int, test: CaseElement, ordinal: int, case: Case | None) -> None:
        if self.lean is not None and case is None:
            reason = next((child.get("message", "") for child in test.element.iterchildren("skipped")), "")
            self.lean.add(
                position, test.suite, test.identity, test.took, ordinal=ordinal, skipped=True, message=reason[:REASON]
            )
            return
        self.skipped += 1
        if self.lean is not None or self.skipped <= SKIPPED_KEPT:
            case = case or case_of(test.element, test.suite.around, key_of(test.identity, ordinal))
            self.part.eventful.append((position, cut_to(case, self.settings.limits)))

    def _write(self) -> None:
        suites = self.document.suites
        counts = [
            OutcomeCounts(suite.tests, suite.failures, suite.errors, suite.skipped, suite.flaky, suite.took)
            for suite in suites
        ]
        lost = [suite.lost for suite in suites]
        content = [suite.content for suite in suites]
        for number in range(len(suites) - 1, -1, -1):  # suites come after those around them
            parent = suites[number].parent
            if parent >= 0:
                counts[parent].plus(counts[number])
                lost[parent] |= lost[number]
                content[parent] |= content[number]
            else:
                self.part.counts.plus(counts[number])
        left: list[Element] = []
        for number, suite in enumerate(suites):
            if lost[number] and not content[number] and not counts[number].tests:
                if suite.parent >= 0 and suite.element.getparent() is not None:
                    _remove(suite.element)  # all it held is told elsewhere
                continue
            if suite.parent < 0:
                left.append(suite.element)
            if self.settings.write:
                _state_counts(suite, counts[number])
        if self.settings.write and left:
            self.part.path = self.settings.folder / f"part-{self.number}.xml"
            with self.part.path.open("wb") as stream:
                for element in left:
                    stream.write(xml.to_bytes(element))
                    stream.write(b"\n")


def _state_counts(suite: SuiteElement, counts: OutcomeCounts) -> None:
    """The totals of what the suite holds now; what it said of itself that is not their sum goes into properties."""
    element = suite.element
    declared = declared_time(element)
    own: list[tuple[str, str]] = []
    known = {entry.get("name") for entry in element.iterfind("properties/property")}
    if declared is not None and abs(declared - counts.took) > _ROUNDING and WALL not in known:
        own.append((WALL, seconds_text(declared)))
    if suite.project_by_root:
        own.append((PROJECT, suite.around.project))
    for name, value in counts.attributes:
        element.set(name, value)
    if own:
        properties = element.find("properties")
        if properties is None:
            properties = xml.new("properties")
            element.insert(0, properties)
        properties.extend(xml.new("property", name=name, value=value) for name, value in own)


def _remove(element: Element) -> None:
    parent = element.getparent()
    if parent is not None:
        parent.remove(element)


def _renumbered(cases: Iterable[Case]) -> Iterator[Attempt]:
    """Numbers rise even where a file tells several tries."""
    last = 0
    for case in cases:
        for attempt in case.attempts:
            number = max(attempt.number, last + 1)
            yield attempt if number == attempt.number else replace(attempt, number=number)
            last = number
