"""Any number of report files -> one merged file and one Report, in two passes and bounded memory."""

from __future__ import annotations

import io
import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, Any

from report_merge.beside import beside
from report_merge.files.discover import Found, find
from report_merge.fragments import Fragments
from report_merge.indexing import Indexed, IndexSettings, index_all, worthwhile_processes
from report_merge.joining import Joined, join
from report_merge.limits import ReadLimits
from report_merge.merge.expected import Expectation
from report_merge.model import Case, MachineUse, Report, RunContext, Totals
from report_merge.numbering import merged_cases
from report_merge.selection import Selection
from report_merge.splicing import write_end, write_file, write_start


@contextmanager
def merging(
    found: Found,
    folder: Path,
    output: IO[bytes],
    *,
    expected: Expectation | None = None,
    context: RunContext | None = None,
    all_cases: bool = False,
    processes: int | None = None,
    limits: ReadLimits | None = None,
) -> Iterator[Report]:
    """The report, while the merged JUnit XML is still being written; it is complete when the block has ended.

    The report's cases are those that failed, were flaky or skipped, and the slowest; with `all_cases` every test, the
    uneventful ones without texts. Its totals always count every test. `folder` is for rewritten copies and must outlive
    the block. `processes`: how many may work at once; None chooses.
    """
    limits = limits or ReadLimits()
    expected = expected or Expectation()
    processes = worthwhile_processes(found.sources) if processes is None else processes
    files, problems = index_all(found.sources, IndexSettings(folder, limits, expected.test_names), processes)
    problems = [*found.problems, *problems]
    summed = sum(sum(file.index.suites.took) for file in files)
    span = min((f.index.began for f in files), default=math.inf), max((f.index.ended for f in files), default=-math.inf)
    joined = join(files)
    with beside(partial(_write, files, joined, span, output), fork=processes > 1):
        yield Report(
            context=context or RunContext(),
            cases=_cases(files, joined, limits, all_cases=all_cases),
            totals=_totals(files, joined),
            machines=_machines(files),
            missing=expected.missing(files, problems),
            problems=tuple(problems),
            wall_seconds=round(span[1] - span[0], 3) if all(map(math.isfinite, span)) else None,
            summed_seconds=summed / 1e6,
        )


def merge_files(paths: Sequence[str | Path], output: IO[bytes] | None = None, **options: Any) -> Report:
    """`merging` for programs: the paths are files, folders, patterns or archives; the output is complete on return."""
    with tempfile.TemporaryDirectory(prefix="report-merge-") as folder:
        found = find([str(path) for path in paths], unpack_into=Path(folder))
        target = io.BytesIO() if output is None else output
        if isinstance(target, io.BytesIO):
            options["processes"] = 1  # another process could not fill it
        with merging(found, Path(folder), target, **options) as report:
            return report


def _write(files: Sequence[Indexed], joined: Joined, span: tuple[float, float], output: IO[bytes]) -> None:
    with Fragments(files) as fragments:
        write_start(joined.totals, _common_name(files), span, output)
        for file in range(len(files)):
            write_file(fragments, joined, file, merged_cases(fragments, joined, file), output)
        write_end(output)
    output.flush()


def _cases(files: Sequence[Indexed], joined: Joined, limits: ReadLimits, *, all_cases: bool) -> tuple[Case, ...]:
    with Fragments(files) as fragments:
        selection = Selection(fragments, joined, limits, all_cases=all_cases)
        return tuple(
            case for file in range(len(files)) for case in selection.of(file, merged_cases(fragments, joined, file))
        )


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
