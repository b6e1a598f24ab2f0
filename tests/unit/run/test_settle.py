"""The end of an attempt: one result for each test of the lease, groups kept together, the breaker's rule."""

from __future__ import annotations

from random import Random

import pytest

from ci_dispatch.core.codec import replace
from ci_dispatch.core.events import AttemptFinished, Event, LeaseGranted, RetryScheduled, VerdictReached
from ci_dispatch.core.model import (
    AttemptResult,
    Charge,
    Ended,
    FailureCause,
    Lease,
    LeaseNumber,
    MachineName,
    MachineSpec,
    Shard,
    ShardId,
    ShardKind,
    Test,
    TestId,
    TestResult,
    UnitId,
    UnlistedResult,
    Verdict,
)
from ci_dispatch.run import quarantine
from ci_dispatch.run.ledger import AttemptRecord, Ledger
from ci_dispatch.run.retry import RetryPolicy
from ci_dispatch.run.settle import one_result_each, settle
from report_merge.failures import UNKNOWN
from tests.simulation import make_tests, run_started

HERE, THERE = MachineName("here"), MachineName("there")
P, F, N = Verdict.PASSED, Verdict.FAILED, Verdict.NOT_RUN


def lease(*tests: TestId) -> Lease:
    shard = Shard(id=ShardId("s"), kind=ShardKind.HEAD, tests=tests)
    return Lease(number=LeaseNumber(1), shard=shard, machine=HERE, granted=0)


def lines(*verdicts: Verdict) -> tuple[TestResult, ...]:
    return tuple(TestResult(test=TestId(f"t{n:05}"), verdict=verdict) for n, verdict in enumerate(verdicts))


def settled(result: AttemptResult, *, atomic: bool = False, jitter: float = 0.0) -> list[Event]:
    tests = make_tests(len(result.results), unit_size=len(result.results) if atomic else 1)
    tests = tuple(replace(test, atomic=atomic) for test in tests)
    book = Ledger()
    given = lease(*(test.id for test in tests))
    machines = [MachineSpec(name=HERE), MachineSpec(name=THERE)]
    book.apply(run_started(tests, machines, {test.id: 1.0 for test in tests}), 0.0)
    book.apply(LeaseGranted(lease=given), 0.0)
    book.apply(AttemptFinished(lease=given.number, machine=HERE, result=result), 1.0)
    return settle(
        book, given, result, usable=[HERE, THERE], policy=RetryPolicy(jitter=jitter), classify=lambda _line: UNKNOWN,
        random=Random(1), now=100.0,
    )  # fmt: skip


def test_a_test_nobody_speaks_of_was_not_run_and_the_first_word_about_a_test_wins() -> None:
    a, b = TestId("t00000"), TestId("t00001")
    stranger = TestResult(test=TestId("x"), verdict=P)
    told = AttemptResult(ended=Ended.EXITED, results=(*lines(F), *lines(P), stranger), suspects=(a, TestId("x")))
    result = one_result_each(lease(a, b), told, (a, b))
    assert [(line.test, line.verdict) for line in result.results] == [(a, F), (b, N)]
    assert "without a word" in result.results[1].reason
    assert result.suspects == (a,)


def unlisted(name: str, verdict: Verdict, *names: str) -> UnlistedResult:
    test = Test(id=TestId(name), unit=UnitId(name))
    return UnlistedResult(test=test, result=TestResult(test=test.id, verdict=verdict), names=names)


def test_a_failure_that_nobody_listed_is_the_runs_and_never_tried_again() -> None:
    others = (unlisted("x", F), unlisted("y", Verdict.FLAKY), unlisted("f::t00000", F, "t00000"))
    events = settled(AttemptResult(ended=Ended.EXITED, results=lines(P), unlisted=others))
    decided = [(event.test, event.verdict) for event in events if isinstance(event, VerdictReached)]
    assert decided == [("t00000", P), ("x", F), ("y", Verdict.FLAKY)]  # t00000 has its own result: it is no other
    assert not [event for event in events if isinstance(event, RetryScheduled)]


def test_failures_of_one_attempt_go_back_together_after_the_same_wait() -> None:
    events = settled(AttemptResult(ended=Ended.EXITED, results=lines(P, F, F)))
    assert [event.test for event in events if isinstance(event, VerdictReached)] == ["t00000"]
    assert [event for event in events if isinstance(event, RetryScheduled)] == [
        RetryScheduled(
            tests=(TestId("t00001"), TestId("t00002")), reason="unknown", not_before=105.0, charged_to=Charge.TEST
        )
    ]


def test_chance_parts_attempts_and_not_the_tests_of_one() -> None:
    events = settled(AttemptResult(ended=Ended.EXITED, results=lines(F, F, F)), jitter=0.5)
    [again] = [event for event in events if isinstance(event, RetryScheduled)]
    assert len(again.tests) == 3
    assert again.not_before != 105.0


def test_a_suspect_goes_back_alone_and_the_others_together() -> None:
    suspects = (TestId("t00001"),)
    result = AttemptResult(ended=Ended.EXITED, cause=FailureCause.CRASH, results=lines(N, N, N), suspects=suspects)
    again = [event for event in settled(result) if isinstance(event, RetryScheduled)]
    assert {event.tests: (event.isolate, event.avoid_machine) for event in again} == {
        (TestId("t00000"), TestId("t00002")): (False, HERE),
        suspects: (True, HERE),
    }


def test_a_serial_group_goes_back_as_a_whole() -> None:
    events = settled(AttemptResult(ended=Ended.EXITED, results=lines(P, F, N)), atomic=True)
    assert not [event for event in events if isinstance(event, VerdictReached)]
    [again] = [event for event in events if isinstance(event, RetryScheduled)]
    assert len(again.tests) == 3


def test_a_serial_group_that_passed_is_not_repeated() -> None:
    events = settled(AttemptResult(ended=Ended.EXITED, results=lines(P, P)), atomic=True)
    assert len([event for event in events if isinstance(event, VerdictReached)]) == 2


def attempts(*results: AttemptResult) -> list[AttemptRecord]:
    return [AttemptRecord(lease(), result=result) for result in results]


LOST = AttemptResult(ended=Ended.LOST, reason="no heartbeat")
SICK = AttemptResult(ended=Ended.EXITED, cause=FailureCause.SETUP, reason="no browser")
FINE = AttemptResult(ended=Ended.EXITED, results=lines(P, F))
ALL_FAIL = AttemptResult(ended=Ended.EXITED, results=lines(F, F, F))
CANCELLED = AttemptResult(ended=Ended.CANCELLED)


@pytest.mark.parametrize(
    ("history", "others_pass", "opens"),
    [
        ((LOST, SICK, LOST), False, True),
        ((LOST, SICK), False, False),
        ((LOST, FINE, SICK, LOST), False, False),
        ((LOST, CANCELLED, SICK, LOST), False, True),
        ((ALL_FAIL, ALL_FAIL, ALL_FAIL), True, True),
        ((ALL_FAIL, ALL_FAIL, ALL_FAIL), False, False),
        ((FINE, LOST, LOST, SICK), True, True),
        ((), True, False),
    ],
)
def test_the_breaker_opens_after_three_attempts_in_a_row_that_came_to_nothing(
    history: tuple[AttemptResult, ...], others_pass: bool, opens: bool
) -> None:
    assert bool(quarantine.opens(attempts(*history), others_pass=others_pass)) is opens


@pytest.mark.parametrize("kind", [ShardKind.RETRY, ShardKind.COPY])
@pytest.mark.parametrize("retries_fail", [ALL_FAIL, LOST])
def test_retries_in_which_all_fail_say_nothing_about_the_machine(retries_fail: AttemptResult, kind: ShardKind) -> None:
    """Their tests have failed before, perhaps elsewhere. What is no test's doing counts there too."""
    retry = replace(lease(), shard=replace(lease().shard, kind=kind))
    again = [AttemptRecord(retry, result=retries_fail) for _ in range(3)]
    assert bool(quarantine.opens(again, others_pass=True)) is (retries_fail is LOST)
    sick = [*attempts(ALL_FAIL), *again, *attempts(ALL_FAIL, ALL_FAIL)]
    assert quarantine.opens(sick, others_pass=True), "nor do they speak for it"
