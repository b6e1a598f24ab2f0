"""Reporters show or store a run: terminal, Slack, dashboard, metrics, OpenTelemetry, and those of other packages.

A package adds a reporter by an entry point of the group `ci_dispatch.reporters`. Its name is the reporter's, its object
a factory: it is called once for each run with a `ReporterContext`, and returns a `Reporter` (a `BaseReporter` is the
short way to one), or None when this run does not want it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import TextIO, TypeAlias

from ci_dispatch.config import Config
from ci_dispatch.core.codec import Value
from ci_dispatch.core.model import TestId
from ci_dispatch.run.ports import BaseReporter, Reporter
from ci_dispatch.run.run_folder import RunFolder
from ci_dispatch.run.run_report import ReportCache

__all__ = ["BUILT_IN", "GROUP", "BaseReporter", "EarlierRun", "Reporter", "ReporterContext", "ReporterFactory"]

GROUP = "ci_dispatch.reporters"
BUILT_IN = {
    "slack": "ci_dispatch.reporters.slack:open_reporter",
    "otel": "ci_dispatch.reporters.metrics:open_span_reporter",
    "metrics": "ci_dispatch.reporters.metrics:open_reporter",
    "dashboard": "ci_dispatch.reporters.dashboard:open_reporter",
    "terminal": "ci_dispatch.reporters.terminal:open_reporter",
}
"""Our own entry points, as in pyproject.toml: a checkout that is not installed (the GitHub Action) has no others."""


class EarlierRun(Value):
    """The last run of the same suite on the same branch that came to a verdict."""

    passed: bool
    at: float  # when it ended, seconds since the epoch
    fingerprints: tuple[str, ...] = ()  # of the causes of its failures


@dataclass(frozen=True, slots=True, kw_only=True)
class ReporterContext:
    """What a factory gets to know about a run before its first event."""

    config: Config
    folder: RunFolder  # of this run; a reporter may put files of its own into `folder.path`
    reports: ReportCache  # `reports.context`: repository, branch, commit; `reports.of(state)`: the report so far
    environ: Mapping[str, str]  # secrets come from here, never from `config`
    warn: Callable[[str, str], None]  # the reporter's name and a text: a warning of the run, from any thread, at once
    memory: Callable[[str], MutableMapping[str, bytes]] = lambda _name: {}  # what the reporter of this name put there
    before: Callable[[], EarlierRun | None] = lambda: None  # None: nothing is known of one
    earlier: Callable[[TestId], str] = lambda _test: ""  # how a test ended in runs before: report_merge's Case.history
    follow: str = ""  # the machine or test whose output a person wants to see
    stdout: TextIO = field(default_factory=lambda: sys.stdout)  # the terminal reporter's alone
    stderr: TextIO = field(default_factory=lambda: sys.stderr)


ReporterFactory: TypeAlias = Callable[[ReporterContext], Reporter | None]
