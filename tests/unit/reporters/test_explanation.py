"""Why a test or a machine had the run that it had: each thing that can happen to them is said, and nothing else is."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ci_dispatch.core.events import (
    AttemptStarted,
    MachineChecked,
    MachineQuarantined,
    MachineReleased,
    RetryScheduled,
    RunFinished,
    RunResumed,
    VerdictReached,
)
from ci_dispatch.core.groups import GroupSpec, TestGroup
from ci_dispatch.core.model import (
    ANY_MACHINE,
    Charge,
    LeaseNumber,
    MachineName,
    MachineSpec,
    Makespan,
    ShardKind,
    TestResult,
    Verdict,
)
from ci_dispatch.reporters.explanation import of_machine, of_test
from ci_dispatch.run.state import RunState
from tests.recorded_runs import recorded
from tests.run_recording import RunRecording
from tests.simulation import make_tests

A, B = MachineName("a"), MachineName("b")
TESTS = make_tests(3)
IDS = tuple(test.id for test in TESTS)
FLEET = [MachineSpec(name=A, cores=2), MachineSpec(name=B, cores=2, speed=0.5)]
POOL = MachineSpec(name=ANY_MACHINE)
CONTROL = {chr(number) for number in (*range(32), *range(127, 160))}


class Recording(RunRecording):
    """A run of three tests on two machines, told by the explanation."""

    def __init__(self, fleet: list[MachineSpec] | None = None, groups: Sequence[TestGroup] = ()) -> None:
        super().__init__(TESTS, fleet or FLEET, groups=groups)

    def test(self, number: int) -> list[str]:
        return [line.strip() for line in of_test(self.events, TESTS[number].id)][2:]

    def machine(self, name: MachineName = A) -> list[str]:
        return [line.strip() for line in of_machine(self.events, name)]


def line(number: int, verdict: Verdict = Verdict.PASSED, message: str = "") -> TestResult:
    return TestResult(test=TESTS[number].id, verdict=verdict, seconds=4.0, message=message)


def test_a_test_that_waited_for_others_says_who_was_busy_with_what() -> None:
    recording = Recording().give(0.2, 1, A, IDS[1]).give(0.2, 2, B, IDS[2]).give(9.0, 3, A, IDS[0])
    assert recording.test(0) == [
        "0:00  waited 9.00s; a had tail-1, b had tail-2",
        "0:09  given to a in shard tail-3 alone: pulled when a slot was free, longest tests first",
        "it has no verdict: the run is not over, or its controller died",
    ]


def test_nobody_waited_for_a_moment() -> None:
    assert not [line for line in Recording().give(0.9, 1, A, IDS[0]).test(0) if "waited" in line]


def test_before_the_first_shard_it_is_the_machines_that_are_waited_for() -> None:
    sick = MachineChecked(machine=B, healthy=False, reachable=True, problems=("disk 2 % free",))
    [waited, *_] = Recording().say(0.5, sick).give(3.0, 1, A, IDS[0]).test(0)
    assert waited == "0:00  waited 3.00s; no machine had said yet that it is well; b got no work (disk 2 % free)"


@pytest.mark.parametrize(
    ("charge", "words"),
    [
        (
            Charge.TEST,
            "to be tried again, retry 1 of 2, after a pause of 5.00s, on another machine than a if there is one",
        ),
        (Charge.MACHINE, "to be run again, which counts against the machine (number 1), after a pause of 5.00s"),
        (Charge.NOBODY, "to be run elsewhere, which counts against nobody, after a pause of 5.00s"),
    ],
)
def test_why_it_runs_again_and_on_whose_account(charge: Charge, words: str) -> None:
    failed = line(0, Verdict.FAILED, "expected 3 to be 4")
    again = RetryScheduled(
        tests=(IDS[0],), reason="it broke", not_before=109.0, charged_to=charge,
        avoid_machine=A if charge is Charge.TEST else None,
    )  # fmt: skip
    told = Recording().give(0.0, 1, A, IDS[0]).end(4.0, 1, failed).say(4.0, again).test(0)
    assert told[1] == "0:04  failed on a after 4.00s: expected 3 to be 4"
    assert told[2] == f"0:04  {words}: it broke"


def test_the_wait_for_a_retry_begins_when_its_pause_is_over() -> None:
    again = RetryScheduled(tests=(IDS[0],), reason="x", not_before=109.0, charged_to=Charge.TEST, avoid_machine=A)
    recording = Recording().give(0.0, 1, A, IDS[0]).end(4.0, 1, line(0, Verdict.FAILED)).say(4.0, again)
    told = recording.give(5.0, 2, B, IDS[1]).give(21.0, 3, B, IDS[0], kind=ShardKind.RETRY).test(0)
    assert "0:09  waited 12.0s; it was to go to another machine than a; b had tail-2" in told


def test_a_failure_says_how_many_retries_it_had() -> None:
    verdict = VerdictReached(test=IDS[0], verdict=Verdict.FAILED, reason="SyntaxError")
    told = Recording().give(0.0, 1, A, IDS[0]).end(4.0, 1, line(0, Verdict.FAILED)).say(4.0, verdict).test(0)
    assert told[-2:] == ["0:04  verdict: failed: SyntaxError", "0:04  0 of 2 retries used"]


def test_a_report_under_an_ended_lease_counts_for_nothing_and_says_so() -> None:
    recording = (
        Recording().give(0.0, 1, A, IDS[0]).end(4.0, 1, line(0)).end(9.0, 1, line(0, Verdict.FAILED), stale=True)
    )
    [late] = [line for line in recording.test(0) if line.startswith("0:09")]
    assert "it counts for nothing" in late


def test_a_shard_that_began_late_and_a_controller_that_took_over_are_told() -> None:
    recording = Recording([*FLEET, POOL]).give(0.0, 1, ANY_MACHINE, IDS[0])
    recording.say(40.0, AttemptStarted(lease=LeaseNumber(1))).say(
        50.0, RunResumed(controller="desk, process 7", epoch="x")
    )
    told = recording.test(0)
    assert told[0].startswith("0:00  given to any runner of the pool")
    assert "0:40  its shard began, 40.0s after it was given away" in told
    assert "0:50  another controller goes on with the run: desk, process 7" in told


def test_a_test_of_another_shard_is_not_told_of() -> None:
    recording = Recording().give(0.0, 1, A, IDS[1]).end(4.0, 1, line(1, Verdict.FAILED))
    assert recording.test(0) == ["it has no verdict: the run is not over, or its controller died"]


def test_a_machine_without_work_says_why() -> None:
    again = RetryScheduled(tests=(IDS[0],), reason="x", not_before=130.0, charged_to=Charge.TEST)
    recording = Recording().give(0.0, 1, A, IDS[0]).give(0.0, 2, B, IDS[1], IDS[2]).end(4.0, 1, line(0, Verdict.FAILED))
    recording.say(4.0, again).say(5.0, MachineChecked(machine=A, healthy=True, reachable=True)).give(30.0, 3, A, IDS[0])
    assert (
        "0:04  without work for 26.0s: 1 test waited for a later moment or another machine, and 2 were being run"
        in (recording.machine())
    )


def test_a_machine_that_ended_first_says_for_whom_the_run_waited() -> None:
    recording = Recording().give(0.0, 1, A, IDS[0]).give(0.0, 2, B, IDS[1]).end(4.0, 1, line(0)).end(30.0, 2, line(1))
    end = RunFinished(exit_code=0, makespan=Makespan(planned=1, realised=30, lower_bound=1))
    told = recording.say(30.0, end).machine()
    assert told[-2:] == [
        "0:04  without work for 26.0s, until the end: the run waited for tail-2 on b",
        "busy for 4.00s of 30.0s (13 %)",
    ]


def test_what_a_shard_took_stands_beside_what_was_expected_of_this_machine() -> None:
    told = Recording().give(0.0, 1, B, IDS[0], IDS[1]).end(20.0, 1, line(0), line(1, Verdict.FAILED)).machine(B)
    assert told[:3] == [
        "b: 2 cores, 1 slot, speed 0.5",
        "0:00  tail-1: 2 tests, expected 8.00s: pulled when a slot was free, longest tests first",
        "0:20  tail-1 exited after 20.0s, expected 8.00s, 1 passed, 1 failed",
    ]


def test_health_and_quarantine_of_a_machine_are_told_when_they_change() -> None:
    well = MachineChecked(machine=A, healthy=True, reachable=True)
    sick = MachineChecked(machine=A, healthy=False, reachable=False)
    recording = (
        Recording().say(1.0, well, well, sick, well).say(2.0, MachineQuarantined(machine=A, reason="nothing\nworks"))
    )
    told = recording.say(3.0, MachineReleased(machine=A)).machine()
    assert told[1:] == [
        "0:01  healthy",
        "0:01  not healthy, so it gets no work: no answer",
        "0:01  healthy",
        "0:02  gets no more work: nothing works",
        "0:03  gets work again: what it had under way went well",
        "it got no work: there was none for it",
    ]


@pytest.mark.parametrize("run", ["green", "troubled"])
def test_of_a_whole_run_every_test_and_machine_is_told_in_plain_lines(run: str) -> None:
    events, state = recorded(run), RunState()
    for stamped in events:
        state.apply(stamped)
    for test, record in state.ledger.records.items():
        told = list(of_test(events, test))
        assert any(f"verdict: {record.verdict}" in line for line in told)
        assert not [line for line in told if set(line) & CONTROL]
    for name in state.machines:
        assert not [line for line in of_machine(events, name) if set(line) & CONTROL]


def test_a_test_of_a_group_says_what_holds_for_it_and_what_it_waited_for() -> None:
    groups = [
        TestGroup(spec=GroupSpec(name="up", exclusive=("db",)), tests=(IDS[1],)),
        TestGroup(spec=GroupSpec(name="rest", exclusive=("db",), after=("up",), needs=("b",)), tests=(IDS[0],)),
    ]
    recording = Recording(groups=groups).give(0.2, 1, A, IDS[1]).give(0.3, 2, B, IDS[2])
    recording.end(5.0, 1, line(1)).say(5.0, VerdictReached(test=IDS[1], verdict=Verdict.PASSED)).end(6.0, 2, line(2))
    recording.give(9.0, 3, B, IDS[0])
    assert recording.test(0)[:4] == [
        "it comes after up",
        "one shard at a time in the whole run holds db",
        "it needs b, which b has",
        "0:00  waited 9.00s; it comes after up; db was held by tail-1 on a; a had tail-1, b had tail-2",
    ]
