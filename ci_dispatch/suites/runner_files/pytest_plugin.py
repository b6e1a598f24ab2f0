"""The pytest plugin that a suite runs with on its machine. Needs the standard library and pytest >= 7 only.

It keeps exactly the tests named in CI_DISPATCH_TESTS (a JSON object of node ids, each with its unit or an empty string;
without it: all), and reports which tests there are and how each ends: one JSON line at a time, appended to the file
CI_DISPATCH_LIVE, so that what is written survives whatever happens to this process. docs/suites.md has the format.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

MESSAGE = 10_000  # characters
DETAIL = 60_000
SETUP = ("ModuleNotFoundError", "No module named", "cannot open shared object file")
BY_SCOPE = ("loadfile", "loadscope")  # xdist modes in which a file or a class stays in one process


def write_event(kind: str, **fields: object) -> None:
    """Append one line in one call: lines of two processes never mix."""
    line = json.dumps({"kind": kind, **fields}).encode() + b"\n"
    live = os.open(os.environ["CI_DISPATCH_LIVE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(live, line)
    finally:
        os.close(live)


def pytest_configure(config: Any) -> None:
    wanted = os.environ.get("CI_DISPATCH_TESTS")
    units = json.loads(Path(wanted).read_text(encoding="utf-8")) if wanted else None
    if units is not None:
        config.pluginmanager.register(SelectedUnits(units, config.rootpath))
    if not hasattr(config, "workerinput"):  # xdist reports its workers' tests in its controller
        config.pluginmanager.register(LiveEventWriter(config, units or {}))


def plain_id(node_id: str, known: Collection[str]) -> str:
    """The node id without the `@group` that xdist's loadgroup appends to it."""
    head = node_id.rpartition("@")[0]
    return head if node_id not in known and head in known else node_id


class SelectedUnits:
    """Keeps the wanted tests: exactly those, whatever their names are made of, each with its unit's other tests."""

    def __init__(self, units: dict[str, str], root: Path) -> None:
        self.units = units
        self.files = {root / node_id.partition("::")[0] for node_id in units}

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        """Files without a wanted test are not even imported."""
        spared = collection_path.name in ("__init__.py", "conftest.py") or collection_path.is_dir()
        return None if spared or collection_path in self.files else True

    def pytest_collection_modifyitems(self, config: Any, items: list[Any]) -> None:
        rest = [item for item in items if plain_id(item.nodeid, self.units) not in self.units]
        if rest:
            items[:] = [item for item in items if plain_id(item.nodeid, self.units) in self.units]
            config.hook.pytest_deselected(items=rest)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: Any, log: Any) -> Any:
        """Tests of one unit stay in one worker and in order; xdist 3.8 forgets its own groups under pytest 9.2."""
        if not any(self.units.values()):
            return None
        # xdist may be absent and has no types; overriding this one method is how its schedulers are extended.
        from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]  # noqa: PLC0415

        scheduler = LoadScopeScheduling(config, log)
        scheduler._split_scope = lambda node_id: self.units.get(plain_id(node_id, self.units)) or node_id  # noqa: SLF001
        return scheduler


class LiveEventWriter:
    """Writes pytest's reports as live events."""

    def __init__(self, config: Any, known: Collection[str]) -> None:
        self.config = config
        self.known = known
        self.reports: dict[str, list[Any]] = {}
        self.planned = False

    def plan(self, tests: list[dict[str, object]]) -> None:
        if not self.planned:
            write_event("plan", version=pytest.__version__, tests=tests)
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
        return {
            "id": item.nodeid,
            "file": os.path.relpath(item.path).replace(os.sep, "/"),
            "title": titles(rest),
            "line": None if line is None else line + 1,
            "unit": unit or (f"group {group}" if group else ""),
            "group": f"group {group}" if group else "",
        }

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            text = str(report.longrepr)
            cause = "setup" if any(phrase in text for phrase in SETUP) else "load error"
            message = f"{report.nodeid} cannot be loaded: {last_line(text)}"[:MESSAGE]
            write_event("problem", cause=cause, message=message, detail=text[:DETAIL])

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
        self.reports.setdefault(report.nodeid, []).append(report)
        if report.when == "???":  # xdist's own: the worker ended during the test, no further report will come
            self.pytest_runtest_logfinish(report.nodeid)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        reports = self.reports.pop(nodeid, [])
        if reports:
            write_event("end", id=plain_id(nodeid, self.known), **result_of(reports))

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        for nodeid in list(self.reports):  # interrupted in the middle of a test
            if any(report.failed for report in self.reports[nodeid]):
                self.pytest_runtest_logfinish(nodeid)
        write_event("done", status=int(exitstatus))


def titles(rest: str) -> list[str]:
    """Classes and function; a parameter's id may itself hold `::`."""
    head, bracket, parameters = rest.partition("[")
    *classes, function = head.split("::")
    return [*classes, function + bracket + parameters]


def result_of(reports: list[Any]) -> dict[str, object]:
    """One test's result from the reports of its phases; reports of subtests count when they failed."""
    failed = [report for report in reports if report.failed]
    reruns = [report for report in reports if report.outcome == "rerun"]
    skipped = [report for report in reports if report.skipped and not hasattr(report, "context")]
    shown = (failed or reruns or [None])[0]
    verdict = "failed" if failed else "skipped" if skipped else "flaky" if reruns else "passed"
    return {
        "verdict": verdict,
        "seconds": sum(report.duration for report in reports),
        "retries": len(reruns),
        "reason": skip_reason(skipped[0]) if verdict == "skipped" else "",
        "message": message_of(shown)[:MESSAGE] if shown else "",
        "detail": detail_of(shown)[:DETAIL] if shown else "",
    }


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
    return next((line for line in reversed(text.splitlines()) if line.strip()), "")
