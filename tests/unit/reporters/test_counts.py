"""How far a run is: what did not run is not done, and a failure stays one until a later try says something else."""

from __future__ import annotations

from ci_dispatch.core.events import AttemptStarted, RetryScheduled, TestFinished
from ci_dispatch.core.model import Charge, LeaseNumber, Verdict
from ci_dispatch.reporters.counts import RunCounts, run_counts
from tests.unit.reporters.test_one_verdict import (
    FIRST,
    PASSES,
    TESTS,
    History,
    attempt,
    folded,
    line,
    run,
    verdicts,
)


def counts(*parts: History) -> RunCounts:
    """Before the end of the run."""
    return run_counts(folded(run(*parts)[:-1]))


def test_a_run_in_which_nothing_ran_is_at_nothing() -> None:
    found = counts(verdicts(*((test.id, Verdict.NOT_RUN) for test in TESTS), reason="no healthy machine"))
    assert (found.done, found.not_run, found.percent) == (0, 3, 0)


def test_everything_that_can_be_done_is_done_and_still_not_all() -> None:
    found = counts(*PASSES, verdicts((FIRST, Verdict.NOT_RUN)))
    assert (found.done, found.total, found.percent) == (2, 3, 66)


def test_a_failure_stays_a_failure_while_its_retry_is_pending_and_until_it_passes() -> None:
    fails = [*PASSES, attempt(2, "a", line(FIRST, Verdict.FAILED))]
    again: History = [RetryScheduled(tests=(FIRST,), reason="boom", not_before=0.0, charged_to=Charge.TEST)]
    begins: History = [attempt(3, "b", line(FIRST, Verdict.PASSED))[0], AttemptStarted(lease=LeaseNumber(3))]
    passes: History = [TestFinished(lease=LeaseNumber(3), result=line(FIRST, Verdict.PASSED))]
    for so_far in ([again], [again, begins]):
        found = counts(*fails, *so_far)
        assert (found.failed, found.retrying, found.done, found.percent) == (1, 1, 3, 99)
    found = counts(*fails, again, begins, passes)
    assert (found.passed, found.failed, found.retrying, found.done, found.percent) == (3, 0, 0, 3, 99)
    found = counts(*fails, verdicts((FIRST, Verdict.FAILED)))
    assert (found.failed, found.retrying, found.percent) == (1, 0, 100)
