"""Any number of report files -> one merged file and one Report, in two passes and bounded memory."""

from __future__ import annotations

import io
import math
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

from report_merge.expectation import Expectation
from report_merge.fragments import Fragments
from report_merge.indexing import Indexed, Settings, index_all
from report_merge.joining import Joined, join
from report_merge.limits import Limits
from report_merge.model import Case, MachineUse, Report, RunContext, Totals
from report_merge.numbering import merged_cases
from report_merge.selection import Selection
from report_merge.sources import Found, find
from report_merge.splicing import write_end, write_file, write_start


def merge(
    found: Found,
    folder: Path,
    output: IO[bytes],
    *,
    expected: Expectation | None = None,
    context: RunContext | None = None,
    all_cases: bool = False,
    processes: int | None = None,
    limits: Limits | None = None,
) -> Report:
    """Writes the merged JUnit XML and returns its report. `folder` holds rewritten copies for as long as this runs.

    The report's cases are those that failed, were flaky or skipped, and the slowest; with `all_cases` every test, the
    uneventful ones without texts. Its totals always count every test.
    """
    limits = limits or Limits()
    expected = expected or Expectation()
    settings = Settings(folder, limits, expected.test_names)
    files, problems = index_all(found.sources, settings, processes)
    summed = sum(sum(file.index.suites.took) for file in files)
    span = min((f.index.began for f in files), default=math.inf), max((f.index.ended for f in files), default=-math.inf)
    joined = join(files)
    with Fragments(files) as fragments:
        selection = Selection(fragments, joined, limits, all_cases=all_cases)
        cases: list[Case] = []
        write_start(joined.totals, _common_name(files), span, output)
        for file in range(len(files)):
            tests = merged_cases(fragments, joined, file)
            cases += selection.of(file, tests)
            write_file(fragments, joined, file, tests, output)
        write_end(output)
    problems = [*found.problems, *problems]
    return Report(
        context=context or RunContext(),
        cases=tuple(cases),
        totals=_totals(files, joined),
        machines=_machines(files),
        missing=expected.missing(files, problems),
        problems=tuple(problems),
        wall_seconds=round(span[1] - span[0], 3) if all(map(math.isfinite, span)) else None,
        summed_seconds=summed / 1e6,
    )


def merge_files(paths: Sequence[str | Path], output: IO[bytes] | None = None) -> Report:
    """`merge` with the defaults, for programs: files, folders, patterns, archives."""
    with tempfile.TemporaryDirectory(prefix="report-merge-") as folder:
        found = find([str(path) for path in paths], unpack_into=Path(folder))
        return merge(found, Path(folder), output or io.BytesIO())


def _common_name(files: Sequence[Indexed]) -> str:
    names = {file.index.root_name for file in files} - {""}
    return names.pop() if len(names) == 1 else ""


def _totals(files: Sequence[Indexed], joined: Joined) -> Totals:
    counts = joined.totals
    failed = counts.failures + counts.errors
    return Totals(
        tests=counts.tests,
        passed=counts.tests - failed - counts.skipped - counts.flaky,
        failed=failed,
        flaky=counts.flaky,
        skipped=counts.skipped,
        attempts=sum(file.index.attempts for file in files),
    )


def _machines(files: Sequence[Indexed]) -> tuple[MachineUse, ...]:
    uses: dict[str, MachineUse] = {}
    for file in files:
        for name, tally in file.index.machines.items():
            use = uses.get(name, MachineUse(name=name))
            uses[name] = replace(
                use,
                tests=use.tests + tally.tests,
                failed=use.failed + tally.failed,
                retries=use.retries + (tally.tests if file.source.attempt > 1 else 0),
                busy_seconds=use.busy_seconds + tally.busy / 1e6,
            )
    return tuple(uses[name] for name in sorted(uses))
