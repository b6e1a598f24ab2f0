"""Reads the JUnit files of any number of shards and attempts and gives one truthful report; stands alone."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from report_merge.model import Attempt, Case, CaseKey, FileProblem, Missing, Outcome, Report, Totals, Verdict, count

if TYPE_CHECKING:
    from report_merge.junit.document import JUnitReading, read, write

__all__ = [
    "Attempt", "Case", "CaseKey", "FileProblem", "JUnitReading", "Missing", "Outcome", "Report", "Totals",
    "Verdict", "count", "read", "write",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import lxml only for those who read or write: the model and the failure rules are for everybody."""
    if name in ("JUnitReading", "read", "write"):
        return getattr(import_module("report_merge.junit.document"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
