"""Machines that wait: they get no work until another is in trouble or the run is late. Every run completes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci_dispatch.core.codec import replace
from ci_dispatch.core.errors import ExitCode
from ci_dispatch.core.events import LeaseGranted, RunResumed, RunStarted
from ci_dispatch.core.groups import GroupSpec, TestGroup
from ci_dispatch.core.model import Lease, LeaseNumber, MachineName, MachineSpec, Shard, ShardId, ShardKind, Verdict
from ci_dispatch.fleets.actions.run.dispatch_planner import ActionsPolicy
from ci_dispatch.fleets.machines.fleet import LeasePolicy
from ci_dispatch.fleets.simulated.run import simulate_run
from ci_dispatch.run.control import RunPolicy
from ci_dispatch.run.reserves import Reserves
from ci_dispatch.run.state import RunState
from tests.run_recording import RunRecording
from tests.simulated_actions import simulate_fleets
from tests.simulation import EventRecorder, Outage, World, make_tests, run_started, simulate

A, B, WAITS = (MachineName(name) for name in ("a", "b", "waits"))
FLEET = [MachineSpec(name=name, cores=4) for name in (A, B, WAITS)]
TESTS = make_tests(120)
SECONDS = {test.id: 5.0 for test in TESTS}  # 75 s on two machines


def started(target: float = 0.0) -> RunStarted:
    return replace(run_started(TESTS, FLEET, SECONDS), left_out={WAITS: "it costs too much"}, target_time=target)


def played(
    world: World, *, target: float = 0.0, recorder: EventRecorder | None = None, seed: int = 0, share: float = 0.9
) -> RunState:
    return simulate_run(
        started(target),
        world,
        policy=RunPolicy(give_up_after=20.0),
        leases=LeasePolicy(head_share=share),
        seed=seed,
        reporters=[recorder] if recorder else [],
    )


def told(state: RunState) -> list[str]:
    return [warned.text for warned in state.warnings if warned.source == "plan"]


def test_a_machine_that_waits_gets_nothing_while_all_goes_well() -> None:
    state = played(World(seconds=SECONDS), target=200.0)
    assert state.machines[WAITS].first_work is None
    assert (state.verdicts[Verdict.PASSED], told(state)) == (120, [])


def test_it_joins_when_another_machine_is_lost() -> None:
    state = played(World(seconds=SECONDS, outages=[Outage(A, 20.0)]))
    assert state.machines[WAITS].done > 20
    assert state.verdicts[Verdict.PASSED] == 120
    [text] = told(state)
    assert text.startswith("waits joins the run: a is in trouble (no heartbeat for 12 s")


def test_it_joins_at_once_when_another_is_not_well_from_the_beginning() -> None:
    state = played(World(seconds=SECONDS, outages=[Outage(A, 0.0), Outage(B, 0.0)]))
    assert state.finished is not None
    assert state.finished.exit_code == ExitCode.PASSED
    assert state.machines[WAITS].done == 120


def test_it_joins_when_the_target_is_in_danger_and_saves_time() -> None:
    slow = World(seconds={test: 2 * seconds for test, seconds in SECONDS.items()})  # than expected
    late, without = played(slow, target=100.0, share=0.5), played(slow, share=0.5)
    assert told(without) == []
    [text] = told(late)
    assert text.startswith("waits joins the run: it is expected to take ")
    assert text.endswith(" and 100 s is the target")
    assert late.elapsed < without.elapsed - 10
    assert late.verdicts[Verdict.PASSED] == without.verdicts[Verdict.PASSED] == 120


def test_a_target_that_nobody_can_make_ends_with_all_verdicts_all_the_same() -> None:
    state = played(World(seconds=SECONDS, live=False), target=1.0)
    assert state.verdicts[Verdict.PASSED] == 120
    assert state.elapsed > 1.0
    assert len(told(state)) == 1


def test_a_run_that_is_gone_on_with_knows_it_again() -> None:
    run = RunRecording(TESTS, FLEET)
    run.events[0] = replace(run.events[0], event=started())
    state = RunState()
    state.apply(run.events[0])
    assert Reserves(state).waits(state.machines[WAITS])
    assert Reserves(state).call(state.now, lambda _: ()) == ""
    state.apply(replace(run.events[0], seq=2, at=state.now + 1, event=RunResumed(controller="x")))
    state.machines[A].losses = 1
    again = Reserves(state)
    assert "a is in trouble" in again.call(state.now, lambda _: ())
    assert not again.waits(state.machines[WAITS])
    assert again.call(state.now, lambda _: ()) == "", "once"


def test_once_called_it_stays_for_the_next_controller_too() -> None:
    """It was called because the run was late; with its help the run is not, or it is too early to say."""
    run = RunRecording(TESTS, FLEET)
    state = RunState()
    state.apply(replace(run.events[0], event=started(target=1000.0)))
    shard = Shard(id=ShardId("tail-1"), kind=ShardKind.TAIL, tests=(TESTS[0].id,))
    lease = Lease(number=LeaseNumber(1), shard=shard, machine=WAITS, granted=state.now)
    state.apply(replace(run.events[0], seq=2, event=LeaseGranted(lease=lease)))
    state.apply(replace(run.events[0], seq=3, event=RunResumed(controller="x")))
    again = Reserves(state)
    assert not again.waits(state.machines[WAITS])
    assert again.call(state.now, lambda _: ()) == "", "that was told"


def test_it_joins_when_it_alone_has_what_a_test_needs() -> None:
    gpu = [*FLEET[:2], replace(FLEET[2], labels=("gpu",))]
    group = TestGroup(spec=GroupSpec(name="shaders", needs=("gpu",)), tests=(TESTS[0].id,))
    begun = replace(run_started(TESTS, gpu, SECONDS, [group]), left_out={WAITS: "it costs too much"})
    state = simulate_run(begun, World(seconds=SECONDS), policy=RunPolicy(give_up_after=20.0), leases=LeasePolicy())
    assert state.verdicts[Verdict.PASSED] == 120
    assert told(state) == ["waits joins the run: no other machine has gpu"]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("lost", [False, True])
def test_through_github_it_gets_no_job_either_until_another_is_in_trouble(seed: int, lost: bool) -> None:
    """Its runner has the labels of the pool too, so nothing is left to the pool."""
    world = World(seconds=SECONDS, outages=[Outage(A, 20.0)] if lost else [])
    state, _ = simulate_fleets(
        TESTS, world, through_github=FLEET, actions=ActionsPolicy(pooled=frozenset((A, B, WAITS))),
        left_out={WAITS: "it costs too much"}, seed=seed,
    )  # fmt: skip
    given = {attempt.lease.machine for attempt in state.ledger.attempts.values()}
    assert state.verdicts[Verdict.PASSED] == 120
    if not lost:
        assert given == {A, B}
        assert told(state) == []


outages = st.lists(
    st.builds(Outage, st.sampled_from([A, B, WAITS]), st.floats(0, 120), st.sampled_from([60.0, 200.0, float("inf")])),
    max_size=4,
)


@settings(max_examples=40, deadline=None)
@given(outages=outages, target=st.sampled_from([0.0, 60.0, 90.0]), seed=st.integers(0, 9))
def test_what_waits_costs_no_verdict(outages: list[Outage], target: float, seed: int) -> None:
    """A run that ends whole with all machines ends whole with one that waits, each test with one verdict."""
    gone = [Outage(each.machine, each.begin, max(each.end, each.begin + 1)) for each in outages]
    world = World(seconds=SECONDS, outages=gone)
    everybody = simulate(TESTS, FLEET, world, terms={"give_up_after": 20.0}, seed=seed)
    recorder = EventRecorder()
    state = played(world, target=target, recorder=recorder, seed=seed)
    assert state.finished is not None
    assert state.verdicts.total() == 120
    assert everybody.finished is not None
    if everybody.finished.exit_code == ExitCode.PASSED:
        assert state.finished.exit_code == ExitCode.PASSED
