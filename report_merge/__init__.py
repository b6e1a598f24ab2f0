"""Reads the JUnit files of any number of shards and attempts and gives one truthful report; stands alone."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from report_merge.model import Attempt, Case, CaseKey, FileProblem, Missing, Outcome, Report, Totals, Verdict, count

if TYPE_CHECKING:
    from report_merge.junit.document import JUnitReading, read, write
    from report_merge.merge.pipeline import merge_files

__all__ = [
    "Attempt", "Case", "CaseKey", "FileProblem", "JUnitReading", "Missing", "Outcome", "Report", "Totals",
    "Verdict", "count", "merge_files", "read", "write",
]  # fmt: skip


_LOADED_WHEN_ASKED_FOR = {  # lxml only for those who read or write: the model and the failure rules are for everybody
    "JUnitReading": "report_merge.junit.document",
    "merge_files": "report_merge.merge.pipeline",
    "read": "report_merge.junit.document",
    "write": "report_merge.junit.document",
}


def __getattr__(name: str) -> Any:
    if name in _LOADED_WHEN_ASKED_FOR:
        return getattr(import_module(_LOADED_WHEN_ASKED_FOR[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
