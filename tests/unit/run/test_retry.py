"""What failed decides: each row of the retry rules, and when not to."""

from __future__ import annotations

from random import Random

import pytest

from ci_dispatch.core.codec import replace
from ci_dispatch.core.model import (
    AttemptResult,
    Charge,
    Ended,
    FailureCause,
    LeaseNumber,
    MachineName,
    TestResult,
    Verdict,
)
from ci_dispatch.run.ledger import TestRecord
from ci_dispatch.run.retry import Again, Decision, Final, RetryPolicy, decide
from report_merge.failures import UNKNOWN, FailureVerdict, Finding, RetryAdvice
from tests.simulation import make_tests

HERE = MachineName("here")
TEST = make_tests(1)[0]
EXITED = AttemptResult(ended=Ended.EXITED)


def entry(
    *verdicts: Verdict, retries: int = 0, reassignments: int = 0, crashes: int = 0, losses: int = 0
) -> TestRecord:
    """A test with these results behind it, the last one being this attempt's."""
    history = [
        (LeaseNumber(n), HERE, TestResult(test=TEST.id, verdict=verdict)) for n, verdict in enumerate(verdicts, 1)
    ]
    return TestRecord(
        TEST, history=history, retries=retries, reassignments=reassignments, crashes=crashes, losses=losses
    )


def finding(verdict: FailureVerdict, retry: RetryAdvice) -> Finding:
    return replace(UNKNOWN, verdict=verdict, category=f"{verdict}.x", retry=retry)


def after(
    verdict: Verdict,
    known: TestRecord,
    *,
    attempt: AttemptResult = EXITED,
    found: Finding = UNKNOWN,
    elsewhere: bool = True,
    policy: RetryPolicy | None = None,
) -> Decision:
    line = TestResult(test=TEST.id, verdict=verdict, message="boom\nmore", reason="why not")
    return decide(
        known, HERE, attempt, line, policy=policy or RetryPolicy(), finding=found, elsewhere=elsewhere, delay=5.0
    )


def test_a_pass_is_a_pass_and_after_a_failure_it_is_flaky() -> None:
    assert after(Verdict.PASSED, entry(Verdict.PASSED)) == Final(verdict=Verdict.PASSED)
    assert after(Verdict.PASSED, entry(Verdict.FAILED, Verdict.PASSED)) == Final(verdict=Verdict.FLAKY)


def test_a_skip_does_not_excuse_an_earlier_failure() -> None:
    assert after(Verdict.SKIPPED, entry(Verdict.SKIPPED)) == Final(verdict=Verdict.SKIPPED, reason="why not")
    failed = after(Verdict.SKIPPED, entry(Verdict.FAILED, Verdict.SKIPPED))
    assert isinstance(failed, Final)
    assert failed.verdict is Verdict.FAILED


def test_a_failed_test_is_retried_at_most_max_retries_times() -> None:
    assert after(Verdict.FAILED, entry(Verdict.FAILED)) == Again(reason="boom", delay=5.0, charged_to=Charge.TEST)
    assert after(Verdict.FAILED, entry(Verdict.FAILED, retries=2)) == Final(verdict=Verdict.FAILED, reason="boom")
    none = RetryPolicy(max_retries=0)
    assert after(Verdict.FAILED, entry(Verdict.FAILED), policy=none) == Final(verdict=Verdict.FAILED, reason="boom")


def test_the_second_failure_is_looked_at_from_another_machine() -> None:
    again = after(Verdict.FAILED, entry(Verdict.FAILED, Verdict.FAILED, retries=1))
    assert again == Again(reason="boom", delay=5.0, charged_to=Charge.TEST, avoid_machine=HERE)


def test_what_the_machine_lacks_goes_to_another_one_without_using_a_retry() -> None:
    missing_browser = finding(FailureVerdict.INFRASTRUCTURE, RetryAdvice.NEVER)
    again = after(Verdict.FAILED, entry(Verdict.FAILED, retries=2), found=missing_browser)
    assert again == Again(reason="infrastructure.x: boom", avoid_machine=HERE)
    nowhere_left = after(Verdict.FAILED, entry(Verdict.FAILED), found=missing_browser, elsewhere=False)
    assert nowhere_left == Final(verdict=Verdict.FAILED, reason="boom")


def test_what_no_retry_can_help_is_not_retried() -> None:
    snapshot = finding(FailureVerdict.TEST, RetryAdvice.NEVER)
    assert after(Verdict.FAILED, entry(Verdict.FAILED), found=snapshot) == Final(verdict=Verdict.FAILED, reason="boom")


@pytest.mark.parametrize("trouble", [FailureCause.LOAD, FailureCause.USAGE])
def test_a_suite_that_cannot_be_loaded_is_never_retried(trouble: FailureCause) -> None:
    attempt = AttemptResult(ended=Ended.EXITED, cause=trouble)
    assert after(Verdict.NOT_RUN, entry(), attempt=attempt) == Final(verdict=Verdict.NOT_RUN, reason="why not")


@pytest.mark.parametrize("ended", [Ended.LOST, Ended.LEASE_ENDED, Ended.NOT_STARTED, Ended.TIMED_OUT])
def test_a_machines_trouble_moves_the_test_and_costs_it_nothing(ended: Ended) -> None:
    attempt = AttemptResult(ended=ended, cause=FailureCause.MACHINE)
    assert after(Verdict.NOT_RUN, entry(retries=2), attempt=attempt) == Again(reason="why not", avoid_machine=HERE)


def test_what_we_cancelled_ourselves_is_charged_to_nobody() -> None:
    attempt = AttemptResult(ended=Ended.CANCELLED)
    spent = entry(retries=2, reassignments=5)
    again = Again(reason="why not", avoid_machine=HERE, charged_to=Charge.NOBODY)
    assert after(Verdict.NOT_RUN, spent, attempt=attempt) == again


def test_moving_ends_too() -> None:
    lost = AttemptResult(ended=Ended.LOST)
    given_up = after(Verdict.NOT_RUN, entry(reassignments=5), attempt=lost)
    assert isinstance(given_up, Final)
    assert given_up.verdict is Verdict.NOT_RUN
    assert "given up after 5 reassignments" in given_up.reason


def test_a_suspect_is_sent_alone_and_after_two_deaths_nowhere() -> None:
    crashed = AttemptResult(ended=Ended.EXITED, cause=FailureCause.CRASH, suspects=(TEST.id,))
    once = Again(reason="why not", avoid_machine=HERE, isolate=True)
    assert after(Verdict.NOT_RUN, entry(crashes=1), attempt=crashed) == once
    assert after(Verdict.NOT_RUN, entry(crashes=1, losses=1), attempt=crashed) == once, "one of each may be chance"
    runner_killer = after(Verdict.NOT_RUN, entry(crashes=2), attempt=crashed)
    assert isinstance(runner_killer, Final)
    assert runner_killer.verdict is Verdict.FAILED
    machine_killer = after(Verdict.NOT_RUN, entry(losses=2), attempt=AttemptResult(ended=Ended.LOST))
    assert isinstance(machine_killer, Final)
    assert machine_killer.verdict is Verdict.NOT_RUN


def test_backoff_doubles_up_to_its_limit_with_jitter_around_it() -> None:
    policy = RetryPolicy(backoff=5.0, max_backoff=30.0, jitter=0.1)
    delays = [policy.delay(n, Random(n)) for n in range(1, 6)]
    for delay, plain in zip(delays, [5, 10, 20, 30, 30], strict=True):
        assert plain * 0.9 <= delay <= plain * 1.1
    assert policy.delay(1, Random(1)) != policy.delay(1, Random(2))


def test_a_flaky_test_of_a_unit_that_ran_again_stays_flaky_and_a_skip_does_not_excuse_it() -> None:
    """Its runner repeats the whole unit because another test of it failed."""
    assert after(Verdict.PASSED, entry(Verdict.FLAKY, Verdict.PASSED)) == Final(verdict=Verdict.FLAKY)
    skipped = after(Verdict.SKIPPED, entry(Verdict.FLAKY, Verdict.SKIPPED))
    assert isinstance(skipped, Final)
    assert skipped.verdict is Verdict.FAILED
