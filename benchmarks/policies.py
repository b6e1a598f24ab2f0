"""Makespan over the lower bound of ways to share a suite, on a model of the reference fleet.

Other tools' ways are those of `ci-dispatch simulate`; a worker's first test, or with GNU parallel each, is preceded by
the start of a runner. What ci-dispatch does are whole runs of its engine in virtual time.

    python -m benchmarks.policies [JUNIT...]        with a column for the recorded durations of each of these files
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import mean
from unittest import mock
from xml.etree import ElementTree

from ci_dispatch.core.model import MachineName, MachineSpec, Test, TestId, UnitId
from ci_dispatch.planning import planner
from ci_dispatch.planning.policies import SHARING_POLICIES, SharedUnit, SharingPolicy, SharingWorker
from tests.simulation import Outage, Slowdown, World, simulate

FLEET = tuple(
    MachineSpec(name=MachineName(name), cores=cores, speed=speed)
    for name, cores, speed in (("local", 16, 1.0), ("moruk", 24, 0.8), ("ilko2", 4, 1.0), ("pi", 4, 0.5))
)
WORKERS = tuple(machine for machine in FLEET for _ in range(machine.cores))
POWER = sum(machine.power for machine in FLEET)
STRICKEN = FLEET[0]  # what is slow or dies from the middle on
FILES = 12
PROJECTS = ("desktop", "mobile", "tablet")
SEEDS = 10


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is true (`seconds` by test, in the order of the listing) and what is believed."""

    files: Sequence[int]  # of each test
    seconds: Sequence[float]
    believed: Sequence[float]
    known: float = 1.0  # share of durations that are not a guess
    fleet: Sequence[MachineSpec] = FLEET  # as configured
    speed_error: float = 0.0  # as the plan is told
    factor: float = 1.0  # of the stricken machine's speed after `middle`; 0: it is dead
    middle: float = 0.0  # seconds

    @property
    def head_share(self) -> float:
        """As a run would have it."""
        seconds = max(sum(self.believed) / sum(machine.power for machine in self.fleet), *self.believed)
        return planner.head_share(self.known, len(self.fleet), self.speed_error, seconds)

    @property
    def bound(self) -> float:
        """Seconds that no schedule beats, which knew all of this before."""
        work = sum(self.seconds)
        whole = work / POWER
        if self.factor < 1:
            left = POWER - STRICKEN.power * (1 - self.factor)
            whole = self.middle + (work - self.middle * POWER) / left
        return max(whole, *self.seconds)

    def lasts(self, worker: MachineSpec, seconds: float, at: float) -> tuple[float, bool]:
        """Seconds of a test on a worker that begins it `at`, or until the machine dies; and whether it ends."""
        usual = seconds / worker.speed
        if worker is not STRICKEN or self.factor == 1:
            return usual, True
        before = min(usual, max(0.0, self.middle - at))
        if before == usual:
            return usual, True
        return (before + (usual - before) / self.factor, True) if self.factor else (before, False)


def of(policy: SharingPolicy) -> Callable[[Case], float]:
    """Makespan of another tool's way; infinite when tests are without a result."""

    def makespan(case: Case) -> float:
        units = [SharedUnit(str(file), believed) for file, believed in zip(case.files, case.believed, strict=True)]
        workers = [SharingWorker(machine.name, 0.0, planner.START_UP) for machine in WORKERS]
        shared = policy(units, workers, lambda worker, unit, at: case.lasts(WORKERS[worker], case.seconds[unit], at))
        return float("inf") if shared.lost else shared.makespan

    return makespan


def former(case: Case) -> float:
    """ci-dispatch as it was: heads by longest first alone, of a constant share."""
    with mock.patch.object(planner, "slot_heads", _heads_by_longest_first):
        return ours(case, 0.5 + 0.42 * case.known, copies=False)


def _heads_by_longest_first(
    units: Sequence[planner.Unit], machines: Sequence[MachineSpec], share: float
) -> dict[MachineName, list[list[planner.Unit]]]:
    budget = share * sum(unit.seconds for unit in units)
    given: dict[MachineName, list[planner.Unit]] = {}
    work = dict.fromkeys((machine.name for machine in machines), 0.0)
    for unit in units:
        if budget <= 0:
            break
        best = min(
            machines,
            key=lambda m: (max((work[m.name] + unit.seconds) / m.power, unit.seconds / m.speed), -m.power),
        )
        given.setdefault(best.name, []).append(unit)
        work[best.name] += unit.seconds
        budget -= unit.seconds
    return {name: [head] for name, head in given.items()}  # of one slot


def without_copies(case: Case) -> float:
    """ci-dispatch where stragglers run once."""
    return ours(case, copies=False)


def ours(case: Case, share: float | None = None, *, copies: bool = True) -> float:
    """A whole run of the engine, which believes what the case says that it does."""
    tests = [
        Test(id=TestId(f"t{n:05}"), unit=UnitId(f"u{n:05}"), file=f"f{file}", title=(f"t{n}",))
        for n, file in enumerate(case.files)
    ]
    ids = [test.id for test in tests]
    world = World(
        seconds=dict(zip(ids, case.seconds, strict=True)),
        start_up=planner.START_UP,
        speeds={machine.name: machine.speed for machine in FLEET},
    )
    if case.factor == 0:
        world.outages = [Outage(STRICKEN.name, case.middle)]
    elif case.factor < 1:
        world.slowdown = Slowdown(STRICKEN.name, case.middle, case.factor)
    believed: Mapping[TestId, float] = dict(zip(ids, case.believed, strict=True))
    terms = {"head_share": case.head_share if share is None else share, "copies": copies}
    state = simulate(tests, case.fleet, world, expected=believed, terms=terms)
    assert state.finished is not None
    return state.finished.makespan.realised


POLICIES: Mapping[str, Callable[[Case], float]] = {
    **{title: of(policy) for title, policy in SHARING_POLICIES.values()},
    "ci-dispatch, longest first, as it was": former,
    "ci-dispatch, no copies of stragglers": without_copies,
    "**ci-dispatch**": ours,
}


def suite(random: Random, tests: int = 720, middle: float = 1.0, spread: float = 0.7) -> tuple[list[int], list[float]]:
    files = FILES * len(PROJECTS)
    slow = [random.lognormvariate(0, 0.4) for _ in range(files)]
    of = [test * files // tests for test in range(tests)]
    return of, [random.lognormvariate(middle, spread) * slow[file] for file in of]


def heavy_tail(random: Random) -> Case:
    files, seconds = suite(random, spread=1.3)
    return Case(files=files, seconds=seconds, believed=seconds)


def giant_file(random: Random) -> Case:
    files, seconds = suite(random)
    files = [0 if file < FILES else file for file in files]
    return Case(files=files, seconds=seconds, believed=seconds)


def tiny_tests(random: Random) -> Case:
    files, seconds = suite(random, tests=4_000, middle=-1.0)
    return Case(files=files, seconds=seconds, believed=seconds)


def misjudged(random: Random) -> Case:
    files, seconds = suite(random)
    return Case(files=files, seconds=seconds, believed=[value * random.lognormvariate(0, 0.3) for value in seconds])


def wrong_speeds(random: Random) -> Case:
    files, seconds = suite(random)
    fleet = [
        MachineSpec(name=machine.name, cores=machine.cores, speed=machine.speed * random.lognormvariate(0, 0.3))
        for machine in FLEET
    ]
    return Case(files=files, seconds=seconds, believed=seconds, fleet=fleet, speed_error=0.3)


def slowing(random: Random, factor: float = 0.5) -> Case:
    files, seconds = suite(random)
    return Case(files=files, seconds=seconds, believed=seconds, factor=factor, middle=sum(seconds) / POWER / 2)


def dying(random: Random) -> Case:
    return slowing(random, 0.0)


def first_run(random: Random) -> Case:
    files, seconds = suite(random)
    return Case(files=files, seconds=seconds, believed=[1.0] * len(seconds), known=0.0)


CASES: Mapping[str, Callable[[Random], Case]] = {
    "heavy tail": heavy_tail,
    "giant file": giant_file,
    "tiny tests": tiny_tests,
    "durations ±30 %": misjudged,
    "speeds ±30 %": wrong_speeds,
    "slows down": slowing,
    "dies": dying,
    "first run": first_run,
}


def recorded(path: Path) -> Callable[[Random], Case]:
    """The tests of a JUnit file that ran, known exactly; a class counts as a file."""
    ran = [case for case in ElementTree.parse(path).iter("testcase") if case.find("skipped") is None]
    classes: dict[str, int] = {}
    files = [classes.setdefault(case.get("classname", ""), len(classes)) for case in ran]
    seconds = [max(0.001, float(case.get("time", 0))) for case in ran]
    return lambda _random: Case(files=files, seconds=seconds, believed=seconds)


def cell(policy: Callable[[Case], float], case: Callable[[Random], Case]) -> str:
    made = [case(Random(seed)) for seed in range(SEEDS)]
    ratio = mean(policy(each) / each.bound for each in made)
    return "lost" if ratio == float("inf") else f"{ratio:.2f}"


def main(paths: Sequence[str]) -> None:
    cases = {**CASES, **{Path(path).stem: recorded(Path(path)) for path in paths}}
    print(f"Makespan over the lower bound, mean of {SEEDS} seeds; `lost`: tests without a result\n")
    print(f"| | {' | '.join(cases)} |")
    print(f"|---|{'---:|' * len(cases)}")
    for name, policy in POLICIES.items():
        print(f"| {name} | {' | '.join(cell(policy, case) for case in cases.values())} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
