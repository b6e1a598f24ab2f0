"""What happens to a test after an attempt: a final verdict, or back into the queue, and why. Pure.

What failed decides. A failed test is tried again at most `max_retries` times, with backoff. A machine's trouble goes to
another machine and uses up none of the test's own retries. What no retry can help is not retried. A test that took two
machines or runners down is not sent to a third.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from ci_dispatch.core.model import AttemptResult, Charge, Ended, FailureCause, MachineName, TestResult, Verdict
from ci_dispatch.run.ledger import TestRecord
from report_merge.failures import UNKNOWN, FailureVerdict, Finding, RetryAdvice
from report_merge.sanitize import first_line

_OF_THE_MACHINE = (FailureVerdict.INFRASTRUCTURE, FailureVerdict.SETUP)
POISON_AFTER = 2  # runners, or machines, that died while a test ran: one of each may be chance


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and how soon; seconds."""

    max_retries: int = 2  # of a failed test
    max_reassignments: int = 5  # of one test because of machines: every wait has an end
    backoff: float = 5.0  # before the first retry; doubles with each
    max_backoff: float = 60.0
    jitter: float = 0.1  # share of the delay, either way

    def delay(self, retry: int, random: Random) -> float:
        """Seconds before retry number `retry` (from 1): 5, 10, 20 ... and jitter."""
        plain = min(self.max_backoff, self.backoff * 2.0 ** (retry - 1))
        return max(0.0, plain * (1 + random.uniform(-self.jitter, self.jitter)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """Back into the queue."""

    reason: str
    delay: float = 0.0
    avoid_machine: MachineName | None = None
    charged_to: Charge = Charge.MACHINE
    isolate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Final:
    verdict: Verdict
    reason: str = ""


Decision = Again | Final


def decide(
    record: TestRecord,
    machine: MachineName,
    attempt: AttemptResult,
    result: TestResult,
    *,
    policy: RetryPolicy,
    finding: Finding | None,
    elsewhere: bool,
    delay: float,
) -> Decision:
    """What becomes of one test of a finished attempt; `record` already holds this attempt's result.

    `finding` says why it failed, `elsewhere` whether a usable machine is left that has not run it yet, `delay` how many
    seconds its next own retry would wait.
    """
    # A unit that its runner repeats as a whole runs again although some of its tests were flaky, or passed.
    failed_before = any(before.verdict in (Verdict.FAILED, Verdict.FLAKY) for _, _, before in record.history)
    match result.verdict:
        case Verdict.PASSED:
            return Final(verdict=Verdict.FLAKY if failed_before else Verdict.PASSED)
        case Verdict.FLAKY:
            return Final(verdict=Verdict.FLAKY, reason=result.reason)
        case Verdict.SKIPPED:
            if failed_before:
                return Final(verdict=Verdict.FAILED, reason="failed, then was skipped when tried again")
            return Final(verdict=Verdict.SKIPPED, reason=result.reason)
        case Verdict.FAILED:
            return _after_failure(record, machine, result, policy, finding or UNKNOWN, elsewhere=elsewhere, delay=delay)
        case Verdict.NOT_RUN:
            return _after_nothing(record, machine, attempt, result, policy)


def _after_failure(
    record: TestRecord,
    machine: MachineName,
    result: TestResult,
    policy: RetryPolicy,
    finding: Finding,
    *,
    elsewhere: bool,
    delay: float,
) -> Decision:
    why = first_line(result.message)[:200] or finding.category
    if finding.verdict in _OF_THE_MACHINE:  # a missing browser, a full disk: another machine may do better
        if elsewhere and record.reassignments < policy.max_reassignments:
            return Again(reason=f"{finding.category}: {why}", avoid_machine=machine)
        if finding.retry is RetryAdvice.NEVER:
            return Final(verdict=Verdict.FAILED, reason=why)
    elif finding.retry is RetryAdvice.NEVER:
        return Final(verdict=Verdict.FAILED, reason=why)
    if record.retries >= policy.max_retries:
        return Final(verdict=Verdict.FAILED, reason=why)
    # The second failure on one machine is worth a look from another: test or machine?
    return Again(
        reason=why, delay=delay, avoid_machine=machine if record.failures > 1 else None, charged_to=Charge.TEST
    )


def _after_nothing(
    record: TestRecord, machine: MachineName, attempt: AttemptResult, result: TestResult, policy: RetryPolicy
) -> Decision:
    why = result.reason or attempt.reason or f"the attempt was {attempt.ended}"
    waited = attempt.ended is Ended.NOT_STARTED and attempt.cause is FailureCause.NONE
    if attempt.ended is Ended.CANCELLED or waited:  # by us, and not for anything it did; or for a machine that is busy
        never_began = all(line.verdict is Verdict.NOT_RUN for line in attempt.results)
        return Again(reason=why, avoid_machine=machine if never_began else None, charged_to=Charge.NOBODY)
    if attempt.cause in (FailureCause.LOAD, FailureCause.USAGE):
        return Final(verdict=Verdict.NOT_RUN, reason=why)
    if record.crashes >= POISON_AFTER:
        return Final(verdict=Verdict.FAILED, reason=f"took its test runner down {record.crashes} times: {why}")
    if record.losses >= POISON_AFTER:
        return Final(verdict=Verdict.NOT_RUN, reason=f"took {record.losses} machines down, not sent to another: {why}")
    if record.reassignments >= policy.max_reassignments:
        return Final(verdict=Verdict.NOT_RUN, reason=f"given up after {record.reassignments} reassignments: {why}")
    # A runner that died tells little until its suspects run alone; a machine that was lost had many reasons to be.
    return Again(
        reason=why, avoid_machine=machine, isolate=result.test in attempt.suspects and attempt.ended is Ended.EXITED
    )
