"""How each test ended in earlier runs, from the files that `--json` wrote then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from report_merge.model import Case, CaseKey, Report, Verdict

RUNS = 30  # the latest of them
LETTERS = {Verdict.PASSED: ".", Verdict.FAILED: "F", Verdict.FLAKY: "~", Verdict.SKIPPED: "-"}


def with_history(report: Report, earlier: Sequence[Report]) -> Report:
    """The failed and flaky tests get `history`: a letter for each of `earlier`, oldest first, `?` where it was not."""
    wanted = {case.key for case in report.eventful if case.verdict in (Verdict.FAILED, Verdict.FLAKY)}
    runs: list[dict[CaseKey, str]] = [
        {case.key: LETTERS.get(case.verdict, "?") for case in run.cases if case.key in wanted}
        for run in earlier[-RUNS:]
    ]

    def remembered(case: Case) -> Case:
        if case.key not in wanted:
            return case
        history = "".join(run.get(case.key, "?") for run in runs)
        return replace(case, history=history) if history.strip("?") else case

    return report.with_eventful(remembered) if runs else report


def flaky_among(history: str) -> tuple[int, int]:
    """In how many of the runs of a `Case.history` the test was flaky, and in how many it was executed."""
    return history.count("~"), sum(history.count(letter) for letter in ".F~")


def order(run: Report) -> tuple[str, int, int]:
    """What runs are put in order by: when they began, else the number of the run and its attempt."""
    context = run.context
    number = int(context.run_id) if context.run_id.isdecimal() else 0
    return context.started, number, context.attempt
