"""What a free slot gets: its own head, a suspect alone, or a fair part of the rest."""

from __future__ import annotations

import pytest

from ci_dispatch.core.events import AttemptFinished, LeaseGranted, RetryScheduled, VerdictReached
from ci_dispatch.core.model import (
    AttemptResult,
    Charge,
    Ended,
    Lease,
    LeaseNumber,
    MachineName,
    MachineSpec,
    Shard,
    ShardKind,
    TestId,
    TestResult,
    Verdict,
)
from ci_dispatch.fleets.machines.shard_queue import AVOID_SECONDS, FRESH, ShardQueue
from ci_dispatch.run.ledger import Ledger
from tests.simulation import make_tests, run_started

A, B = (MachineSpec(name=MachineName(name), cores=1) for name in ("a", "b"))
BOTH = [A, B]


class Table:
    """Tests of twenty seconds each over two machines of one core."""

    def __init__(self, tests: int = 8, *, share: float = 0.0) -> None:
        suite = make_tests(tests)
        self.ids = [test.id for test in suite]
        self.ledger = Ledger()
        expected = {test.id: 20.0 for test in suite}
        self.ledger.apply(run_started(suite, BOTH, expected), 0.0)
        self.queue = ShardQueue(self.ledger, expected)
        if share:
            self.queue.plan_heads(BOTH, share, [A.name, B.name])

    def next(
        self,
        machine: MachineSpec,
        *,
        usable: list[MachineSpec] = BOTH,
        fleet: list[MachineSpec] = BOTH,
        now: float = 0.0,
    ) -> Shard | None:
        shard = self.queue.next_shard(machine, self.ledger.ready(now), usable=usable, fleet=fleet, now=now)
        if shard is not None:
            number = LeaseNumber(self.ledger.last_lease + 1)
            lease = Lease(number=number, shard=shard, machine=machine.name, granted=now)
            self.ledger.apply(LeaseGranted(lease=lease), now)
        return shard

    def give_back(
        self, machine: MachineSpec, *, counts: bool = False, isolate: bool = False, wait: float = 0.0
    ) -> None:
        """The machine's last lease ended and came to nothing."""
        number = self.ledger.last_lease
        tests = self.ledger.attempts[number].lease.shard.tests
        result = AttemptResult(ended=Ended.EXITED)
        self.ledger.apply(AttemptFinished(lease=number, machine=machine.name, result=result), 0.0)
        again = RetryScheduled(
            tests=tests,
            reason="x",
            not_before=wait,
            avoid_machine=machine.name,
            charged_to=Charge.TEST if counts else Charge.MACHINE,
            isolate=isolate,
        )
        self.ledger.apply(again, 0.0)


def test_each_machine_gets_its_head_and_nobody_takes_what_is_promised_to_another() -> None:
    table = Table(share=0.5)
    shards = [table.next(machine) for machine in (A, A, B)]
    assert [shard and shard.kind for shard in shards] == [ShardKind.HEAD, ShardKind.TAIL, ShardKind.HEAD]


@pytest.mark.parametrize("seconds", [0.01, 0.0])
def test_a_pull_is_bounded_by_how_long_tests_really_take(seconds: float) -> None:
    """Expected to take no time, a whole tail is worth no second start: a machine that returns would get nothing."""
    table = Table(tests=40)
    table.queue = ShardQueue(table.ledger, dict.fromkeys(table.ids, seconds))
    first = table.next(A)
    assert first is not None
    assert len(first.tests) == 40, "what is known says so"
    table = Table(tests=40, share=0.1)
    table.queue = ShardQueue(table.ledger, dict.fromkeys(table.ids, seconds))
    table.queue.plan_heads(BOTH, 0.1, [A.name, B.name])
    head = table.next(A)
    assert head is not None
    number = table.ledger.last_lease
    results = tuple(TestResult(test=test, verdict=Verdict.PASSED, seconds=20.0) for test in head.tests)
    ended = AttemptFinished(lease=number, machine=A.name, result=AttemptResult(ended=Ended.EXITED, results=results))
    table.ledger.apply(ended, 1.0)
    for test in head.tests:
        table.ledger.apply(VerdictReached(test=test, verdict=Verdict.PASSED), 1.0)
    pulled = table.next(A)
    assert pulled is not None
    assert len(pulled.tests) < 15


def test_every_slot_of_a_machine_gets_its_part_of_the_head() -> None:
    """The plan counts them all: in one of them the whole head would take as many times as long."""
    table = Table(tests=24)
    wide = MachineSpec(name=A.name, cores=4, slots=2)
    table.queue.plan_heads([wide, B], 1.0, [A.name, B.name])
    both = [wide, B]
    shards = [table.next(machine, usable=both, fleet=both) for machine in (wide, wide, B)]
    assert [shard and (shard.kind, len(shard.tests)) for shard in shards] == [
        (ShardKind.HEAD, 10), (ShardKind.HEAD, 10), (ShardKind.HEAD, 4),
    ]  # fmt: skip
    assert len({test for shard in shards if shard for test in shard.tests}) == 24
    assert table.next(wide, usable=both, fleet=both) is None


def test_a_slot_that_is_free_first_takes_nothing_of_what_the_other_slots_are_promised() -> None:
    table = Table(tests=8)
    wide = MachineSpec(name=A.name, cores=2, slots=2)
    table.queue.plan_heads([wide, B], 1.0, [A.name, B.name])
    first = table.next(wide, usable=[wide, B], fleet=[wide, B])
    table.give_back(wide)
    second = table.next(wide, usable=[wide, B], fleet=[wide, B])
    assert first is not None
    assert second is not None
    assert second.kind is ShardKind.HEAD
    assert not set(first.tests) & set(second.tests)


def test_a_head_that_somebody_else_has_by_now_is_no_head() -> None:
    table = Table(share=1.0)
    head = table.next(A)
    assert head is not None
    table.queue.plan_heads(BOTH, 1.0, [A.name, B.name])  # A's head again, which it still runs
    assert table.next(A) is None
    shard = table.next(B)
    assert shard is not None
    assert not set(shard.tests) & set(head.tests)


def test_work_is_shared_with_whoever_can_work_now() -> None:
    everybody, alone = Table(tests=40), Table(tests=40)
    part, whole = everybody.next(A), alone.next(A, usable=[A], fleet=[A])
    assert part is not None
    assert whole is not None
    assert len(whole.tests) == 40, "nobody to share with"
    assert len(part.tests) < 20


def test_a_lone_machine_keeps_something_for_those_that_may_come_back() -> None:
    shard = Table(tests=40).next(A, usable=[A], fleet=BOTH)
    assert shard is not None
    assert len(shard.tests) < 20


def test_a_suspect_gets_a_shard_of_its_own() -> None:
    table = Table(tests=2)
    first = table.next(A, usable=[A], fleet=[A])
    assert first is not None
    assert len(first.tests) == 2
    table.give_back(A, isolate=True)
    shard = table.next(B, usable=[B], fleet=[B])
    assert shard is not None
    assert len(shard.tests) == 1, "although nobody else is there to take the other"


def test_the_kind_of_a_shard_says_why_it_runs() -> None:
    kinds = []
    for counts in (False, True):
        table = Table(tests=1)
        table.next(A)
        table.give_back(A, counts=counts)
        shard = table.next(B)
        kinds.append(shard and shard.kind)
    assert kinds == [ShardKind.REASSIGNED, ShardKind.RETRY]


def test_a_machine_is_avoided_for_a_while_but_not_for_ever() -> None:
    def taken(now: float, usable: list[MachineSpec] = BOTH) -> tuple[TestId, ...]:
        table = Table(tests=1)
        table.next(A)
        table.give_back(A, wait=10.0)
        shard = table.next(A, usable=usable, now=now)
        return shard.tests if shard else ()

    assert taken(9.0, usable=[A]) == (), "its wait is not over"
    assert taken(10.0) == ()
    assert taken(10.0 + AVOID_SECONDS - 0.1) == ()
    assert taken(10.0 + AVOID_SECONDS) == ("t00000",)
    assert taken(10.0, usable=[A]) == ("t00000",), "a lone survivor must not starve"


def finish(
    table: Table,
    machine: MachineSpec,
    shard: Shard,
    seconds: float,
    verdict: Verdict = Verdict.PASSED,
    start_up: float = 2.0,
) -> None:
    """The shard ended, each of its tests after `seconds`; its runner took `start_up` besides."""
    number = next(lease.number for lease in table.ledger.of_machine(machine.name) if lease.shard == shard)
    results = tuple(TestResult(test=test, verdict=verdict, seconds=seconds) for test in shard.tests)
    took = start_up + seconds * len(shard.tests)
    result = AttemptResult(ended=Ended.EXITED, results=results, seconds=took)
    table.ledger.apply(AttemptFinished(lease=number, machine=machine.name, result=result), 1.0)
    for test in shard.tests:
        table.ledger.apply(VerdictReached(test=test, verdict=verdict), 1.0)


def pulls_after(slower: float, verdict: Verdict = Verdict.PASSED) -> tuple[Shard, Shard]:
    """What two machines get after a first pull in which B took `slower` times as long as A."""
    table = Table(tests=120)
    for machine, seconds in ((A, 20.0), (B, 20.0 * slower)):
        shard = table.next(machine)
        assert shard is not None
        finish(table, machine, shard, seconds, verdict)
    ready = table.ledger.ready(1.0)
    pulls = [table.queue.next_shard(m, ready, usable=BOTH, fleet=BOTH, now=1.0) for m in BOTH]
    assert pulls[0] is not None
    assert pulls[1] is not None
    return pulls[0], pulls[1]


def test_a_machine_that_is_slower_today_gets_smaller_pulls_at_once() -> None:
    a, b = pulls_after(3.0)
    assert len(b.tests) < 0.6 * len(a.tests)
    a, b = pulls_after(1.0)
    assert len(b.tests) == len(a.tests)


def test_a_runner_that_starts_slowly_today_gets_larger_pulls_at_once() -> None:
    """At the end of the work, where only the start of a runner bounds them."""
    pulls = []
    for start_up in (2.0, 40.0):
        table = Table(tests=16)
        for _ in range(3):
            shard = table.next(A)
            assert shard is not None
            finish(table, A, shard, 20.0, start_up=start_up)
        seen = table.queue.observed(BOTH, 1.0)
        assert seen.today(A).starts_after == pytest.approx((3 * start_up + 2 * 2.0) / 5)
        assert seen.today(B).starts_after == 2.0
        shard = table.next(A, now=1.0)
        assert shard is not None
        pulls.append(len(shard.tests))
    assert pulls[1] > pulls[0]


def test_a_machine_on_which_tests_fail_is_not_thought_slower_or_faster() -> None:
    a, b = pulls_after(0.1, Verdict.FAILED)
    assert len(b.tests) == len(a.tests)


def test_results_are_looked_at_once_a_second_and_again_when_the_clock_was_set_back() -> None:
    table = Table(tests=40)
    shards = {machine.name: table.next(machine) for machine in BOTH}
    before = table.queue.observed(BOTH, 10.0)
    for machine, seconds in ((A, 20.0), (B, 60.0)):
        shard = shards[machine.name]
        assert shard is not None
        finish(table, machine, shard, seconds)
    assert table.queue.observed(BOTH, 10.0 + FRESH / 2) is before
    after = table.queue.observed(BOTH, 10.0 + FRESH)
    assert after.today(B).speed < before.today(B).speed
    assert table.queue.observed(BOTH, 9.0) is not after
    assert table.queue.observed([A], 9.0) is not table.queue.observed(BOTH, 9.0), "another fleet"
