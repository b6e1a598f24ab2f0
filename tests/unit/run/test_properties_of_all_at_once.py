"""Groups, copies, machines that wait, a target time, slots and losses in one run, over either fleet and both."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci_dispatch.config.choices import Strategy
from ci_dispatch.core.codec import replace
from ci_dispatch.core.events import LeaseGranted, Stamped, VerdictReached, Warned
from ci_dispatch.core.groups import TestGroup
from ci_dispatch.core.model import MachineName, ShardKind, Verdict
from ci_dispatch.fleets.actions.run.dispatch_planner import ActionsPolicy
from ci_dispatch.fleets.machines.fleet import LeasePolicy
from ci_dispatch.run.control import RunPolicy
from ci_dispatch.run.journal import Journal, loads
from ci_dispatch.run.retry import RetryPolicy
from ci_dispatch.run.state import RunState
from tests.simulated_actions import Faults, simulate_fleets
from tests.simulated_deaths import Death, MortalRun
from tests.simulation import EventRecorder, Slowdown, World, make_tests
from tests.unit.run.test_properties_of_constraints import (
    Kept,
    check_runners,
    check_verdicts,
    labelled,
    random_groups,
    with_dependents,
)
from tests.unit.run.test_properties_of_fleets import world_of

MACHINES = 4
FLEETS = {"over SSH": MACHINES, "through GitHub": 0, "over both": 2}  # how many of them are over SSH
SLOW = 50_000.0  # seconds that a shard may take: on slow machines it would be lost over and over
SEEDS = st.integers(0, 2**32)


class Dice:
    """What happens in one run, by its seed."""

    def __init__(self, seed: int, count: int, over_ssh: int) -> None:
        self.random = random = Random(seed)
        self.fleet = [replace(labelled(n, random), speed=random.choice([0.2, 0.5, 1.0])) for n in range(MACHINES)]
        self.over_ssh, self.through_github = self.fleet[:over_ssh], self.fleet[over_ssh:]
        self.tests = make_tests(count, unit_size=random.choice([1, 1, 3]))
        self.groups = [
            replace(group, spec=replace(group.spec, side_effects=random.random() < 0.2))
            for group in (random_groups(self.tests, random) if random.random() < 0.7 else [])
        ]
        waiting = random.sample(self.fleet, random.choice([0, 1, 2, 3]))
        self.left_out = {machine.name: "it costs too much" for machine in waiting}
        self.target_time = random.choice([0.0, 60.0, 500.0])
        self.slowdown = Slowdown(random.choice(self.fleet).name, random.uniform(0, 60), random.choice([0.05, 0.5]))
        self.actions = ActionsPolicy(
            strategy=Strategy.PINNED if over_ssh else random.choice(list(Strategy)),
            pooled=frozenset(machine.name for machine in self.through_github),
            queue_timeout=300.0,
            shard_timeout=SLOW,
        )
        self.leases = LeasePolicy(shard_timeout=SLOW, head_share=random.choice([0.5, 0.9]))


def check_copies(state: RunState) -> None:
    """Each test once, and none that may not run twice at the same time."""
    leases = [attempt.lease for attempt in state.ledger.attempts.values()]
    copied = Counter(t for lease in leases if lease.shard.kind is ShardKind.COPY for t in lease.shard.tests)
    assert set(copied.values()) <= {1}
    for test in copied:
        demand = state.constraints.of(test)
        assert (demand.side_effects, demand.lock, demand.place) == (False, "", "")


def check_waiting(events: Iterable[Stamped], left_out: Iterable[MachineName]) -> None:
    """Who waits gets nothing before it was told why it joins; once it has joined that is not told again."""
    told = joined = False
    for event in (stamped.event for stamped in events):
        if isinstance(event, Warned) and event.source == "plan":
            assert not joined
            told = True
        if isinstance(event, LeaseGranted) and event.lease.machine in left_out:
            assert told
            joined = True


def played(seed: int, count: int, over_ssh: int) -> list[Stamped]:
    dice = Dice(seed, count, over_ssh)
    random = dice.random
    world, truth = world_of(random, count, dice.fleet)
    world.slowdown = dice.slowdown
    disk, recorder = io.BytesIO(), EventRecorder()
    state, github = simulate_fleets(
        dice.tests,
        world,
        over_ssh=dice.over_ssh,
        through_github=dice.through_github,
        actions=dice.actions,
        leases=dice.leases,
        faults=Faults(unavailable=random.choice([0.0, 0.1]), lost_reports=random.choice([0.0, 0.02])),
        groups=dice.groups,
        left_out=dice.left_out,
        target_time=dice.target_time,
        expected={test: seconds * random.choice([0.2, 1.0, 3.0]) for test, seconds in world.seconds.items()},
        seed=seed,
        reporters=[recorder],
        journal=Journal(disk),
    )
    check_all(state, dice.groups, recorder.events, dice.left_out)
    check_runners(github, dice.groups)
    check_verdicts(state, disk, with_dependents(truth, dice.groups))
    return recorder.events


def check_all(
    state: RunState, groups: Sequence[TestGroup], events: Sequence[Stamped], left_out: Iterable[MachineName]
) -> None:
    Kept(state, groups, events).check()
    check_copies(state)
    check_waiting(events, left_out)
    verdicts = Counter(stamped.event.test for stamped in events if isinstance(stamped.event, VerdictReached))
    assert verdicts == dict.fromkeys(state.ledger.records, 1)


@pytest.mark.parametrize("fleet", FLEETS)
@settings(max_examples=20)
@given(seed=SEEDS, count=st.integers(2, 30))
def test_every_test_has_one_verdict_and_it_is_the_true_one(fleet: str, seed: int, count: int) -> None:
    played(seed, count, FLEETS[fleet])


@settings(max_examples=3)
@given(seed=SEEDS, count=st.integers(2, 30))
def test_the_same_run_goes_the_same_way(seed: int, count: int) -> None:
    assert played(seed, count, 2) == played(seed, count, 2)


@pytest.mark.parametrize("fleet", FLEETS)
@settings(max_examples=25)
@given(seed=SEEDS, count=st.integers(2, 12))
def test_wherever_its_controllers_die_it_ends_well(fleet: str, seed: int, count: int) -> None:
    dice = Dice(seed, count, FLEETS[fleet])
    random = dice.random
    seconds = {test.id: random.uniform(0.5, 8) for test in dice.tests}
    run = MortalRun(
        dice.tests,
        World(seconds=seconds, slowdown=dice.slowdown, live=random.random() < 0.7),
        over_ssh=dice.over_ssh,
        through_github=dice.through_github,
        policy=RunPolicy(retry=RetryPolicy(backoff=1.0), report_grace=90.0, give_up_after=300.0),
        leases=dice.leases,
        actions=dice.actions,
        groups=dice.groups,
        left_out=dice.left_out,
        target_time=random.choice([0.0, 5.0, 60.0]),
        seed=seed,
    )
    places = sorted(random.sample(range(1, 40), 2))
    state = run.run([Death(line, written=random.random() < 0.7, commands=random.randint(0, 1)) for line in places])
    check_all(state, dice.groups, [stamped for line in run.disk.lines for stamped in loads(line)], dice.left_out)
    check_runners(run.github, dice.groups)
    assert {record.verdict for record in state.ledger.records.values()} == {Verdict.PASSED}
