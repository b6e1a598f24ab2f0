"""The promises over GitHub Actions, and over both fleets in one run: one true verdict each, nothing twice, it ends."""

from __future__ import annotations

import io
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ci_dispatch.config.choices import Strategy
from ci_dispatch.core.errors import ExitCode
from ci_dispatch.core.events import AttemptFinished
from ci_dispatch.core.model import Ended, MachineSpec, TestId, Verdict
from ci_dispatch.fleets.actions import messages as g
from ci_dispatch.fleets.actions.run.dispatch_planner import ActionsPolicy
from ci_dispatch.run.journal import Journal, loads
from ci_dispatch.run.state import RunState
from tests.simulated_actions import Faults, simulate_fleets
from tests.simulation import Outage, World, make_tests
from tests.unit.run.test_properties import BEHAVIOURS, TRUTH, machine, replayed


def world_of(random: Random, count: int, fleet: list[MachineSpec]) -> tuple[World, dict[TestId, Verdict]]:
    """Random tests and outages; the first machine of the fleet never dies."""
    tests = make_tests(count)
    words = {test.id: random.choice(list(BEHAVIOURS)) for test in tests}
    outages = []
    for machine_ in fleet[1:]:
        if random.random() < 0.5:
            begin = random.uniform(0, 200)
            outages.append(Outage(machine_.name, begin, random.choice([float("inf"), begin + random.uniform(10, 900)])))
    world = World(
        seconds={test.id: random.uniform(0.1, 30) for test in tests},
        behaviour={test: BEHAVIOURS[word] for test, word in words.items()},
        outages=outages,
        live=random.random() < 0.8,
    )
    return world, {test: TRUTH[word] for test, word in words.items()}


def check(state: RunState, disk: io.BytesIO, truth: dict[TestId, Verdict]) -> None:
    assert {test: record.verdict for test, record in state.ledger.records.items()} == truth
    assert state.finished is not None
    failed = Verdict.FAILED in truth.values()
    assert state.finished.exit_code == (ExitCode.TESTS_FAILED if failed else ExitCode.PASSED)
    assert not state.ledger.active
    numbers = list(state.ledger.attempts)
    assert numbers == sorted(set(numbers)), "lease numbers only grow"
    assert replayed(disk.getvalue()).verdicts == state.verdicts


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 40), machines=st.integers(1, 4))
@example(seed=2194068, count=34, machines=2)  # the lone survivor's retries failed, for their tests were to blame
@example(seed=11276669, count=12, machines=3)  # a batch was sent again while nobody could look whether it was there
@example(seed=77772512, count=18, machines=3)  # a machine in quarantine went on passing tests, and was the last
def test_through_github_every_test_has_one_verdict_and_it_is_the_true_one(seed: int, count: int, machines: int) -> None:
    random = Random(seed)
    fleet = [machine(n, random) for n in range(machines)]
    world, truth = world_of(random, count, fleet)
    disk = io.BytesIO()
    state, github = simulate_fleets(
        make_tests(count),
        world,
        through_github=fleet,
        actions=ActionsPolicy(strategy=random.choice(list(Strategy)), queue_timeout=300.0),
        faults=Faults(
            unavailable=random.choice([0.0, 0.1]),
            limited=random.choice([0.0, 0.05]),
            lost_reports=random.choice([0.0, 0.02]),
            annotations=random.random() < 0.7,
        ),
        seed=seed,
        journal=Journal(disk),
    )
    check(state, disk, truth)
    sent = [command.batch.id for command in github.commands if isinstance(command, g.Dispatch)]
    arrived = [run.batch.id for run in github.runs.values()]
    assert sorted(arrived) == sorted(set(arrived)), "no batch became two runs"
    assert set(arrived) <= set(sent)


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), count=st.integers(2, 40))
def test_over_both_fleets_at_once_every_test_has_one_true_verdict(seed: int, count: int) -> None:
    random = Random(seed)
    fleet = [machine(n, random) for n in range(4)]
    world, truth = world_of(random, count, fleet)
    disk = io.BytesIO()
    state, _ = simulate_fleets(
        make_tests(count),
        world,
        over_ssh=fleet[:2],
        through_github=fleet[2:],
        actions=ActionsPolicy(strategy=Strategy.PINNED, queue_timeout=300.0),
        seed=seed,
        journal=Journal(disk),
    )
    check(state, disk, truth)


@pytest.mark.parametrize("dies", ["m0", "m1"], ids=["the machine over SSH dies", "the runner dies"])
def test_a_shard_lost_on_one_fleet_is_finished_on_the_other(dies: str) -> None:
    random = Random(1)
    over_ssh, through_github = (MachineSpec(name=machine(n, random).name, cores=2) for n in range(2))
    tests = make_tests(20)
    world = World(seconds={test.id: 5.0 for test in tests}, outages=[Outage(over_ssh.name, 12.0)])
    if dies == through_github.name:
        world.outages = [Outage(through_github.name, 12.0)]
    state, _ = simulate_fleets(
        tests,
        world,
        over_ssh=[over_ssh],
        through_github=[through_github],
        actions=ActionsPolicy(strategy=Strategy.PINNED),
    )
    assert state.finished is not None
    assert state.finished.exit_code == ExitCode.PASSED
    assert state.verdicts[Verdict.PASSED] == 20
    lost = [a for a in state.ledger.attempts.values() if a.result and a.result.ended is Ended.LOST]
    owed = {t for a in lost for t in a.lease.shard.tests}
    assert owed
    assert {a.lease.machine for a in lost} == {dies}
    finished_by = {machine for t in owed for _, machine, _ in state.ledger.records[t].history}
    assert ({over_ssh.name, through_github.name} - {dies}) <= finished_by


def test_a_run_over_github_that_nobody_can_finish_ends_incomplete() -> None:
    tests = make_tests(6)
    fleet = [MachineSpec(name=machine(n, Random(1)).name, cores=1) for n in range(2)]
    world = World(seconds={t.id: 30.0 for t in tests}, outages=[Outage(m.name, 40.0) for m in fleet])
    disk = io.BytesIO()
    state, _ = simulate_fleets(tests, world, through_github=fleet, journal=Journal(disk))
    assert state.finished is not None
    assert state.finished.exit_code == ExitCode.INCOMPLETE
    assert state.finished.reason.startswith("no healthy machine")
    assert state.decided == 6
    assert any(isinstance(each.event, AttemptFinished) for line in disk.getvalue().splitlines() for each in loads(line))
