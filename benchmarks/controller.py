"""What the controller itself costs: CPU, memory and journal for 100 machines and 10,000 tests, simulated."""

from __future__ import annotations

import resource
import tempfile
import time
from random import Random

from ci_dispatch.core.model import MachineName, MachineSpec
from ci_dispatch.run.journal import Journal
from tests.simulation import World, make_tests, simulate

MACHINES, TESTS = 100, 10_000


def main() -> None:
    random = Random(1)
    fleet = [
        MachineSpec(name=MachineName(f"m{n:03}"), cores=random.choice([4, 8, 16]), speed=random.choice([0.5, 1.0]))
        for n in range(MACHINES)
    ]
    tests = make_tests(TESTS)
    seconds = {test.id: random.lognormvariate(1.5, 0.8) for test in tests}
    with tempfile.TemporaryFile("w+b", buffering=0) as file:
        before = time.process_time()
        state = simulate(tests, fleet, World(seconds=seconds), journal=Journal(file))
        cpu = time.process_time() - before
        journal = file.tell()
    assert state.finished is not None
    makespan = state.finished.makespan.realised
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print("| machines | tests | makespan | CPU, simulation included | share of one core | memory | journal |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    print(
        f"| {MACHINES} | {TESTS:,} | {makespan:.0f} s | {cpu:.2f} s | {cpu / makespan:.1%} | {memory:.0f} MiB "
        f"| {journal / 2**20:.1f} MiB |"
    )


if __name__ == "__main__":
    main()
