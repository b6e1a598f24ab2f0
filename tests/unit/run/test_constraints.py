"""What groups of tests ask for, step by step: who gets what when, what is waited for, and how it ends when none can."""

from __future__ import annotations

from typing import Any

import pytest

from ci_dispatch.core.errors import ExitCode
from ci_dispatch.core.events import RunFinished, RunResumed, Stamped, VerdictReached
from ci_dispatch.core.groups import GroupSpec, TestGroup, Together
from ci_dispatch.core.model import (
    AttemptResult,
    Ended,
    FailureCause,
    LeaseNumber,
    MachineName,
    ShardKind,
    TestId,
    Verdict,
)
from ci_dispatch.fleets.machines.fleet import END_SECONDS, StartJob
from ci_dispatch.planning.constraints import Constraints
from ci_dispatch.run import messages as m
from ci_dispatch.run.placement import Placement
from ci_dispatch.run.retry import RetryPolicy
from ci_dispatch.run.state import RunState
from tests.control_script import A, B, Script, checked

IDS = [TestId(f"t{n:05}") for n in range(8)]
NEVER_AGAIN = RetryPolicy(max_retries=0)
GPU = {A: ("gpu",)}
LEASE = 12.0


def of(*numbers: int, **spec: Any) -> TestGroup:
    made = GroupSpec(**{"name": f"g{numbers[0]}", **spec})
    return TestGroup(spec=made, tests=tuple(IDS[number] for number in numbers))


def script(*groups: TestGroup, tests: int = 4, **more: Any) -> Script:
    """On two machines; no test is tried again unless `more` says so."""
    return Script(**{"tests": tests, "groups": groups, "check_first": False, "retry": NEVER_AGAIN, **more})


def given(script: Script, machine: MachineName) -> list[TestId]:
    return [test for lease in script.state.ledger.of_machine(machine) for test in lease.shard.tests]


def end(script: Script) -> RunFinished | None:
    return script.state.finished


def reached(script: Script) -> dict[TestId, tuple[Verdict, str]]:
    events = (event for event in script.events if isinstance(event, VerdictReached))
    return {event.test: (event.verdict, event.reason) for event in events}


class TestNeeds:
    def test_only_a_machine_with_the_label_gets_the_test_and_begins_with_it(self) -> None:
        run = script(of(3, needs=("GPU",)), labels={B: ("gpu",)})
        assert given(run, B) == [IDS[3]]
        assert IDS[3] not in given(run, A)

    def test_a_label_that_every_machine_has_is_no_constraint(self) -> None:
        run = script(of(0, 1, 2, 3, needs=("linux",)), labels={A: ("linux",), B: ("Linux",)}, head_share=1.0)
        assert not run.state.constraints
        assert {lease.shard.kind for lease in run.state.ledger.active.values()} == {ShardKind.HEAD}

    def test_the_failed_test_is_tried_again_where_it_can_run_at_once(self) -> None:
        """It should go to another machine after its second failure, and there is none for it."""
        retry = RetryPolicy(max_retries=2, backoff=0.0, jitter=0.0)
        run = script(of(0, needs=("gpu",)), tests=1, labels=GPU, retry=retry)
        for second in (1.0, 2.0, 3.0):
            assert given(run, A) == [IDS[0]]
            run.finish(A, Verdict.FAILED, at=second)
        assert end(run) is not None
        assert reached(run) == {IDS[0]: (Verdict.FAILED, "unknown")}

    def test_a_run_whose_rest_nobody_can_do_ends_and_says_what_is_missing(self) -> None:
        run = script(of(0, needs=("gpu",)), labels=GPU, give_up_after=60.0, checks=False)
        gone = AttemptResult(ended=Ended.LOST, cause=FailureCause.MACHINE, reason="no route")
        run.say(m.LeaseEnded(run.lease_of(A), gone, machine_lost=True), 5.0)
        for second in range(6, 40):
            run.say(m.Tick(), float(second))
            if given(run, B):
                run.finish(B)
        assert end(run) is None
        run.say(m.Tick(), 120.0)
        finished = end(run)
        assert finished is not None
        assert finished.exit_code == ExitCode.INCOMPLETE
        assert finished.reason == "no healthy machine has gpu - a: no route"
        assert [test for test, (verdict, _) in reached(run).items() if verdict is Verdict.NOT_RUN] == [IDS[0]]

    def test_no_idle_machine_takes_over_what_it_may_not_have(self) -> None:
        run = script(of(0, needs=("gpu",)), tests=2, labels=GPU)
        run.say(m.Started(run.lease_of(B)), 1.0)
        run.finish(B, at=2.0)
        run.say(m.Tick(), 60.0)
        assert given(run, A) == [IDS[0]]
        assert run.state.ledger.records[IDS[0]].takeovers == 0


class TestLocks:
    def test_one_shard_of_the_fleet_holds_it_and_its_tests_run_one_after_another(self) -> None:
        run = script(of(0, exclusive=("db",)), of(1, 2, 3, exclusive=("db",)), slots=4, machines=2)
        assert sorted(given(run, A)) == IDS[:4]
        assert given(run, B) == []
        assert [start.workers for start in run.commands if isinstance(start, StartJob)] == [1]

    def test_it_goes_where_the_fewest_workers_have_nothing_to_do_meanwhile(self) -> None:
        run = script(of(0, exclusive=("db",)), tests=8, cores={A: 8, B: 1}, head_share=0.5)
        assert given(run, B) == [IDS[0]]
        assert IDS[0] not in given(run, A)

    def test_unless_the_run_would_wait_for_it(self) -> None:
        run = script(of(*range(6), exclusive=("db",)), tests=8, cores={A: 8, B: 1}, speeds={B: 0.1})
        assert sorted(given(run, A)) == IDS[:6]

    def test_the_next_one_begins_when_it_is_free(self) -> None:
        run = script(
            of(0, 1, exclusive=("db",), needs=("gpu",)), of(2, exclusive=("db",)), tests=3, labels={B: ("gpu",)}
        )
        assert (given(run, A), given(run, B)) == ([IDS[2]], [])
        run.finish(A, at=1.0)
        assert given(run, B) == [IDS[0], IDS[1]]

    def test_resources_that_one_test_holds_together_are_one(self) -> None:
        both = of(0, exclusive=("db", "licence"))
        run = script(both, of(1, exclusive=("db",)), of(2, exclusive=("licence",)), tests=3)
        assert sorted(given(run, A)) == IDS[:3]

    def test_one_shard_on_each_machine_holds_a_resource_of_machines(self) -> None:
        run = script(of(*range(8), exclusive_on_machine=("port",)), tests=8, slots=2)
        held = [run.state.ledger.of_machine(machine) for machine in (A, B)]
        assert [len(leases) for leases in held] == [1, 1]

    def test_after_a_loss_it_is_free_when_the_job_must_have_ended(self) -> None:
        """Who cannot be heard may still run: its machine ends it when nobody has renewed the lease."""
        run = script(of(0, 1, exclusive=("db",)), tests=2, lease=LEASE)
        run.say(m.Started(run.lease_of(A)), 1.0)
        run.say(m.Tick(), 13.5)
        assert not given(run, A)
        run.say(m.Tick(), 13.5 + LEASE + END_SECONDS - 1)
        assert not given(run, B)
        run.say(m.Tick(), 13.5 + LEASE + END_SECONDS + 1)
        assert sorted(given(run, B)) == IDS[:2]

    def test_what_waits_for_a_lock_does_not_end_the_run(self) -> None:
        run = script(of(0, 1, exclusive=("db",)), tests=2, lease=LEASE, give_up_after=1.0)
        run.say(m.Started(run.lease_of(A)), 1.0)
        for second in range(14, 40):
            run.say(m.Tick(), float(second))
        assert end(run) is None

    def test_who_resumes_a_journal_that_lost_leases_waits_for_jobs_that_nobody_knows_of(self) -> None:
        run = script(of(0, 1, exclusive=("db",)), tests=2)
        state = RunState()
        for at, event in ((0.0, run.events[0]), (100.0, RunResumed(controller="another", last_lease=LeaseNumber(3)))):
            state.apply(Stamped(seq=state.seq + 1, at=at, event=event))
        placement, records = Placement(state, {A: 42.0}), list(state.ledger.records.values())
        assert placement.startable(records, (), 141.0) == []
        assert placement.startable(records, (), 143.0) == records

    def test_no_idle_machine_takes_over_what_holds_one(self) -> None:
        run = script(of(0, exclusive=("db",)), tests=2)
        run.say(m.Started(run.lease_of(B)), 1.0)
        run.finish(B, at=2.0)
        run.say(m.Tick(), 60.0)
        assert given(run, A) == [IDS[0]]


class TestPlaces:
    PLACE = of(0, 1, 2, 3, together=Together.MACHINE)

    def test_all_of_it_goes_to_one_machine(self) -> None:
        run = script(self.PLACE, tests=8)
        assert sorted(given(run, A)) == IDS[:4]
        assert set(given(run, B)) <= set(IDS[4:])

    def test_what_failed_is_tried_again_there(self) -> None:
        retry = RetryPolicy(max_retries=2, backoff=0.0, jitter=0.0)
        run = script(self.PLACE, retry=retry)
        for second in (1.0, 2.0):
            run.finish(A, Verdict.FAILED, at=second)
            assert sorted(given(run, A)) == IDS[:4]
            assert not given(run, B)

    def test_it_moves_when_its_machine_is_lost(self) -> None:
        run = script(self.PLACE, lease=LEASE)
        run.say(m.Started(run.lease_of(A)), 1.0)
        run.say(m.Tick(), 14.0)
        assert sorted(given(run, B)) == IDS[:4]
        run.say(checked(A, healthy=True), 20.0)
        run.say(m.Tick(), 21.0)
        assert not given(run, A)


class TestAfter:
    SETUP, REST, LAST = of(0, name="set-up"), of(1, 2, after=("set-up",)), of(3, after=("g1",))

    def test_dependents_begin_when_what_they_come_after_has_passed(self) -> None:
        run = script(self.SETUP, self.REST, self.LAST)
        assert given(run, A) + given(run, B) == [IDS[0]]
        run.finish(A, Verdict.PASSED, at=1.0)
        assert sorted(given(run, A) + given(run, B)) == IDS[1:3]
        for machine in (A, B):
            run.finish(machine, at=2.0) if given(run, machine) else None
        assert given(run, A) + given(run, B) == [IDS[3]]
        run.finish(A, at=3.0)
        finished = end(run)
        assert finished is not None
        assert finished.exit_code == ExitCode.PASSED

    @pytest.mark.parametrize("verdict", [Verdict.FLAKY, Verdict.SKIPPED])
    def test_flaky_and_skipped_are_no_failures(self, verdict: Verdict) -> None:
        run = script(self.SETUP, self.REST)
        run.finish(A if given(run, A) == [IDS[0]] else B, verdict, at=1.0)
        assert reached(run) == {IDS[0]: (verdict, "")}
        assert set(IDS[1:3]) <= {*given(run, A), *given(run, B)}

    def test_what_failed_leaves_its_dependents_and_theirs_not_run_at_once_and_the_run_incomplete(self) -> None:
        run = script(self.SETUP, self.REST, self.LAST)
        run.finish(A, Verdict.FAILED, at=1.0)
        assert reached(run) == {
            IDS[0]: (Verdict.FAILED, "unknown"),
            IDS[1]: (Verdict.NOT_RUN, "it comes after set-up, of which t0 failed"),
            IDS[2]: (Verdict.NOT_RUN, "it comes after set-up, of which t0 failed"),
            IDS[3]: (Verdict.NOT_RUN, "it comes after g1, of which t1 was not run"),
        }
        finished = end(run)
        assert finished is not None
        assert finished.exit_code == ExitCode.INCOMPLETE

    def test_nobody_waits_in_vain_while_it_may_be_tried_again(self) -> None:
        run = script(self.SETUP, self.REST, retry=RetryPolicy(max_retries=1, backoff=5.0, jitter=0.0))
        run.finish(A, Verdict.FAILED, at=1.0)
        assert reached(run) == {}
        run.say(m.Tick(), 7.0)
        assert IDS[0] in given(run, A) + given(run, B)

    def test_a_prerequisite_that_nobody_can_run_ends_the_run(self) -> None:
        setup = of(0, name="set-up", needs=("gpu",))
        run = script(setup, of(1, 2, 3, after=("set-up",)), labels=GPU, give_up_after=60.0, checks=False)
        gone = AttemptResult(ended=Ended.LOST, cause=FailureCause.MACHINE, reason="no route")
        run.say(m.LeaseEnded(run.lease_of(A), gone, machine_lost=True), 5.0)
        run.say(m.Tick(), 6.0)
        run.say(m.Tick(), 70.0)
        finished = end(run)
        assert finished is not None
        assert finished.exit_code == ExitCode.INCOMPLETE
        assert finished.reason == "no healthy machine has gpu - a: no route"


class TestWithManyMachines:
    """The controller's own work in one step does not grow with the machines that have nothing to do."""

    def test_what_may_begin_is_looked_up_once_for_all_of_them(self, monkeypatch: pytest.MonkeyPatch) -> None:
        run = script(of(0), of(*range(1, 8), after=("g0",)), tests=8, machines=20)
        asked: list[TestId] = []
        real = Constraints.may_begin

        def counted(self: Constraints, test: TestId, *more: Any) -> bool:
            asked.append(test)
            return real(self, test, *more)

        monkeypatch.setattr(Constraints, "may_begin", counted)
        run.say(m.Tick(), 1.0)
        assert sorted(asked) == IDS[1:8]
