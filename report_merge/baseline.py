"""Sets a report against an earlier one: what is new, what was so before, what has gone.

Only tests are compared, by their identity; an earlier report is never merged into this one and changes no verdict.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from report_merge.model import Case, CaseKey, Report, Totals, Verdict

SLOWER_FACTOR = 1.5  # and
SLOWER_SECONDS = 1.0  # both: a test of 3 ms that took 6 ms says nothing


@dataclass(frozen=True, slots=True)
class Slower:
    """A test that passed then and now and takes clearly longer."""

    case: Case
    before: float  # seconds

    @property
    def factor(self) -> float:
        return self.case.seconds / self.before


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What changed since the baseline; every tuple keeps the order of the report it is about."""

    label: str  # how to call the baseline: "main 9f8e7d6"
    new_failures: tuple[Case, ...] = ()  # fail now, and passed, were flaky, skipped or not there before
    still_failing: tuple[Case, ...] = ()  # also fail on the baseline: not from this change
    fixed: tuple[Case, ...] = ()
    newly_flaky: tuple[Case, ...] = ()
    added: tuple[Case, ...] = ()
    removed: tuple[CaseKey, ...] = ()
    slower: tuple[Slower, ...] = ()  # the worst first
    totals: Totals = field(default_factory=Totals)  # the baseline's
    wall_seconds: float | None = None  # the baseline's
    partial: bool = False  # one of the reports leaves out uneventful tests: added and removed are then not known

    def new_keys(self) -> frozenset[CaseKey]:
        """The tests that fail now and did not before."""
        return frozenset(case.key for case in self.new_failures)


def compare(report: Report, baseline: Report) -> Comparison:
    """`report` against `baseline`. A test that did not run in one of them is neither fixed nor broken by that."""
    before = {case.key: case for case in baseline.cases}
    now = {case.key for case in report.cases}
    partial = len(before) != baseline.totals.tests or len(now) != report.totals.tests

    def was(case: Case) -> Verdict | None:
        return before[case.key].verdict if case.key in before else None

    failing = [case for case in report.cases if case.verdict is Verdict.FAILED]
    return Comparison(
        label=_label(baseline),
        new_failures=tuple(case for case in failing if was(case) is not Verdict.FAILED),
        still_failing=tuple(case for case in failing if was(case) is Verdict.FAILED),
        fixed=tuple(c for c in report.cases if c.verdict is Verdict.PASSED and was(c) is Verdict.FAILED),
        newly_flaky=tuple(c for c in report.cases if c.verdict is Verdict.FLAKY and was(c) is not Verdict.FLAKY),
        added=() if partial else tuple(case for case in report.cases if case.key not in before),
        removed=() if partial else tuple(key for key in before if key not in now),
        slower=_slower(report, before),
        totals=baseline.totals,
        wall_seconds=baseline.wall_seconds,
        partial=partial,
    )


def _slower(report: Report, before: dict[CaseKey, Case]) -> tuple[Slower, ...]:
    found = [
        Slower(case, earlier.seconds)
        for case in report.cases
        if case.verdict is Verdict.PASSED
        and (earlier := before.get(case.key)) is not None
        and earlier.verdict is Verdict.PASSED
        and earlier.seconds > 0
        and case.seconds > SLOWER_FACTOR * earlier.seconds
        and case.seconds - earlier.seconds > SLOWER_SECONDS
    ]
    return tuple(sorted(found, key=lambda slower: slower.before - slower.case.seconds))


def _label(baseline: Report) -> str:
    context = baseline.context
    return " ".join(filter(None, (context.branch, context.sha[:7]))) or "the baseline"
