"""What a run looks like from outside: the fold of its events, machine by machine."""

from __future__ import annotations

import pytest

from ci_dispatch.core.codec import replace
from ci_dispatch.core.errors import ExitCode
from ci_dispatch.core.events import (
    AttemptFinished,
    AttemptStarted,
    Event,
    Interrupted,
    LeaseGranted,
    MachineChecked,
    MachineLost,
    MachineQuarantined,
    MachineReleased,
    RetryScheduled,
    RunFinished,
    Stamped,
    TestFinished,
    VerdictReached,
    Warned,
)
from ci_dispatch.core.model import (
    AttemptResult,
    Charge,
    Ended,
    Lease,
    LeaseNumber,
    MachineName,
    MachineSpec,
    Makespan,
    Shard,
    ShardId,
    ShardKind,
    TestId,
    TestResult,
    Verdict,
)
from ci_dispatch.run import run_end
from ci_dispatch.run.state import MachineState, RunState
from tests.simulation import make_tests, run_started

A, B = MachineName("a"), MachineName("b")
TESTS = make_tests(10)
IDS = tuple(test.id for test in TESTS)
ONE = LeaseNumber(1)


class Fold:
    """A run of ten tests of one second on two machines, event by event."""

    def __init__(self) -> None:
        self.state = RunState()
        fleet = [MachineSpec(name=A), MachineSpec(name=B, cores=2)]
        self.say(run_started(TESTS, fleet, dict.fromkeys(IDS, 1.0)), at=100.0)

    def say(self, event: Event, at: float) -> None:
        self.state.apply(Stamped(seq=self.state.seq + 1, at=at, event=event))

    def grant(self, number: int, *tests: TestId, at: float = 100.0, kind: ShardKind = ShardKind.HEAD) -> None:
        shard = Shard(id=ShardId("s"), kind=kind, tests=tests)
        self.say(LeaseGranted(lease=Lease(number=LeaseNumber(number), shard=shard, machine=A, granted=0)), at)

    def end(self, number: int, *results: TestResult, at: float, stale: bool = False) -> None:
        result = AttemptResult(ended=Ended.EXITED, results=results)
        self.say(AttemptFinished(lease=LeaseNumber(number), machine=A, result=result, stale=stale), at)

    @property
    def a(self) -> MachineState:
        return self.state.machines[A]


def told(test: TestId, verdict: Verdict = Verdict.PASSED) -> TestResult:
    return TestResult(test=test, verdict=verdict)


def checked(healthy: bool, *problems: str, cores: int = 0) -> MachineChecked:
    return MachineChecked(machine=A, healthy=healthy, reachable=healthy, problems=problems, cores=cores)


def test_a_machine_works_from_the_start_of_its_attempt_to_the_end() -> None:
    run = Fold()
    run.grant(1, *IDS[:3])
    assert (run.a.word, run.a.given, run.a.first_work) == ("busy", 3, 100.0)
    run.say(AttemptStarted(lease=ONE), at=105.0)
    run.say(TestFinished(lease=ONE, result=told(IDS[0])), at=110.0)
    run.say(TestFinished(lease=ONE, result=told(IDS[0])), at=111.0)
    assert (run.a.done, run.a.current) == (1, IDS[0]), "told twice is done once"
    run.end(1, told(IDS[0]), told(IDS[1], Verdict.FAILED), told(IDS[2], Verdict.NOT_RUN), at=125.0)
    assert (run.a.word, run.a.busy_seconds, run.a.last_end) == ("idle", 20.0, 125.0)
    assert run.a.verdicts == {Verdict.PASSED: 1, Verdict.FAILED: 1}
    assert (run.a.done, run.a.live.total()) == (2, 0), "what was told live is not counted again"
    assert run.a.given == 2, "what did not run went back"
    assert run.state.machines[B].word == "idle"


def test_a_late_end_changes_nothing_of_what_a_machine_did() -> None:
    run = Fold()
    run.grant(1, *IDS[:2])
    run.end(1, told(IDS[0]), told(IDS[1], Verdict.NOT_RUN), at=110.0)
    before = (run.a.busy_seconds, run.a.verdicts.copy(), run.a.given)
    run.end(1, told(IDS[0]), told(IDS[1]), at=150.0, stale=True)
    assert (run.a.busy_seconds, run.a.verdicts, run.a.given) == before


def test_retries_and_moves_are_told_apart() -> None:
    run = Fold()
    run.grant(1, *IDS[:3])
    run.end(1, *(told(test, Verdict.FAILED) for test in IDS[:3]), at=110.0)
    run.say(RetryScheduled(tests=IDS[:1], reason="failed", not_before=0.0, charged_to=Charge.TEST), at=110.0)
    run.say(RetryScheduled(tests=IDS[1:3], reason="disk", not_before=0.0), at=110.0)
    assert (run.state.retried, run.state.reassigned) == ({IDS[0]}, 2)
    run.grant(2, IDS[0], at=115.0, kind=ShardKind.RETRY)
    run.grant(3, IDS[1], at=115.0, kind=ShardKind.REASSIGNED)
    assert run.a.retries == 1


def test_the_words_for_a_machine_and_what_is_the_matter_with_it() -> None:
    run = Fold()
    assert (run.a.usable, run.a.word, run.a.why_unusable) == (True, "idle", "")
    run.say(checked(False, "disk 2 % free", "load 9"), at=101.0)
    assert (run.a.usable, run.a.word, run.a.why_unusable) == (False, "unhealthy", "disk 2 % free; load 9")
    run.say(MachineLost(machine=A, reason="no heartbeat"), at=102.0)
    assert (run.a.usable, run.a.word, run.a.why_unusable, run.a.lost_at) == (False, "lost", "no heartbeat", 102.0)
    run.say(checked(False, "disk 2 % free"), at=103.0)
    assert run.a.word == "lost", "only a healthy check brings it back"
    run.say(checked(True, cores=4), at=104.0)
    assert (run.a.usable, run.a.word, run.a.why_unusable, run.a.lost_at) == (True, "idle", "", None)
    assert (run.a.spec.cores, run.a.losses) == (4, 1)
    run.say(MachineQuarantined(machine=A, reason="three in a row"), at=105.0)
    run.say(checked(True, cores=8), at=106.0)
    assert (run.a.usable, run.a.word, run.a.why_unusable) == (False, "quarantined", "three in a row")
    assert run.a.spec.cores == 4, "cores once known are not learnt anew"
    run.say(MachineReleased(machine=A), at=107.0)
    assert (run.a.usable, run.a.word, run.a.why_unusable) == (True, "idle", "")


def test_who_is_left_is_said_for_a_few_machines_and_counted_for_many() -> None:
    run = Fold()
    run.say(MachineLost(machine=A, reason="no heartbeat"), at=102.0)
    assert run_end.nobody_left(run.state.machines.values()) == "no healthy machine - a: no heartbeat"
    for number in range(run_end.SHOWN_MACHINES + 1):
        name = MachineName(f"m{number}")
        run.state.machines[name] = MachineState(MachineSpec(name=name), quarantined="sick")
    said = run_end.nobody_left(run.state.machines.values())
    assert said == "no healthy machine - a: no heartbeat - m0: sick - m1: sick - and 2 more"


def test_time_left_is_no_guess_and_counts_what_is_told_live() -> None:
    run = Fold()
    run.grant(1, *IDS[:6])
    assert run.state.remaining_seconds(120.0) is None, "nothing done"
    for test in IDS[:4]:
        run.say(TestFinished(lease=ONE, result=told(test)), at=140.0)
    run.say(VerdictReached(test=IDS[9], verdict=Verdict.PASSED), at=150.0)
    assert run.state.remaining_seconds(150.0) == pytest.approx(50.0), "half of the work in 50 s"


def test_time_never_runs_backwards_and_stops_at_the_end() -> None:
    run = Fold()
    run.say(Warned(source="x", text="y"), at=130.0)
    run.say(Warned(source="x", text="y"), at=120.0)
    assert (run.state.now, run.state.elapsed, len(run.state.warnings)) == (130.0, 30.0, 2)
    run.say(RunFinished(exit_code=0, makespan=Makespan(planned=1, realised=1, lower_bound=1)), at=140.0)
    run.say(Warned(source="x", text="after the end"), at=170.0)
    assert run.state.elapsed == 40.0


@pytest.mark.parametrize(
    ("verdicts", "signal", "code"),
    [
        ([Verdict.PASSED] * 10, None, ExitCode.PASSED),
        ([Verdict.FLAKY] * 9 + [Verdict.SKIPPED], None, ExitCode.PASSED),
        ([Verdict.PASSED] * 9 + [Verdict.FAILED], None, ExitCode.TESTS_FAILED),
        ([Verdict.FAILED] * 9 + [Verdict.NOT_RUN], None, ExitCode.INCOMPLETE),
        ([Verdict.PASSED] * 9, None, ExitCode.INCOMPLETE),
        ([], None, ExitCode.INCOMPLETE),
        ([Verdict.PASSED] * 10, 2, ExitCode.INTERRUPTED),
        ([Verdict.FAILED] * 9, 15, ExitCode.TERMINATED),
    ],
)
def test_interrupted_before_incomplete_before_failed(verdicts: list[Verdict], signal: int | None, code: int) -> None:
    run = Fold()
    for test, verdict in zip(IDS, verdicts, strict=False):
        run.say(VerdictReached(test=test, verdict=verdict), at=101.0)
    if signal is not None:
        run.say(Interrupted(signal=signal), at=102.0)
    assert run_end.exit_code(run.state) == code
    assert run.state.decided == len(verdicts)


@pytest.mark.parametrize(("flaky_is_failure", "code"), [(False, ExitCode.PASSED), (True, ExitCode.TESTS_FAILED)])
def test_flaky_is_a_failure_where_the_run_began_so(flaky_is_failure: bool, code: int) -> None:
    run = Fold()
    assert run.state.started is not None
    run.say(replace(run.state.started, flaky_is_failure=flaky_is_failure), at=100.0)
    for test in IDS:
        run.say(VerdictReached(test=test, verdict=Verdict.FLAKY), at=101.0)
    assert run_end.exit_code(run.state) == code


def test_the_bound_is_of_the_machines_that_got_work() -> None:
    """B got none: what it could have done says nothing about how well the others were used."""
    run = Fold()
    run.say(checked(True, cores=5), at=100.0)
    run.grant(1, *IDS)
    makespan = run_end.makespan(run.state, 103.5, 1.0)
    assert (makespan.realised, makespan.lower_bound) == (3.5, 2.0)
    assert makespan.planned >= makespan.lower_bound
