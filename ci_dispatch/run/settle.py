"""Turns the end of an attempt into verdicts and retries. Pure: the events it returns are all that happens."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from random import Random

from ci_dispatch.core.codec import replace
from ci_dispatch.core.events import Event, RetryScheduled, VerdictReached
from ci_dispatch.core.model import (
    AttemptResult,
    Ended,
    FailureCause,
    Lease,
    LeaseNumber,
    MachineName,
    TestId,
    TestResult,
    UnitId,
    Verdict,
)
from ci_dispatch.run.ledger import Ledger, TestRecord
from ci_dispatch.run.retry import Again, Decision, Final, RetryPolicy, decide
from report_merge.failures import Finding

UNLISTED = "the listing does not name it, and nobody asked for it"
Classify = Callable[[TestResult], Finding]


def one_result_each(lease: Lease, result: AttemptResult, tests: Collection[TestId]) -> AttemptResult:
    """The same result with exactly one line for each of `tests`, of those of the lease, and none for any other.

    A reader may forget a test or name one twice; the ledger may not. What is missing was not run, and the first news
    about a test wins.
    """
    first: dict[TestId, TestResult] = {}
    for line in result.results:
        first.setdefault(line.test, line)
    why = result.reason or f"the attempt was {result.ended} without a word about it"
    lines = tuple(first.get(test) or TestResult(test=test, verdict=Verdict.NOT_RUN, reason=why) for test in tests)
    return replace(result, results=lines, suspects=tuple(t for t in result.suspects if t in lease.shard.tests))


def without_blame(lease: Lease, result: AttemptResult, unattended: LeaseNumber) -> AttemptResult:
    """That a machine ended a job because no controller was there to renew it says nothing about the machine.

    Leases up to `unattended` were once without one.
    """
    if result.ended is not Ended.LEASE_ENDED or lease.number > unattended:
        return result
    reason = "no controller was there, so its machine ended it"
    return replace(result, ended=Ended.CANCELLED, cause=FailureCause.NONE, reason=reason, suspects=())


def settle(
    ledger: Ledger,
    lease: Lease,
    result: AttemptResult,
    *,
    usable: Collection[MachineName],
    policy: RetryPolicy,
    classify: Classify,
    random: Random,
    now: float,
) -> list[Event]:
    """What becomes of each test of `lease`; the ledger has already folded the attempt's end."""
    delays: dict[int, float] = {}  # one for all tests of this attempt on their n-th retry: they go back together
    decisions: dict[TestId, Decision] = {}
    for line in result.results:
        record = ledger.records[line.test]
        if record.lease is not None:  # it runs a second time, and that goes on
            continue
        retry = record.retries + 1
        decisions[line.test] = decide(
            record,
            lease.machine,
            result,
            line,
            policy=policy,
            finding=classify(line) if line.verdict is Verdict.FAILED else None,
            elsewhere=bool(set(usable) - {machine for _, machine, _ in record.history}),
            delay=delays.setdefault(retry, policy.delay(retry, random)),
        )
    _keep_together(ledger, decisions)
    for other in result.unlisted:
        taken_in = ledger.records.get(other.test.id)
        if taken_in is not None and taken_in.unlisted and taken_in.verdict is None:
            decisions[other.test.id] = Final(verdict=other.result.verdict, reason=UNLISTED)
    return [*_verdicts(lease, decisions), *_retries(decisions, now)]


def _keep_together(ledger: Ledger, decisions: dict[TestId, Decision]) -> None:
    """A unit that its runner repeats as a whole goes back as a whole: half of a `serial` group proves nothing."""
    again: dict[UnitId, Again] = {}
    for test, decision in decisions.items():
        record: TestRecord = ledger.records[test]
        if record.test.atomic and isinstance(decision, Again):
            again.setdefault(record.test.unit, decision)
    for test in decisions:
        unit = ledger.records[test].test.unit
        if unit in again:
            decisions[test] = again[unit]


def _verdicts(lease: Lease, decisions: dict[TestId, Decision]) -> Iterable[Event]:
    for test, decision in decisions.items():
        if isinstance(decision, Final):
            yield VerdictReached(test=test, verdict=decision.verdict, lease=lease.number, reason=decision.reason)


def _retries(decisions: dict[TestId, Decision], now: float) -> Iterable[Event]:
    groups: dict[Again, list[TestId]] = {}
    for test, decision in decisions.items():
        if isinstance(decision, Again):
            groups.setdefault(decision, []).append(test)
    for again, tests in groups.items():
        yield RetryScheduled(
            tests=tuple(tests),
            reason=again.reason,
            not_before=now + again.delay,
            avoid_machine=again.avoid_machine,
            charged_to=again.charged_to,
            isolate=again.isolate,
        )
