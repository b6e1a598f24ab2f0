"""Runs in a row on paper: each is planned with what the runs before it taught, and teaches the next.

The whole engine runs in virtual time on machines whose true speeds nobody configured. Durations of tests differ from
run to run, and so do machines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, fsum, log
from random import Random

from ci_dispatch.core.codec import replace
from ci_dispatch.core.model import MachineName, MachineSpec, RunId, UnitId
from ci_dispatch.planning import planner
from ci_dispatch.planning.durations import learn_durations
from ci_dispatch.planning.samples import DurationSample
from ci_dispatch.planning.speeds import LearntSpeed, learn_speeds
from ci_dispatch.run.state import RunState
from tests.simulation import World, make_tests, simulate

LOCAL, MORUK, ILKO2, PI = (MachineName(name) for name in ("local", "moruk", "ilko2", "pi"))
CORES = {LOCAL: 16, MORUK: 24, ILKO2: 4, PI: 4}
TRUE = {LOCAL: 1.0, MORUK: 0.6, ILKO2: 1.3, PI: 0.4}  # all are configured as 1.0
TEST_NOISE = 0.25  # sigma of the logarithm of a test's seconds from run to run
MACHINE_NOISE = 0.07  # the same of a machine's speed


@dataclass(frozen=True)
class LearntRun:
    """One run, and what is believed after it."""

    ratio: float  # makespan over the lower bound of what was true
    speeds: Mapping[MachineName, LearntSpeed]

    def relative(self) -> dict[MachineName, float]:
        return relative({name: learnt.speed for name, learnt in self.speeds.items()})


def relative(speeds: Mapping[MachineName, float]) -> dict[MachineName, float]:
    """Over their geometric mean: no run tells fast machines from short tests."""
    mean = exp(fsum(map(log, speeds.values())) / len(speeds))
    return {name: speed / mean for name, speed in speeds.items()}


def machines(speeds: Mapping[MachineName, float]) -> list[MachineSpec]:
    return [MachineSpec(name=name, cores=CORES[name], speed=speed) for name, speed in speeds.items()]


def runs_in_a_row(count: int, *, seed: int, tests: int = 720, learn: bool = True) -> list[LearntRun]:
    """`count` runs from nothing known on; without `learn` speeds stay as configured, and only durations are learnt."""
    random = Random(seed)
    suite = tuple(replace(test, unit=UnitId(test.id)) for test in make_tests(tests, unit_size=20))
    files = {test.file: random.lognormvariate(1.0, 0.4) for test in suite}
    usual = {test.id: files[test.file] * random.lognormvariate(0, 0.6) for test in suite}
    configured = machines(dict.fromkeys(CORES, 1.0))
    samples: list[DurationSample] = []
    found: list[LearntRun] = []
    for number in range(count):
        speeds = learn_speeds(samples if learn else (), configured)
        expected = {name: e.seconds for name, e in learn_durations(suite, samples, speeds).items()}
        believed = [replace(each, speed=speeds.of(each.name).speed) for each in configured]
        today = {test: seconds * random.lognormvariate(0, TEST_NOISE) for test, seconds in usual.items()}
        true = machines({name: speed * random.lognormvariate(0, MACHINE_NOISE) for name, speed in TRUE.items()})
        doubt = max(speeds.of(each.name).error for each in believed) if learn else 0.0
        least = planner.lower_bound(planner.units_of(suite, expected), believed)
        share = planner.head_share(float(bool(samples)), len(believed), doubt, least)
        world = World(seconds=today, speeds={each.name: each.speed for each in true})
        # Without copies of stragglers, which make up for some of what is misjudged: this is about learning.
        terms = {"head_share": share, "copies": False}
        state = simulate(suite, believed, world, expected=expected, terms=terms)
        samples += _samples(state, RunId(f"run-{number}"), float(number))
        assert state.finished is not None
        bound = planner.lower_bound(planner.units_of(suite, today), true)
        found.append(LearntRun(state.finished.makespan.realised / bound, learn_speeds(samples, configured).machines))
    return found


def _samples(state: RunState, run: RunId, at: float) -> list[DurationSample]:
    return [
        DurationSample(
            test=record.test.id,
            file=record.test.file,
            project=record.test.project,
            machine=machine,
            run=run,
            at=at,
            seconds=result.seconds,
            verdict=result.verdict,
            workers=CORES[machine],
        )
        for record in state.ledger.records.values()
        for _, machine, result in record.history
        if result.seconds is not None
    ]
