"""A run's report beside earlier runs of its suite: what is new, since when, and how its tests ended before. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from ci_dispatch.core.model import Test, Verdict
from ci_dispatch.history.of_run import other_ids
from ci_dispatch.history.values import PastRun, PastTest, RecordedRun
from report_merge.baseline import Comparison, compare
from report_merge.model import Attempt, Case, CaseKey, Outcome, Report, RunContext, count
from report_merge.triage.history import LETTERS, RUNS

_OUTCOMES = {
    Verdict.PASSED: (Outcome.PASSED,),
    Verdict.FAILED: (Outcome.FAILED,),
    Verdict.FLAKY: (Outcome.FAILED, Outcome.PASSED),
    Verdict.SKIPPED: (Outcome.SKIPPED,),
    Verdict.NOT_RUN: (),
}


def compared(report: Report, tests: Iterable[Test], earlier: RecordedRun) -> Comparison:
    """`report`, whose cases are `tests`, against an earlier run: of the tests that this run has too.

    Which tests were added or removed is not told, for either run may have been of a selection; nor which are slower,
    for they may have run on other machines.
    """
    tests = list(tests)
    keys = {test.id: test.key for test in tests}
    keys |= {other: keys[test] for other, test in other_ids(tests).items() if other not in keys}
    cases = tuple(
        Case(key=keys[test.id], attempts=tuple(Attempt(outcome=outcome) for outcome in _OUTCOMES[test.verdict]))
        for test in earlier.tests
        if test.id in keys
    )
    context = RunContext(branch=earlier.run.branch, sha=earlier.run.sha)
    baseline = Report(context=context, cases=cases, totals=count(cases), wall_seconds=earlier.run.seconds or None)
    return replace(compare(report, baseline), label=name_of(earlier.run), added=(), removed=(), partial=True)


def name_of(run: PastRun) -> str:
    """How to call a run: `main 1a2b3c4`, or by its id where it is of no branch."""
    return " ".join(filter(None, (run.branch, run.sha[:7]))) if run.branch else f"run {run.id}"


def with_past(report: Report, past: Mapping[CaseKey, Sequence[tuple[PastRun, PastTest]]], branch: str) -> Report:
    """The tests of `past` get how they ended in those runs, oldest first, and the failed ones since when they fail.

    That is told by the runs of `branch`, or of all branches where none of it had the test.
    """

    def remembered(case: Case) -> Case:
        runs = past.get(case.key, ())
        if not (letters := outcomes(runs)):
            return case
        own = [one for one in runs if one[0].branch == branch and one[1].verdict is not Verdict.NOT_RUN]
        since = _since(own or runs) if case.verdict is Verdict.FAILED else ""
        return replace(case, history=letters, since=since)

    return report.with_eventful(remembered) if past else report


def last(runs: Sequence[PastRun], branch: str) -> PastRun | None:
    """The newest of `runs`, which are oldest first, that came to a verdict on `branch`."""
    return next((run for run in reversed(runs) if run.branch == branch and run.decided), None)


def outcomes(runs: Sequence[tuple[PastRun, PastTest]]) -> str:
    """How a test ended in runs, as `Case.history` has it; empty when none had it."""
    letters = "".join(LETTERS.get(test.verdict, "?") for _, test in runs[-RUNS:])
    return letters if letters.strip("?") else ""


def since_green(runs: Sequence[PastRun], branch: str, *, passed: bool) -> int | None:
    """How many runs of `branch` ago the last one passed, 0 when this one (`passed`) did; None when none of `runs` has.

    `runs` are those before it, oldest first; what came to no verdict does not count.
    """
    if passed:
        return 0
    decided = [run for run in reversed(runs) if run.branch == branch and run.decided]
    return next((ago for ago, run in enumerate(decided, 1) if run.verdict == "PASSED"), None)


def _since(runs: Sequence[tuple[PastRun, PastTest]]) -> str:
    """The first of the runs in a row, up to now, in which it failed; those that did not execute it say nothing."""
    first: PastRun | None = None
    for run, test in reversed(runs):
        if test.verdict is Verdict.FAILED:
            first = run
        elif test.verdict in (Verdict.PASSED, Verdict.FLAKY):
            break
    return f"{datetime.fromtimestamp(first.at, UTC):%Y-%m-%d}, {name_of(first)}" if first else "this run"
