"""First result wins, once; numbers only grow; a second verdict is impossible."""

from __future__ import annotations

import pytest

from ci_dispatch.core.events import (
    AttemptFinished,
    Event,
    LeaseGranted,
    RetryScheduled,
    TestFinished,
    VerdictReached,
)
from ci_dispatch.core.model import (
    AttemptResult,
    Charge,
    Ended,
    Lease,
    LeaseNumber,
    MachineName,
    MachineSpec,
    Shard,
    ShardId,
    ShardKind,
    TestId,
    TestResult,
    Verdict,
)
from ci_dispatch.run.ledger import Ledger
from tests.simulation import make_tests, run_started

TESTS = make_tests(3)
IDS = tuple(test.id for test in TESTS)
A, B = MachineName("a"), MachineName("b")


def granted(number: int, machine: MachineName, *tests: TestId) -> LeaseGranted:
    shard = Shard(id=ShardId(f"s{number}"), kind=ShardKind.TAIL, tests=tests)
    return LeaseGranted(lease=Lease(number=LeaseNumber(number), shard=shard, machine=machine, granted=0.0))


def finished(number: int, machine: MachineName, *results: TestResult, stale: bool = False) -> AttemptFinished:
    result = AttemptResult(ended=Ended.EXITED, results=results)
    return AttemptFinished(lease=LeaseNumber(number), machine=machine, result=result, stale=stale)


def passed(test: TestId) -> TestResult:
    return TestResult(test=test, verdict=Verdict.PASSED)


def failed(test: TestId) -> TestResult:
    return TestResult(test=test, verdict=Verdict.FAILED)


def ledger(*events: Event) -> Ledger:
    book = Ledger()
    started = run_started(TESTS, [MachineSpec(name=A), MachineSpec(name=B)], dict.fromkeys(IDS, 1.0))
    for at, event in enumerate((started, *events)):
        book.apply(event, float(at))
    return book


def test_a_result_under_a_lease_that_has_ended_is_evidence_and_changes_nothing() -> None:
    lost = AttemptFinished(lease=LeaseNumber(1), machine=A, result=AttemptResult(ended=Ended.LOST))
    again = RetryScheduled(tests=(IDS[0],), reason="lost", not_before=0.0, avoid_machine=A)
    book = ledger(granted(1, A, IDS[0]), lost, again, granted(2, B, IDS[0]))
    book.apply(finished(1, A, failed(IDS[0]), stale=True), 9.0)
    assert book.records[IDS[0]].history == []
    assert book.attempts[LeaseNumber(1)].stale
    assert list(book.active) == [2]
    book.apply(finished(2, B, passed(IDS[0])), 10.0)
    assert [result.verdict for _, _, result in book.records[IDS[0]].history] == [Verdict.PASSED]


def test_lease_numbers_only_grow() -> None:
    book = ledger(granted(2, A, IDS[0]))
    for number in (1, 2):
        with pytest.raises(ValueError, match="numbers only grow"):
            book.apply(granted(number, B, IDS[1]), 1.0)


def test_a_test_is_never_handed_out_twice_at_a_time() -> None:
    book = ledger(granted(1, A, IDS[0]))
    with pytest.raises(ValueError, match="already leased"):
        book.apply(granted(2, B, IDS[0]), 1.0)


def test_a_decided_test_is_never_handed_out_again_and_never_decided_again() -> None:
    verdict = VerdictReached(test=IDS[0], verdict=Verdict.PASSED)
    book = ledger(granted(1, A, IDS[0]), finished(1, A, passed(IDS[0])), verdict)
    with pytest.raises(ValueError, match="already leased or decided"):
        book.apply(granted(2, B, IDS[0]), 1.0)
    with pytest.raises(ValueError, match="has a verdict already"):
        book.apply(VerdictReached(test=IDS[0], verdict=Verdict.FAILED), 1.0)


def test_live_news_decides_nothing() -> None:
    book = ledger(granted(1, A, IDS[0]), TestFinished(lease=LeaseNumber(1), result=failed(IDS[0])))
    assert book.records[IDS[0]].history == []
    assert book.records[IDS[0]].verdict is None


def test_complete_means_every_test_has_a_verdict_and_ran() -> None:
    assert not Ledger().complete, "nothing expected is not complete: an empty run is never green"
    book = ledger(*(VerdictReached(test=test, verdict=Verdict.PASSED) for test in IDS[:2]))
    assert not book.complete
    book.apply(VerdictReached(test=IDS[2], verdict=Verdict.NOT_RUN, reason="lost"), 1.0)
    assert not book.complete
    green = ledger(*(VerdictReached(test=test, verdict=Verdict.PASSED) for test in IDS))
    assert green.complete


def test_backoff_keeps_a_test_out_of_the_ready_ones() -> None:
    again = RetryScheduled(tests=(IDS[0],), reason="failed", not_before=50.0, charged_to=Charge.TEST)
    book = ledger(granted(1, A, IDS[0]), finished(1, A, failed(IDS[0])), again)
    assert [entry.test.id for entry in book.ready(49.0)] == list(IDS[1:])
    assert IDS[0] in [entry.test.id for entry in book.ready(50.0)]
    assert book.records[IDS[0]].retries == 1
    assert book.records[IDS[0]].reassignments == 0
