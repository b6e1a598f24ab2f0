"""Promise 5 in virtual time: wherever a controller dies, the next one ends the run as if nothing had happened.

Every line of a journal, over both fleets: cut in the middle, written and nothing done, written and half of it done. The
next controller comes at once, or when every lease has ended.
"""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from ci_dispatch.config.choices import Strategy
from ci_dispatch.core.events import LeaseGranted, MachineLost, MachineQuarantined, VerdictReached
from ci_dispatch.core.model import MachineName, MachineSpec, Verdict
from ci_dispatch.fleets.actions.run.dispatch_planner import ActionsPolicy
from ci_dispatch.fleets.machines import give_away
from ci_dispatch.fleets.machines.fleet import LeasePolicy
from ci_dispatch.run.control import RunPolicy
from ci_dispatch.run.journal import loads
from ci_dispatch.run.retry import RetryPolicy
from tests.simulated_deaths import Death, MortalRun, truths
from tests.simulation import Outage, Slowdown, World, make_tests
from tests.unit.run.test_properties import BEHAVIOURS, TRUTH

FLEETS = {"machines": (3, 0), "GitHub": (0, 3), "both": (2, 2)}
PAUSES = (0.5, 60.0)  # the second: longer than any lease
DEATHS = [(False, 0), (True, 0), (True, 1)]  # the line is there, and so many of its commands were done


def mortal_run(fleet: str, seed: int) -> MortalRun:
    random = Random(seed)
    tests = make_tests(random.randint(5, 9), unit_size=random.choice([1, 1, 2]))
    over_ssh, through_github = FLEETS[fleet]
    specs = [
        MachineSpec(name=MachineName(f"m{n}"), cores=random.choice([1, 2]), speed=random.choice([0.5, 1.0]))
        for n in range(over_ssh + through_github)
    ]
    return MortalRun(
        tests,
        World(
            seconds={test.id: random.uniform(0.5, 8) for test in tests},
            behaviour={test.id: BEHAVIOURS[word] for test, word in zip(tests, words(seed, len(tests)), strict=True)},
            live=random.random() < 0.7,
        ),
        over_ssh=specs[:over_ssh],
        through_github=specs[over_ssh:],
        policy=RunPolicy(retry=RetryPolicy(backoff=1.0), report_grace=90.0, give_up_after=300.0),
        leases=LeasePolicy(),
        actions=ActionsPolicy(strategy=random.choice([Strategy.PINNED, Strategy.MIXED]), queue_timeout=300.0),
        seed=seed,
    )


def words(seed: int, count: int) -> list[str]:
    random = Random(seed + 1)
    return [random.choice(list(BEHAVIOURS)) for _ in range(count)]


def wrong_with(run: MortalRun, seed: int) -> list[str]:
    """What a run that its controllers left does not keep of the promises."""
    state = run.state
    events = [stamped.event for line in run.disk.lines for stamped in loads(line)]
    found = []
    right = [TRUTH[word] for word in words(seed, state.total)]
    for (test, verdict), truth in zip(truths(state).items(), right, strict=True):
        if verdict is not truth:
            found.append(f"{test} is {verdict} ({state.ledger.records[test].reason}), right is {truth}")
    for test, count in Counter(event.test for event in events if isinstance(event, VerdictReached)).items():
        if count != 1:
            found.append(f"{test} has {count} verdicts")
    leases = [event.lease.number for event in events if isinstance(event, LeaseGranted)]
    if leases != sorted(set(leases)):
        found.append(f"lease numbers repeat: {leases}")
    found += [f"{e.machine} is blamed: {e.reason}" for e in events if isinstance(e, MachineLost | MachineQuarantined)]
    found += [f"{t} is blamed" for t, r in state.ledger.records.items() if r.losses or r.crashes]
    if state.ledger.active or state.finished is None:
        found.append("the run has no end")
    return found


@pytest.mark.parametrize("pause", PAUSES)
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("fleet", FLEETS)
def test_wherever_the_journal_ends_the_next_controller_gives_the_same_verdicts(
    fleet: str, seed: int, pause: float
) -> None:
    whole = mortal_run(fleet, seed)
    whole.run()
    assert wrong_with(whole, seed) == []
    failures = []
    for line in range(len(whole.disk.lines)):
        for written, commands in DEATHS:
            death = Death(line, written=written, commands=commands, pause=pause)
            run = mortal_run(fleet, seed)
            try:
                run.run([death])
            except (AssertionError, ValueError, KeyError) as error:
                failures.append((death, [f"{type(error).__name__}: {error}"]))
                continue
            if wrong := wrong_with(run, seed):
                failures.append((death, wrong))
    shown = "\n".join(f"{death}: {wrong[:3]}" for death, wrong in failures[:8])
    assert not failures, f"{len(failures)} of {len(whole.disk.lines) * len(DEATHS)} deaths:\n{shown}"


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("fleet", FLEETS)
def test_a_journal_that_lost_its_last_lines_costs_only_time(fleet: str, seed: int) -> None:
    """The machines, GitHub and the file of dispatches have seen more than the journal tells."""
    whole = mortal_run(fleet, seed)
    whole.run()
    failures = []
    for line in range(2, len(whole.disk.lines)):
        for lost in (1, 3):
            run = mortal_run(fleet, seed)
            death = Death(line, lost=lost, pause=PAUSES[line % 2])
            run.run([death])
            # What only the lost lines told is forgotten: a test that failed before it passed has just passed.
            wrong = [why for why in wrong_with(run, seed) if not why.endswith("is passed (), right is flaky")]
            if wrong:
                failures.append((death, wrong))
    shown = "\n".join(f"{death}: {wrong[:3]}" for death, wrong in failures[:8])
    assert not failures, f"{len(failures)} deaths:\n{shown}"


@pytest.mark.parametrize("pause", PAUSES)
def test_a_shard_whose_rest_is_given_away_may_lose_its_controller_at_any_line_of_that(pause: float) -> None:
    """One machine has everything when the other one comes; its job is interrupted, and both share the rest."""

    def run_of() -> MortalRun:
        tests = make_tests(60)
        specs = [MachineSpec(name=MachineName(name), cores=1) for name in ("m0", "m1")]
        return MortalRun(
            tests,
            World(seconds={test.id: 8.0 for test in tests}, outages=[Outage(specs[0].name, 0.0, 60.0)]),
            over_ssh=specs,
            policy=RunPolicy(head_share=1.0),
            leases=LeasePolicy(head_share=1.0),
            actions=ActionsPolicy(),
        )

    whole = run_of()
    whole.run()
    lines = whole.disk.lines
    [end] = [number for number, line in enumerate(lines) if give_away.REASON.encode() in line and b"AttemptF" in line]
    failures = []
    for line in range(end - 4, end + 4):
        for written, commands in DEATHS:
            run = run_of()
            state = run.run([Death(line, written=written, commands=commands, pause=pause)])
            wrong = [f"{test} is {verdict}" for test, verdict in truths(state).items() if verdict is not Verdict.PASSED]
            if wrong or state.finished is None or state.ledger.active:
                failures.append((line, written, commands, wrong[:3]))
    assert not failures


@pytest.mark.parametrize("pause", PAUSES)
@pytest.mark.parametrize("word", ["passes", "fails once"])
def test_a_test_that_runs_twice_at_the_same_time_may_lose_its_controller_at_any_line(word: str, pause: float) -> None:
    """One of two machines becomes slow; the other one runs a copy of its last tests."""

    def run_of() -> MortalRun:
        tests = make_tests(6)
        specs = [MachineSpec(name=MachineName(name), cores=1) for name in ("m0", "m1")]
        return MortalRun(
            tests,
            World(
                seconds={test.id: 8.0 for test in tests},
                behaviour={test.id: BEHAVIOURS[word] for test in tests},
                slowdown=Slowdown(specs[1].name, 12.0, 0.05),
            ),
            over_ssh=specs,
            policy=RunPolicy(head_share=1.0, retry=RetryPolicy(backoff=1.0)),
            leases=LeasePolicy(head_share=1.0),
            actions=ActionsPolicy(),
        )

    whole = run_of()
    whole.run()
    lines = whole.disk.lines
    granted = [number for number, line in enumerate(lines) if b'"kind":"copy"' in line.replace(b" ", b"")]
    assert granted
    failures = []
    for line in range(granted[0] - 1, len(lines)):
        for written, commands in DEATHS:
            run = run_of()
            state = run.run([Death(line, written=written, commands=commands, pause=pause)])
            wrong = [f"{test} is {verdict}" for test, verdict in truths(state).items() if verdict is not TRUTH[word]]
            events = [stamped.event for each in run.disk.lines for stamped in loads(each)]
            wrong += [f"{event.machine} is blamed" for event in events if isinstance(event, MachineLost)]
            verdicts = Counter(event.test for event in events if isinstance(event, VerdictReached))
            if wrong or state.finished is None or state.ledger.active or set(verdicts.values()) != {1}:
                failures.append((line, written, commands, wrong[:3]))
    assert not failures


@pytest.mark.parametrize("seed", range(40))
def test_three_controllers_die_one_after_the_other(seed: int) -> None:
    dice = Random(seed)
    fleet = dice.choice(list(FLEETS))
    whole = mortal_run(fleet, seed)
    whole.run()
    lines = sorted(dice.sample(range(len(whole.disk.lines)), 3))
    deaths = [Death(line, *dice.choice(DEATHS), pause=dice.choice(PAUSES)) for line in lines]
    run = mortal_run(fleet, seed)
    run.run(deaths)
    assert wrong_with(run, seed) == [], deaths
