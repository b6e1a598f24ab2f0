"""Constraints hold in every fleet, after losses and retries too, and cost no test its verdict."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from ci_dispatch.config.choices import Strategy
from ci_dispatch.core.codec import replace
from ci_dispatch.core.errors import ExitCode
from ci_dispatch.core.events import Stamped, VerdictReached
from ci_dispatch.core.groups import GroupSpec, TestGroup, Together
from ci_dispatch.core.model import ANY_MACHINE, Ended, MachineSpec, Test, TestId, Verdict
from ci_dispatch.fleets.actions.run.dispatch_planner import ActionsPolicy
from ci_dispatch.run.journal import Journal
from ci_dispatch.run.ledger import AttemptRecord
from ci_dispatch.run.state import RunState
from tests.simulated_actions import Faults, simulate_fleets
from tests.simulation import EventRecorder, make_tests
from tests.unit.run.test_properties import machine, replayed
from tests.unit.run.test_properties_of_fleets import world_of

FINE = (Verdict.PASSED, Verdict.FLAKY, Verdict.SKIPPED)
LABELS = ("gpu", "arm")
ROUNDED = 0.002  # seconds: events are stamped in thousandths


def labelled(n: int, random: Random) -> MachineSpec:
    """The first one, which never dies, has every label."""
    labels = LABELS if n == 0 else tuple(label for label in LABELS if random.random() < 0.5)
    return replace(machine(n, random), labels=labels)


def random_groups(tests: Sequence[Test], random: Random) -> list[TestGroup]:
    """Up to five groups; each comes only after those before it."""
    groups: list[TestGroup] = []
    for number in range(random.randint(1, 5)):
        name = f"g{number}"
        members = random.sample(tests, random.randint(1, min(len(tests), 12)))
        spec = GroupSpec(
            name=name,
            together=random.choice([Together.NO, Together.NO, Together.MACHINE]),
            exclusive=random.choice([(), (), ("db",), ("licence",), ("db", "licence")]),
            exclusive_on_machine=random.choice([(), (), ("port",)]),
            needs=random.choice([(), (), ("gpu",), ("GPU", "arm")]),
            after=tuple(group.spec.name for group in groups if random.random() < 0.3),
        )
        inside = {test for group in groups for test in group.tests}
        fresh = tuple(test.id for test in members if not spec.after or test.id not in inside)
        before = {t for group in groups if group.spec.after for t in group.tests}
        if not fresh or before & set(fresh):  # else a test of one could wait for one that waits for it
            continue
        groups.append(TestGroup(spec=spec, tests=fresh))
    return groups


@dataclass(frozen=True)
class Kept:
    """Checks one run against its groups."""

    state: RunState
    groups: Sequence[TestGroup]
    events: Sequence[Stamped]

    def check(self) -> None:
        self.needs()
        self.locks()
        self.places()
        self.order()

    def attempts(self, tests: Collection[TestId]) -> Iterator[AttemptRecord]:
        yield from (a for a in self.state.ledger.attempts.values() if not set(tests).isdisjoint(a.lease.shard.tests))

    def needs(self) -> None:
        for group in self.groups:
            wanted = {label.casefold() for label in group.spec.needs}
            for attempt in self.attempts(group.tests) if wanted else ():
                offers = self.state.machines[attempt.lease.machine].spec.offers
                assert attempt.lease.machine == ANY_MACHINE or wanted <= offers

    def locks(self) -> None:
        for resource in {word for group in self.groups for word in group.spec.exclusive}:
            self.apart({t for g in self.groups if resource in g.spec.exclusive for t in g.tests}, everywhere=True)
        for resource in {word for group in self.groups for word in group.spec.exclusive_on_machine}:
            tests = {t for g in self.groups if resource in g.spec.exclusive_on_machine for t in g.tests}
            self.apart(tests, everywhere=False)

    def apart(self, tests: Collection[TestId], *, everywhere: bool) -> None:
        for one, other in combinations(self.attempts(tests), 2):
            if everywhere or one.lease.machine == other.lease.machine:
                assert not self.overlap(one, other), (one.lease, other.lease)

    def overlap(self, one: AttemptRecord, other: AttemptRecord) -> bool:
        first, second = sorted((one, other), key=lambda each: each.lease.number)
        assert first.ended is not None
        lost = first.result is not None and first.result.ended is Ended.LOST and not first.stale
        return second.lease.granted < first.ended + (12.0 if lost else 0.0) - ROUNDED

    def places(self) -> None:
        for group in self.groups:
            for one, other in combinations(self.attempts(group.tests), 2):
                if group.spec.together is Together.MACHINE and one.lease.machine != other.lease.machine:
                    first, second = sorted((one, other), key=lambda each: each.lease.number)
                    assert first.ended is not None
                    assert first.ended <= second.lease.granted + ROUNDED

    def order(self) -> None:
        reached = {s.event.test: s.at for s in self.events if isinstance(s.event, VerdictReached)}
        members = {group.spec.name: group.tests for group in self.groups}
        for group in self.groups:
            before = [test for name in group.spec.after for test in members[name]]
            for attempt in self.attempts(group.tests) if before else ():
                assert all(self.state.ledger.records[test].verdict in FINE for test in before)
                assert max(reached[test] for test in before) <= attempt.lease.granted + ROUNDED


def with_dependents(truth: Mapping[TestId, Verdict], groups: Sequence[TestGroup]) -> dict[TestId, Verdict]:
    """What does not run because of what failed before it; groups come after earlier ones only."""
    made, members = dict(truth), {group.spec.name: group.tests for group in groups}
    for group in groups:
        if any(made[test] not in FINE for name in group.spec.after for test in members[name]):
            made |= dict.fromkeys(group.tests, Verdict.NOT_RUN)
    return made


def check_verdicts(state: RunState, disk: io.BytesIO, truth: Mapping[TestId, Verdict]) -> None:
    assert {test: record.verdict for test, record in state.ledger.records.items()} == truth
    assert state.finished is not None
    verdicts = set(truth.values())
    failed = ExitCode.TESTS_FAILED if Verdict.FAILED in verdicts else ExitCode.PASSED
    assert state.finished.exit_code == (ExitCode.INCOMPLETE if Verdict.NOT_RUN in verdicts else failed)
    assert not state.ledger.active
    assert replayed(disk.getvalue()).verdicts == state.verdicts


def run_once(seed: int, count: int, machines: int, over_ssh: int) -> list[Stamped]:
    random = Random(seed)
    fleet = [labelled(n, random) for n in range(machines)]
    tests = make_tests(count, unit_size=random.choice([1, 1, 3]))
    world, truth = world_of(random, count, fleet)
    groups = random_groups(tests, random)
    units = {test.id: test.unit for test in tests}
    groups = [replace(g, tests=tuple(t for t in units if units[t] in {units[m] for m in g.tests})) for g in groups]
    groups = [g for n, g in enumerate(groups) if not _tangled(g, groups[:n])]
    names = {group.spec.name for group in groups}
    groups = [replace(g, spec=replace(g.spec, after=tuple(n for n in g.spec.after if n in names))) for g in groups]
    disk, recorder = io.BytesIO(), EventRecorder()
    state, _ = simulate_fleets(
        tests,
        world,
        over_ssh=fleet[:over_ssh],
        through_github=fleet[over_ssh:],
        actions=ActionsPolicy(
            strategy=random.choice(list(Strategy)) if not over_ssh else Strategy.PINNED, queue_timeout=300.0
        ),
        faults=Faults(unavailable=random.choice([0.0, 0.1]), lost_reports=random.choice([0.0, 0.02])),
        groups=groups,
        seed=seed,
        reporters=[recorder],
        journal=Journal(disk),
    )
    Kept(state, groups, recorder.events).check()
    check_verdicts(state, disk, with_dependents(truth, groups))
    return recorder.events


def _tangled(group: TestGroup, earlier: Sequence[TestGroup]) -> bool:
    """Units made it larger: a test of it may now wait for itself."""
    shared = [other for other in earlier if set(other.tests) & set(group.tests)]
    return bool(shared) and (bool(group.spec.after) or any(other.spec.after for other in shared))


SEEDS = st.integers(0, 2**32)


@settings(max_examples=60)
@given(seed=SEEDS, count=st.integers(2, 40), machines=st.integers(1, 4))
def test_over_ssh_constraints_are_kept(seed: int, count: int, machines: int) -> None:
    run_once(seed, count, machines, over_ssh=machines)


@settings(max_examples=60)
@given(seed=SEEDS, count=st.integers(2, 40), machines=st.integers(1, 4))
def test_through_github_constraints_are_kept(seed: int, count: int, machines: int) -> None:
    run_once(seed, count, machines, over_ssh=0)


@settings(max_examples=60)
@given(seed=SEEDS, count=st.integers(2, 40))
def test_over_both_fleets_at_once_constraints_are_kept(seed: int, count: int) -> None:
    run_once(seed, count, 4, over_ssh=2)


@settings(max_examples=10)
@given(seed=SEEDS, count=st.integers(2, 40))
def test_the_same_run_goes_the_same_way(seed: int, count: int) -> None:
    assert run_once(seed, count, 3, over_ssh=3) == run_once(seed, count, 3, over_ssh=3)
