"""Writes what pytest reports as live events: which tests there are, and how each ends. Needs pytest >= 7 only.

One JSON line at a time, appended to the file CI_DISPATCH_LIVE, so that what is written survives whatever happens to
this process. docs/suites.md has the format.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Collection
from typing import Any

import pytest
from pytest_marks import marks_of, tags_of

MESSAGE = 10_000  # characters
DETAIL = 60_000
SETUP = ("ModuleNotFoundError", "No module named", "cannot open shared object file")
BY_SCOPE = ("loadfile", "loadscope")  # xdist modes in which a file or a class stays in one process
ENDS = ("passed", "failed", "skipped")  # any other outcome is a plugin's word for a failure that is tried again


LIVE = os.environ["CI_DISPATCH_LIVE"]  # a test may clear the environment
PROCESS = os.getpid()


def write_event(kind: str, **fields: object) -> None:
    """Append one line in one call: lines of two processes never mix. What a test forks off has no say."""
    if os.getpid() != PROCESS:
        return
    line = json.dumps({"kind": kind, **fields}).encode() + b"\n"
    live = os.open(LIVE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(live, line)
    finally:
        os.close(live)


def plain_id(node_id: str, known: Collection[str]) -> str:
    """The node id without the `@group` that xdist's loadgroup appends to it."""
    head = node_id.rpartition("@")[0]
    return head if node_id not in known and head in known else node_id


class LiveEventWriter:
    """Writes pytest's reports as live events."""

    def __init__(self, config: Any, known: Collection[str]) -> None:
        self.config = config
        self.known = known
        self.reports: dict[str, list[Any]] = {}  # of tests that have not ended
        self.planned = False

    def plan(self, tests: list[dict[str, object]]) -> None:
        if not self.planned:
            write_event(
                "plan",
                version=pytest.__version__,
                tests=tests,
                workers=0 if self.config.pluginmanager.hasplugin("xdist") else 1,
                flaky_is_failure=bool(getattr(self.config.option, "fail_on_flaky", None)),  # of pytest-rerunfailures
            )
        self.planned = True

    def pytest_collection_finish(self, session: Any) -> None:
        self.plan([self.describe(item) for item in session.items])

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        self.plan([{"id": plain_id(node_id, self.known)} for node_id in ids])

    def describe(self, item: Any) -> dict[str, object]:
        file, _, rest = item.nodeid.partition("::")
        dist = self.config.getoption("dist", "no")
        marker = item.get_closest_marker("xdist_group")
        group = (
            str(marker.args[0] if marker and marker.args else marker.kwargs.get("name", "default")) if marker else ""
        )
        unit = {"loadfile": file, "loadscope": item.nodeid.rpartition("::")[0]}.get(dist, "")
        group = "" if dist in BY_SCOPE else group
        line = item.location[1]
        try:
            marks = marks_of(item)
        except ValueError as error:
            marks = []
            write_event("problem", cause="usage error", message=f"the mark ci_dispatch of {item.nodeid}: {error}")
        return {
            "id": item.nodeid,
            "file": from_here(item.path),
            "title": titles(rest),
            "line": None if line is None else line + 1,
            "unit": unit or (f"group {group}" if group else ""),
            "group": f"group {group}" if group else "",
            "tags": tags_of(item),
            "marks": marks,
        }

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            text = str(report.longrepr)
            cause = "setup" if any(phrase in text for phrase in SETUP) else "load error"
            message = f"{report.nodeid} cannot be loaded: {last_line(text)}"[:MESSAGE]
            file = from_here(self.config.rootpath / report.nodeid.partition("::")[0])
            write_event("problem", cause=cause, message=message, detail=text[:DETAIL], file=file)

    def pytest_internalerror(self, excrepr: Any) -> None:
        text = str(excrepr)
        write_event(
            "problem",
            cause="crash",
            message=f"pytest itself failed: {last_line(text)}"[:MESSAGE],
            detail=text[:DETAIL],
        )

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        write_event("begin", id=plain_id(nodeid, self.known))

    def pytest_runtest_logreport(self, report: Any) -> None:
        # A copy: pytest-retry reports one object twice, with another outcome.
        self.reports.setdefault(report.nodeid, []).append(copy.copy(report))
        if report.when == "???":  # xdist's own: the worker ended during the test, no further report will come
            self.pytest_runtest_logfinish(report.nodeid)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """The end of one try, and of the test unless a plugin is going to try it again."""
        if has_ended(self.reports.get(nodeid, [])):
            self.end(nodeid)

    def end(self, nodeid: str) -> None:
        write_event("end", id=plain_id(nodeid, self.known), **result_of(self.reports.pop(nodeid)))

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        for nodeid, reports in list(self.reports.items()):
            tried = last_try(reports)
            interrupted = any(report.failed for report in tried)
            never_called = tried is reports and any(report.when == "teardown" for report in tried)
            if interrupted or never_called:
                self.end(nodeid)
        write_event("done", status=int(exitstatus))


def from_here(path: str | os.PathLike[str]) -> str:
    return os.path.relpath(path).replace(os.sep, "/")


def titles(rest: str) -> list[str]:
    """Classes and function; a parameter's id may itself hold `::`."""
    head, bracket, parameters = rest.partition("[")
    *classes, function = head.split("::")
    return [*classes, function + bracket + parameters]


def last_try(reports: list[Any]) -> list[Any]:
    """The reports after the last failure that a plugin tries again (pytest-rerunfailures, pytest-retry)."""
    again = [index for index, report in enumerate(reports) if report.outcome not in ENDS]
    return reports[again[-1] + 1 :] if again else reports


def has_ended(reports: list[Any]) -> bool:
    """Whether these reports of one test are all: it was called, or failed or was skipped before.

    `logfinish` alone ends nothing: pytest-rerunfailures and flaky send it after each try, and flaky does not report a
    call that it is going to repeat.
    """
    return any(report.failed or report.skipped or called(report) for report in last_try(reports))


def called(report: Any) -> bool:
    return report.when == "call" and not hasattr(report, "context")  # the call itself, not one of its subtests


def result_of(reports: list[Any]) -> dict[str, object]:
    """One test's result from the reports of all its tries; reports of subtests count when they failed."""
    tried = last_try(reports)
    retried = [report for report in reports if report.outcome not in ENDS]
    failed = [report for report in tried if report.failed]
    skipped = [report for report in tried if report.skipped and not hasattr(report, "context")]
    retries = len(retried) or unreported_tries(reports)
    reason = ""
    if failed:
        verdict = "failed"
    elif skipped and retries:
        verdict, reason = "failed", "it failed, then was skipped when tried again"
    elif skipped:
        verdict, reason = "skipped", skip_reason(skipped[0])
    elif not any(called(report) for report in tried):
        verdict, reason = "not run", "pytest set it up and did not call it"
    else:
        verdict = "flaky" if retries else "passed"
    shown = (failed or retried or [None])[0] if verdict in ("failed", "flaky") else None
    return {
        "verdict": verdict,
        "seconds": sum(report.duration for report in reports),
        "retries": retries,
        "reason": reason,
        "message": message_of(shown)[:MESSAGE] if shown else reason if verdict == "failed" else "",
        "detail": detail_of(shown)[:DETAIL] if shown else "",
    }


def unreported_tries(reports: list[Any]) -> int:
    """How often it was torn down before it was set up for the last time: a plugin repeated it without a word."""
    setups = [index for index, report in enumerate(reports) if report.when == "setup"]
    return sum(report.when == "teardown" for report in reports[: setups[-1]]) if setups else 0


def skip_reason(report: Any) -> str:
    if hasattr(report, "wasxfail"):
        return f"expected to fail: {report.wasxfail}"
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
    return str(reason).removeprefix("Skipped: ")[:MESSAGE]


def message_of(report: Any) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    where = "" if report.when in ("call", "???") else f"in {report.when}: "
    return where + (crash.message if crash else last_line(report.longreprtext))


def detail_of(report: Any) -> str:
    captured = [f"--- {title}\n{content}" for title, content in report.sections if content]
    return "\n".join([report.longreprtext, *captured])


def last_line(text: str) -> str:
    """Without the `E` that pytest writes before an error."""
    line = next((line for line in reversed(text.splitlines()) if line.strip()), "")
    return line[1:].strip() if line.startswith("E  ") else line
