"""Any number of report files -> one merged file and one Report: each file is parsed once, in bounded memory.

    later attempts are looked up first      what they tell of each test, and its text, on disk
    each file of the first attempt          parsed, joined with what was looked up, counted anew, written as a part
    later attempts, again                   only those that tell of tests which no earlier attempt had
    the parts                               put together behind a root element whose totals are known by then

Files of one attempt that turn out to tell of the same test are looked up and written a second time, as one.
"""

from __future__ import annotations

import errno
import io
import math
import os
import shutil
import tempfile
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from heapq import nlargest
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

from report_merge.failures import FailureRules, load_rules
from report_merge.files.discover import Found, InputSource, find
from report_merge.junit import xml
from report_merge.junit.dialects import ENDED, STARTED, WALL, seconds_text
from report_merge.limits import MIB, ReadLimits
from report_merge.merge.executions import ExecutionIndex
from report_merge.merge.expected import Expectation
from report_merge.merge.kept import KeptCases, TextBudget
from report_merge.merge.reported import (
    FileOutcome,
    MergePlan,
    MergeSettings,
    OutcomeCounts,
    ReportedFacts,
    ReportPart,
    look_up,
)
from report_merge.merge.rewrite import SLOWEST, rewrite
from report_merge.merge.workers import on_each, worthwhile_processes
from report_merge.model import Case, FileProblem, MachineUse, Report, RunContext, Totals, Verdict

DUPLICATES_KEPT = 200
SKIPPED_KEPT_IN_ALL = 200
_NOT_BY_THE_KERNEL = (errno.EBADF, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EXDEV)
_KEYS_AT_ONCE = 1 << 18


class ByteStream(Protocol):
    """Any binary stream that is open for writing."""

    def write(self, data: bytes, /) -> int: ...

    def flush(self) -> object: ...


def merge(
    found: Found,
    folder: Path,
    output: ByteStream | None,
    *,
    expected: Expectation | None = None,
    context: RunContext | None = None,
    all_cases: bool = False,
    by_time: bool = False,
    rules: FailureRules | None = None,
    processes: int | None = None,
    limits: ReadLimits | None = None,
) -> Report:
    """Writes the merged JUnit XML to `output`, if there is one, and gives the report.

    The report's cases are those that failed, were flaky or skipped, and the slowest; with `all_cases` every test, the
    uneventful ones without texts. Its totals always count every test. `folder` is for parts. `by_time`: files of one
    attempt that began at different times are attempts too. `processes`: how many may work at once; None chooses for
    each round, and forks none beside other threads.
    """
    expected = expected or Expectation()
    settings = MergeSettings(
        folder=folder,
        limits=limits or ReadLimits(),
        asked_for=expected.test_names,
        rules=rules or load_rules(),  # read once, before workers are forked
        write=output is not None,
        all_cases=all_cases,
        by_time=by_time,
    )
    with closing(ExecutionIndex(folder / "executions", found.sources)) as index:
        merging = _Merging(found.sources, settings, index, processes)
        merging.run()
    if output is not None:
        _write(merging, output)
    return merging.report(found, expected, context or RunContext())


def merge_files(paths: Sequence[str | Path], output: ByteStream | None = None, **options: Any) -> Report:
    """`merge` for programs: the paths are files, folders, patterns or archives; `output` is any binary stream."""
    with tempfile.TemporaryDirectory(prefix="report-merge-") as folder:
        found = find([str(path) for path in paths], unpack_into=Path(folder))
        return merge(found, Path(folder), output, **options)


class _Merging:
    """The rounds of one merge, one an attempt number."""

    def __init__(
        self, sources: list[InputSource], settings: MergeSettings, index: ExecutionIndex, processes: int | None
    ) -> None:
        self.sources, self.settings, self.index, self.processes = sources, settings, index, processes
        self.budget = TextBudget(settings.limits)
        self.slowest: list[tuple[int, int, int, Case]] = []  # microseconds, and file and position counted backwards
        self.facts: dict[int, ReportedFacts] = {}  # by file, of those that could be read
        self.parts: dict[int, ReportPart] = {}
        self.problems: dict[int, FileProblem] = {}
        self.no_tests: set[int] = set()
        self.notes: dict[int, FileProblem] = {}
        self.taken: set[int] = set()  # keys of tests that files of the attempts so far have taken over

    def run(self) -> None:
        if not self.sources:
            return
        attempts = sorted({source.attempt for source in self.sources})
        later = [number for number, source in enumerate(self.sources) if source.attempt > attempts[0]]
        self._look_up(later, None)
        first = [number for number, source in enumerate(self.sources) if source.attempt == attempts[0]]
        self._rewrite(first, {})
        if shared := self._shared_keys(first):
            holders = [n for n in first if n in self.facts and not shared.isdisjoint(self.facts[n].keys)]
            self._look_up(holders, shared)
            self._rewrite(holders, {key: self.index.first_file(key, attempts[0]) for key in shared})
        for attempt in attempts[1:]:
            self._take_over(number for number in self.facts if self.sources[number].attempt < attempt)
            self._later_round(attempt)

    def _later_round(self, attempt: int) -> None:
        """The files of a later attempt that tell of tests which no earlier attempt had, or hold more than tests."""
        files = [number for number in self.facts if self.sources[number].attempt == attempt]
        left = [n for n in files if self.facts[n].content or any(key not in self.taken for key in self.facts[n].keys)]
        fresh = {key for number in left for key in self.facts[number].keys if key not in self.taken}
        self._rewrite(left, {key: self.index.first_file(key, attempt) for key in fresh})

    def _look_up(self, files: list[int], keys: set[int] | None) -> None:
        plan = MergePlan(self.sources, self.index)
        work = partial(look_up, plan=plan, settings=self.settings, keys=keys)
        for number, outcome in zip(files, self._on_each(work, files), strict=True):
            self._learn(number, outcome)
            if outcome.executions is not None:
                self.index.add(number, outcome.executions)

    def _rewrite(self, files: list[int], owners: dict[int, int]) -> None:
        plan = MergePlan(self.sources, self.index, self.taken, owners)
        work = partial(rewrite, plan=plan, settings=self.settings)
        for number, outcome in zip(files, self._on_each(work, files), strict=True):
            self._learn(number, outcome)
            if outcome.part is not None:
                part = self.parts[number] = outcome.part
                of_others = [one for one in self.slowest if -one[1] != number]  # a file may come a second time
                of_it = [(took, -number, -at, case) for took, at, case in part.slowest]
                self.slowest = nlargest(SLOWEST, [*of_others, *of_it], key=lambda one: one[:3])
                part.slowest = []
                part.eventful = [(at, self.budget.within(case)) for at, case in sorted(part.eventful, key=_position)]

    def _on_each(self, work: Callable[[int], FileOutcome], files: list[int]) -> Iterator[FileOutcome]:
        processes = self.processes or worthwhile_processes([self.sources[number] for number in files])
        return on_each(work, files, processes)

    def _learn(self, number: int, outcome: FileOutcome) -> None:
        if outcome.facts is not None:
            self.facts.setdefault(number, outcome.facts)
        if outcome.problem is not None:
            self.problems[number] = outcome.problem
        if outcome.no_tests:
            self.no_tests.add(number)
        if outcome.note:
            self.notes[number] = FileProblem(file=self.sources[number].name, reason=outcome.note)

    def _take_over(self, files: Iterable[int]) -> None:
        known = set(self.index.keys)
        for number in files:
            self.taken |= known.intersection(self.facts[number].keys)

    def _shared_keys(self, files: list[int]) -> set[int]:
        """Keys in more than one file, found a slice of all keys at a time, so that few are held as objects."""
        tables = [self.facts[number].keys for number in files if number in self.facts]
        slices = 1 + sum(map(len, tables)) // _KEYS_AT_ONCE
        bounds = [-(1 << 63) + (1 << 64) * number // slices for number in range(slices)] + [1 << 63]
        shared: set[int] = set()
        for lower, upper in pairwise(bounds):
            seen: set[int] = set()
            for table in tables:
                here = set(table[bisect_left(table, lower) : bisect_left(table, upper)])
                shared |= seen & here
                seen |= here
        return shared

    @property
    def counts(self) -> OutcomeCounts:
        counts = OutcomeCounts()
        for part in self.parts.values():
            counts.plus(part.counts)
        return counts

    @property
    def span(self) -> tuple[float, float]:
        spans = [facts.span for facts in self.facts.values()]
        return min((began for began, _ in spans), default=math.inf), max((e for _, e in spans), default=-math.inf)

    def report(self, found: Found, expected: Expectation, context: RunContext) -> Report:
        counts, span = self.counts, self.span
        failed = counts.failures + counts.errors
        problems, notes = list(found.problems), [*found.notes, *(note for _, note in sorted(self.notes.items()))]
        for number, problem in sorted(self.problems.items()):
            passed_over = number in self.no_tests and not self.sources[number].named
            (notes if passed_over else problems).append(problem)
        duplicates = [duplicate for _, part in sorted(self.parts.items()) for duplicate in part.duplicates]
        came = [(self.sources[number], facts) for number, facts in sorted(self.facts.items())]
        return Report(
            context=context,
            cases=self._cases(),
            totals=Totals(
                tests=counts.tests,
                passed=counts.tests - failed - counts.skipped - counts.flaky,
                failed=failed,
                flaky=counts.flaky,
                skipped=counts.skipped,
                attempts=sum(facts.attempts for facts in self.facts.values()),
            ),
            machines=self._machines(),
            missing=expected.missing(came, problems),
            problems=tuple(problems),
            notes=tuple(notes),
            duplicates=tuple(duplicates[:DUPLICATES_KEPT]),
            duplicate_count=len(duplicates),
            wall_seconds=round(span[1] - span[0], 3) if all(map(math.isfinite, span)) else None,
            summed_seconds=sum(facts.took for facts in self.facts.values()) / 1e6,
        )

    def _cases(self) -> Sequence[Case]:
        parts = [self.parts[number] for number in sorted(self.parts)]
        if self.settings.all_cases:
            return KeptCases([(part.eventful, part.others) for part in parts if part.others is not None])
        numbers = {number: place for place, number in enumerate(sorted(self.parts))}
        chosen = {(numbers[-n], -at): case for _, n, at, case in self.slowest if -n in numbers}
        skipped = 0
        for number, part in enumerate(parts):
            for at, case in part.eventful:
                skipped += case.verdict is Verdict.SKIPPED
                if case.verdict is not Verdict.SKIPPED or skipped <= SKIPPED_KEPT_IN_ALL:
                    chosen[number, at] = case
        return tuple(case for _, case in sorted(chosen.items(), key=lambda one: one[0]))

    def _machines(self) -> tuple[MachineUse, ...]:
        uses: dict[str, MachineUse] = {}
        for number, facts in self.facts.items():
            for name, tally in facts.machines.items():
                use = uses.get(name, MachineUse(name=name))
                uses[name] = replace(
                    use,
                    tests=use.tests + tally.tests,
                    failed=use.failed + tally.failed,
                    retries=use.retries + (tally.tests if self.sources[number].attempt > 1 else 0),
                    busy_seconds=use.busy_seconds + tally.busy / 1e6,
                )
        return tuple(uses[name] for name in sorted(uses))


def _position(one: tuple[int, Case]) -> int:
    return one[0]


def _write(merging: _Merging, output: ByteStream) -> None:
    output.write(b"<?xml version='1.0' encoding='utf-8'?>\n")
    names = {facts.root_name for facts in merging.facts.values()} - {""}
    output.write(_root_start(merging.counts, names.pop() if len(names) == 1 else "", merging.span))
    for _, part in sorted(merging.parts.items()):
        if part.path is not None:
            _append(part.path, output)
            part.path.unlink()
    output.write(b"</testsuites>\n")
    output.flush()


def _append(part: Path, output: ByteStream) -> None:
    """The bytes of a part: by the kernel where the output is a plain file, and nothing stands between it and us."""
    with part.open("rb") as stream:
        if isinstance(output, io.BufferedWriter) and hasattr(os, "copy_file_range"):
            output.flush()
            try:
                while os.copy_file_range(stream.fileno(), output.fileno(), 1 << 30):
                    pass
            except OSError as error:
                if error.errno not in _NOT_BY_THE_KERNEL:
                    raise
        shutil.copyfileobj(stream, output, MIB)


def _root_start(counts: OutcomeCounts, name: str, span: tuple[float, float]) -> bytes:
    root = xml.new("testsuites", **({"name": name} if name else {}))
    for attribute, value in counts.attributes:
        root.set(attribute, value)
    root.text = "\n"
    if all(map(math.isfinite, span)):
        began, ended = (round(moment * 1000) for moment in span)  # milliseconds: the same when read and written again
        properties = xml.new("properties")
        span_of_run = {STARTED: _iso(began), ENDED: _iso(ended), WALL: seconds_text((ended - began) * 1000)}
        properties.extend(xml.new("property", name=name, value=value) for name, value in span_of_run.items())
        properties.tail = "\n"
        root.append(properties)
    return xml.to_bytes(root).removesuffix(b"</testsuites>")


def _iso(milliseconds: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)).isoformat(timespec="milliseconds")
