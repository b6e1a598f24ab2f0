"""Promises 1, 4 and 7 over random fleets, suites and faults: one verdict each, nothing lost, nothing twice, it ends."""

from __future__ import annotations

import io
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from ci_dispatch.core.errors import ExitCode
from ci_dispatch.core.model import MachineName, MachineSpec, TestId, Verdict
from ci_dispatch.run.journal import Journal, loads, replay
from ci_dispatch.run.state import RunState
from tests.simulation import Behaviour, Outage, World, make_tests, simulate

BEHAVIOURS: dict[str, Behaviour] = {
    "passes": lambda _n: Verdict.PASSED,
    "fails": lambda _n: Verdict.FAILED,
    "fails once": lambda n: Verdict.PASSED if n else Verdict.FAILED,
    "fails twice": lambda n: Verdict.PASSED if n > 1 else Verdict.FAILED,
    "is skipped": lambda _n: Verdict.SKIPPED,
    "is flaky inside": lambda _n: Verdict.FLAKY,
}
TRUTH = {
    "passes": Verdict.PASSED,
    "fails": Verdict.FAILED,
    "fails once": Verdict.FLAKY,
    "fails twice": Verdict.FLAKY,
    "is skipped": Verdict.SKIPPED,
    "is flaky inside": Verdict.FLAKY,
}


def replayed(journal: bytes) -> RunState:
    """The state a journal gives. Wherever it is cut, each test is pending, under an active lease or decided."""
    state = RunState()
    for line in journal.splitlines():
        replay([loads(line)], state)
        ledger = state.ledger
        for test, record in ledger.records.items():
            where = [test in ledger.pending, record.lease in ledger.active, record.verdict is not None]
            assert where.count(True) == 1, f"{test} after event {state.seq}"
    return state


def machine(n: int, random: Random) -> MachineSpec:
    return MachineSpec(
        name=MachineName(f"m{n}"),
        cores=random.choice([1, 4, 16]),
        speed=random.choice([0.5, 1.0]),
        slots=random.choice([1, 2]),
    )


@settings(max_examples=120)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 60), machines=st.integers(1, 5), faults=st.integers(0, 6))
def test_every_test_has_one_verdict_and_it_is_the_true_one(seed: int, count: int, machines: int, faults: int) -> None:
    """m0 never dies; whatever happens to the others, the result is what one faultless machine would give."""
    random = Random(seed)
    tests = make_tests(count, unit_size=random.choice([1, 1, 4]))
    fleet = [machine(n, random) for n in range(machines)]
    words = {test.id: random.choice(list(BEHAVIOURS)) for test in tests}
    outages = []
    for _ in range(faults if machines > 1 else 0):
        begin = random.uniform(0, 60)
        end = random.choice([float("inf"), begin + random.uniform(1, 40)])
        outages.append(Outage(fleet[random.randrange(1, machines)].name, begin, end))
    world = World(
        seconds={test.id: random.uniform(0.1, 30) for test in tests},
        behaviour={test: BEHAVIOURS[word] for test, word in words.items()},
        outages=outages,
        live=random.random() < 0.8,
    )
    disk = io.BytesIO()

    state = simulate(tests, fleet, world, seed=seed, journal=Journal(disk))

    assert {t: e.verdict for t, e in state.ledger.records.items()} == {t: TRUTH[word] for t, word in words.items()}
    assert state.ledger.complete
    failed = any(verdict is Verdict.FAILED for verdict in (e.verdict for e in state.ledger.records.values()))
    assert state.finished is not None
    assert state.finished.exit_code == (ExitCode.TESTS_FAILED if failed else ExitCode.PASSED)
    assert not state.ledger.active
    numbers = list(state.ledger.attempts)
    assert numbers == sorted(set(numbers)), "lease numbers only grow"

    again = replayed(disk.getvalue())
    assert again.verdicts == state.verdicts
    assert {t: e.history for t, e in again.ledger.records.items()} == {
        t: e.history for t, e in state.ledger.records.items()
    }


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32), machines=st.integers(1, 3))
def test_a_fleet_that_dies_leaves_an_incomplete_run_never_a_green_one(seed: int, machines: int) -> None:
    random = Random(seed)
    tests = make_tests(40)
    fleet = [machine(n, random) for n in range(machines)]
    world = World(
        seconds={test.id: 20.0 for test in tests}, outages=[Outage(m.name, random.uniform(0, 15)) for m in fleet]
    )
    state = simulate(tests, fleet, world, seed=seed)
    assert state.finished is not None
    assert state.finished.exit_code == ExitCode.INCOMPLETE
    assert state.verdicts[Verdict.NOT_RUN] > 0
    assert state.decided == len(tests)


def test_a_test_that_takes_two_runners_down_is_not_sent_to_a_third() -> None:
    tests = make_tests(12)
    fleet = [MachineSpec(name=MachineName(f"m{n}"), cores=2) for n in range(4)]
    killer = TestId("t00003")
    world = World(seconds={test.id: 1.0 for test in tests}, killers=frozenset({killer}))
    state = simulate(tests, fleet, world)
    assert state.ledger.records[killer].verdict is Verdict.FAILED
    assert "took its test runner down 2 times" in state.ledger.records[killer].reason
    assert sum(killer in a.lease.shard.tests for a in state.ledger.attempts.values()) == 2
    others = [entry.verdict for test, entry in state.ledger.records.items() if test != killer]
    assert others == [Verdict.PASSED] * 11, "a suspect is isolated: nobody else suffers from it"
