"""What of a run's plan the reports of its shards tell, and what is missing. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from ci_dispatch.core.model import Test, TestId, TestResult, Verdict
from ci_dispatch.fleets.actions.run.batches import DispatchPlan, run_and_dispatch
from ci_dispatch.fleets.actions.shard_report import ShardReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Green only when `complete` and nothing `failed`."""

    missing: tuple[Test, ...]  # planned, and no report has a result of it
    unplanned: int  # tests that the run has beside, in dispatches of which nothing is here
    commits: tuple[str, ...]  # that were tested
    failed: bool  # the last result of a test is a failure

    @property
    def problems(self) -> list[str]:
        """Why the run is incomplete, in words."""
        told = []
        if self.missing:
            told.append(f"{len(self.missing)} planned tests have no result")
        if self.unplanned:
            told.append(f"{self.unplanned} tests were sent with other dispatches, of which there is no report")
        if len(self.commits) > 1:
            told.append(f"the reports are of several commits: {', '.join(name[:12] or '?' for name in self.commits)}")
        return told


def coverage(reports: Collection[ShardReport], plans: Iterable[DispatchPlan]) -> Coverage:
    """What `reports` tell of `plans`, all of one run."""
    planned: dict[TestId, Test] = {}
    total = 0
    for plan in plans:
        total = max(total, plan.total)
        planned |= {test.id: test for tests in plan.tests.values() for test in tests}
    last: dict[TestId, TestResult] = {}
    for report in sorted(reports, key=_moment):
        unlisted = (other.result for other in report.result.unlisted)
        last |= {r.test: r for r in (*report.result.results, *unlisted) if r.verdict is not Verdict.NOT_RUN}
    return Coverage(
        missing=tuple(test for test in planned.values() if test.id not in last),
        unplanned=max(0, total - len(planned)),
        commits=tuple(sorted({report.commit for report in reports})),
        failed=any(result.verdict is Verdict.FAILED for result in last.values()),
    )


def attempt_numbers(reports: Collection[ShardReport]) -> list[int]:
    """For each report the number of its attempt in the whole run, from 1: a later dispatch repeats an earlier one."""
    order = {moment: number for number, moment in enumerate(sorted({_moment(report) for report in reports}), 1)}
    return [order[_moment(report)] for report in reports]


def _moment(report: ShardReport) -> tuple[int, int]:
    return run_and_dispatch(report.dispatch)[1], report.attempt
