"""The file and the line to look at for each test that failed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from report_merge.failures.frames import StackFrame, frames
from report_merge.model import Attempt, Case, Report, Verdict


def located(report: Report, find: Callable[[str], str]) -> Report:
    """The failed and flaky tests get `source` and `line`; `find` turns a report's name for a file into the repository's
    or an empty one.

    The line of the test's own file that the stack trace names comes first, then the line the report gives for the test,
    then the deepest line of the project's own code.
    """

    def place(case: Case) -> Case:
        return _located(case, find) if case.verdict in (Verdict.FAILED, Verdict.FLAKY) else case

    return report.with_eventful(place)


def _located(case: Case, find: Callable[[str], str]) -> Case:
    attempt = next((one for one in reversed(case.attempts) if one.outcome.bad), None)
    traced = _traced(attempt) if attempt else []
    own_files = _own_files(case)
    own = next((frame for frame in traced if _same_file(frame.file, own_files)), None)
    if own is not None and (source := find(own.file) or find(own_files[0])):
        return replace(case, source=source, line=own.line)
    own_source = next(filter(None, map(find, own_files)), "")
    if own_source and case.line:
        return replace(case, source=own_source)
    for frame in traced:
        if source := find(frame.file):
            return replace(case, source=source, line=frame.line)
    return replace(case, source=own_source) if own_source else case


def _traced(attempt: Attempt) -> list[StackFrame]:
    return frames(f"{attempt.message}\n{attempt.text}")


def _own_files(case: Case) -> list[str]:
    """What the file of the test may be called: as reported, or as its class name says it."""
    if case.key.file:
        return [case.key.file]
    dotted = case.key.classname.split(".")
    if not all(part.isidentifier() for part in dotted):
        return [case.key.classname] if "/" in case.key.classname else []
    modules = ["/".join(dotted[:end]) for end in range(len(dotted), max(0, len(dotted) - 3), -1)]
    return [f"{module}{ending}" for module in modules for ending in (".py", ".java", ".kt")]


def _same_file(file: str, own_files: list[str]) -> bool:
    return any(f"/{file}".endswith(f"/{own}") or f"/{own}".endswith(f"/{file}") for own in own_files)
