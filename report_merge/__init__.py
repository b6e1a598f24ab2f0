"""Reads the JUnit files of any number of shards and attempts and gives one truthful report; stands alone."""

from report_merge.junit import Reading, read, write
from report_merge.model import Attempt, Case, CaseKey, Missing, Outcome, Problem, Report, Totals, Verdict, count

__all__ = [
    "Attempt",
    "Case",
    "CaseKey",
    "Missing",
    "Outcome",
    "Problem",
    "Reading",
    "Report",
    "Totals",
    "Verdict",
    "count",
    "read",
    "write",
]
