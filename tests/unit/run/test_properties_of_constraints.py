"""Constraints hold in every fleet, after losses and retries too, and cost no test its verdict."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from random import Random

from hypothesis import example, given, settings
from hypothesis import strategies as st

from ci_dispatch.config.choices import Strategy
from ci_dispatch.core.codec import replace
from ci_dispatch.core.errors import ExitCode
from ci_dispatch.core.events import Stamped, VerdictReached
from ci_dispatch.core.groups import GroupSpec, TestGroup, Together
from ci_dispatch.core.model import ANY_MACHINE, Ended, MachineName, MachineSpec, RunId, Test, TestId, Verdict
from ci_dispatch.fleets.actions.run.dispatch_planner import ActionsPolicy
from ci_dispatch.fleets.actions.run.matrix import MatrixJob
from ci_dispatch.fleets.actions.waves.planned_wave import PlannedWave
from ci_dispatch.fleets.actions.waves.replay import Replay
from ci_dispatch.fleets.machines.fleet import LeasePolicy
from ci_dispatch.run.control import RunPolicy
from ci_dispatch.run.journal import Journal, loads
from ci_dispatch.run.ledger import AttemptRecord
from ci_dispatch.run.retry import RetryPolicy
from ci_dispatch.run.state import RunState
from tests.simulated_actions import Faults, SimulatedActions, simulate_fleets
from tests.simulated_deaths import Death, MortalRun
from tests.simulation import EventRecorder, Outage, World, make_tests
from tests.unit.fleets.test_replay import Workflow
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
    """Up to five groups of whole units; each comes only after those before it, and waits for none of its own tests."""
    groups: list[TestGroup] = []
    for number in range(random.randint(1, 5)):
        units = {test.unit for test in random.sample(tests, random.randint(1, min(len(tests), 12)))}
        members = tuple(test.id for test in tests if test.unit in units)
        shared = [group for group in groups if set(group.tests) & set(members)]
        after = tuple(group.spec.name for group in groups if random.random() < 0.3)
        if shared and (after or any(group.spec.after for group in shared)):
            continue
        spec = GroupSpec(
            name=f"g{number}",
            together=random.choice([Together.NO, Together.NO, Together.MACHINE]),
            exclusive=random.choice([(), (), ("db",), ("licence",), ("db", "licence")]),
            exclusive_on_machine=random.choice([(), (), ("port",)]),
            needs=random.choice([(), (), ("gpu",), ("GPU", "arm")]),
            after=after,
        )
        groups.append(TestGroup(spec=spec, tests=members))
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
        self.alone()
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

    def alone(self) -> None:
        """A shard that holds a lock has tests with that one lock only."""
        for attempt in self.state.ledger.attempts.values():
            assert len({self.state.constraints.of(test).lock for test in attempt.lease.shard.tests}) == 1

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


def check_runners(github: SimulatedActions, groups: Sequence[TestGroup]) -> None:
    """Whoever still waits for them: two runners never work on tests that hold one resource."""
    holders = {(word, g.spec.name): g.tests for g in groups for word in g.spec.exclusive}
    for resource in {word for word, _ in holders}:
        tests = {test for (word, _), inside in holders.items() if word == resource for test in inside}
        works = sorted((w for w in github.worked if tests & set(w.tests)), key=lambda work: work.begin)
        for one, other in pairwise(works):
            assert one.end <= other.begin + ROUNDED, (resource, one, other)


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
    disk, recorder = io.BytesIO(), EventRecorder()
    state, github = simulate_fleets(
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
    check_runners(github, groups)
    check_verdicts(state, disk, with_dependents(truth, groups))
    return recorder.events


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
@example(seed=1351, count=31)  # a machine came back, and nothing had happened there since it was lost
def test_over_both_fleets_at_once_constraints_are_kept(seed: int, count: int) -> None:
    run_once(seed, count, 4, over_ssh=2)


class GroupedWorkflow(Workflow):
    """One workflow run of tests with groups, whose jobs may get lost."""

    def __init__(self, random: Random, tests: int, machines: int) -> None:
        super().__init__(random, tests, machines, retries=2)
        self.machines = [labelled(n, random) for n in range(machines)]
        self.groups = random_groups(self.started.tests, random)
        self.started = replace(self.started, machines=tuple(self.machines), groups=tuple(self.groups))
        self.first = replace(self.first, started=self.started)

    def again(self, wave: int, attempt: int) -> PlannedWave:
        replay = self.replay(attempt)
        made, usable = replay.plan(
            PlannedWave(id=RunId("r"), wave=wave, attempt=attempt, at=self.clock), self.machines, ActionsPolicy()
        )
        self.check(made, replay, [machine.name for machine in usable])
        self.waves += [made] if made.jobs else []
        return made

    def check(self, wave: PlannedWave, replay: Replay, usable: Collection[str]) -> None:
        planned = [test for job in wave.jobs for test in job.shard.tests]
        assert len(planned) == len(set(planned))
        verdicts = {test: record.verdict for test, record in replay.state.ledger.records.items()}
        members = {group.spec.name: group.tests for group in self.groups}
        for group in self.groups:
            jobs = [job for job in wave.jobs if set(job.shard.tests) & set(group.tests)]
            needs = {label.casefold() for label in group.spec.needs}
            machines = [replay.state.machines[job.machine].spec for job in jobs if needs]
            assert all(needs <= machine.offers for machine in machines)
            assert group.spec.together is Together.NO or len({job.machine for job in jobs}) <= 1
            assert not jobs or all(verdicts[test] in FINE for name in group.spec.after for test in members[name])
        for job, other in combinations(wave.jobs, 2):
            both = self.resources(job, "exclusive") & self.resources(other, "exclusive")
            here = self.resources(job, "exclusive_on_machine") & self.resources(other, "exclusive_on_machine")
            assert not both
            assert not here or job.machine != other.machine
        assert all(job.workers == 1 for job in wave.jobs if job.lock)
        free = {test for test in replay.owed if not any(test in group.tests for group in self.groups)}
        assert not usable or free <= set(planned), "what nothing holds for waits for nothing"

    def resources(self, job: MatrixJob, name: str) -> set[str]:
        inside = [group.spec for group in self.groups if set(group.tests) & set(job.shard.tests)]
        return {word for spec in inside for word in getattr(spec, name)}


@settings(max_examples=100, deadline=None)
@given(seed=SEEDS, tests=st.integers(1, 20), machines=st.integers(1, 4))
def test_in_one_workflow_constraints_are_kept_in_every_wave(seed: int, tests: int, machines: int) -> None:
    random = Random(seed)
    run = GroupedWorkflow(random, tests, machines)
    run.plan()
    run.check(run.waves[0], run.replay(1, run.first), [machine.name for machine in run.machines])
    run.execute(run.waves[0], 1, 0.95)
    for number in (2, 3, 4):
        run.execute(run.again(number, 1), 1, 0.95)
    last = run.replay(1)
    last.finish(run.clock + 10, "no wave is left")
    assert last.state.finished is not None
    verdicts = [record.verdict for record in last.state.ledger.records.values()]
    assert None not in verdicts
    assert last.state.finished.exit_code != ExitCode.PASSED or set(verdicts) <= set(FINE)


@settings(max_examples=20)
@given(seed=SEEDS, count=st.integers(1, 40))
def test_groups_that_ask_for_nothing_change_nothing(seed: int, count: int) -> None:
    tests = make_tests(count)
    asks = [GroupSpec(name="a"), GroupSpec(name="b", after=("c",)), GroupSpec(name="d", needs=LABELS)]
    idle = [TestGroup(spec=spec, tests=tuple(test.id for test in tests)) for spec in asks]

    def events(groups: Sequence[TestGroup]) -> list[Stamped]:
        random, recorder = Random(seed), EventRecorder()
        fleet = [replace(machine(n, random), labels=LABELS) for n in range(3)]
        world, _ = world_of(random, count, fleet)
        github = fleet[2:] if random.random() < 0.5 else []
        simulate_fleets(
            tests, world, over_ssh=[m for m in fleet if m not in github], through_github=github,
            actions=ActionsPolicy(strategy=Strategy.PINNED), groups=groups, seed=seed, reporters=[recorder],
        )  # fmt: skip
        return recorder.events[1:]

    assert events(idle) == events([])


@settings(max_examples=10)
@given(seed=SEEDS, count=st.integers(2, 40))
def test_the_same_run_goes_the_same_way(seed: int, count: int) -> None:
    assert run_once(seed, count, 3, over_ssh=3) == run_once(seed, count, 3, over_ssh=3)


@settings(max_examples=60)
@given(seed=SEEDS, count=st.integers(2, 12), ssh=st.integers(0, 3))
def test_constraints_are_kept_wherever_a_controller_dies(seed: int, count: int, ssh: int) -> None:
    random = Random(seed)
    tests, fleet = make_tests(count), [labelled(n, random) for n in range(3)]
    groups = random_groups(tests, random)
    run = MortalRun(
        tests,
        World(seconds={test.id: random.uniform(0.5, 8) for test in tests}, live=random.random() < 0.7),
        over_ssh=fleet[:ssh],
        through_github=fleet[ssh:],
        policy=RunPolicy(retry=RetryPolicy(backoff=1.0), report_grace=90.0, give_up_after=300.0),
        leases=LeasePolicy(),
        actions=ActionsPolicy(strategy=Strategy.PINNED, queue_timeout=300.0),
        groups=groups,
        seed=seed,
    )
    deaths = [
        Death(
            random.randint(1, 30),
            written=random.random() < 0.7,
            commands=random.randint(0, 1),
            pause=random.choice([0.5, 60.0]),
            lost=random.choice([0, 0, 2]),
        )
        for _ in range(2)
    ]
    state = run.run(sorted(deaths, key=lambda death: death.line))
    Kept(state, groups, [stamped for line in run.disk.lines for stamped in loads(line)]).check()
    check_runners(run.github, groups)
    assert {record.verdict for record in state.ledger.records.values()} == {Verdict.PASSED}


def test_a_job_that_waits_for_a_lost_machine_does_not_begin_beside_the_one_that_took_its_place() -> None:
    tests = make_tests(9)
    fleet = [MachineSpec(name=MachineName(f"m{n}"), cores=1 if n == 0 else 2) for n in range(3)]
    world = World(seconds={test.id: 120.0 for test in tests}, outages=[Outage(fleet[0].name, 0.2, 150.0)])
    ids = [test.id for test in tests]
    groups = [
        TestGroup(spec=GroupSpec(name="g", exclusive=("db",)), tests=tuple(ids[:3])),
        TestGroup(spec=GroupSpec(name="h", needs=("m1",)), tests=tuple(ids[3:])),
    ]
    state, github = simulate_fleets(
        tests, world, through_github=fleet, actions=ActionsPolicy(strategy=Strategy.PINNED), groups=groups
    )
    assert state.finished is not None
    assert state.finished.exit_code == ExitCode.PASSED
    machines = [a.lease.machine for a in state.ledger.attempts.values() if groups[0].tests[0] in a.lease.shard.tests]
    assert machines[0] == "m0"
    assert len(machines) > 1
    check_runners(github, groups)
