"""Makespan over the lower bound on a model of the reference fleet: whole runs of the real engine in virtual time."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from statistics import mean

from ci_dispatch.core.model import MachineName, MachineSpec
from ci_dispatch.planning import planner
from tests.simulation import World, make_tests, simulate

CORES = {"local": 16, "moruk": 24, "ilko2": 4, "pi": 4}
SPEEDS = (1.0, 0.8, 1.0, 0.5)
TESTS = 720
NOISE = 0.25  # sigma of the log of a known duration
SEEDS = 20


def fleet(speeds: Sequence[float]) -> list[MachineSpec]:
    return [
        MachineSpec(name=MachineName(name), cores=cores, speed=speed)
        for (name, cores), speed in zip(CORES.items(), speeds, strict=True)
    ]


def one(seed: int, share: float, *, misjudged: float, start_up: float) -> float:
    """Realised makespan over the lower bound of what is true, when the plan believes something else."""
    random = Random(seed)
    tests = make_tests(TESTS)
    seconds = {test.id: random.lognormvariate(1.0, 0.7) for test in tests}
    expected = {test: value * random.lognormvariate(0, NOISE) for test, value in seconds.items()}
    believed = fleet([speed * random.lognormvariate(0, misjudged) for speed in SPEEDS])
    true = fleet(SPEEDS)
    world = World(seconds=seconds, start_up=start_up, speeds={machine.name: machine.speed for machine in true})
    state = simulate(tests, believed, world, expected=expected, terms={"head_share": share})
    assert state.finished is not None
    return state.finished.makespan.realised / planner.lower_bound(planner.units_of(tests, seconds), true)


def main() -> None:
    print(f"{TESTS} tests, durations known to ±{NOISE:.0%}, {SEEDS} seeds; makespan / lower bound, mean and p90\n")
    print("| head | speeds right | p90 | speeds misjudged (sigma 0.3) | p90 |")
    print("|---:|---:|---:|---:|---:|")
    for share in (0.0, 0.5, 0.75, 0.85, planner.HEAD_SHARE_KNOWN, 1.0):
        cells = []
        for misjudged in (0.0, 0.3):
            ratios = sorted(one(seed, share, misjudged=misjudged, start_up=planner.START_UP) for seed in range(SEEDS))
            cells += [f"{mean(ratios):.2f}", f"{ratios[int(len(ratios) * 0.9)]:.2f}"]
        print(f"| {share:.2f} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
