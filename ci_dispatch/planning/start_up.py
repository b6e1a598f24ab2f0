"""How long a test runner needs before its first test and after its last, on each machine, learnt from invocations.

An invocation takes at least its start-up, and then its tests over its workers or its longest test. What it takes beyond
that is start-up and workers that had nothing left to do, so it is never less than the start-up: a low quantile of many
is near it. Drawn to the usual start-up while invocations are few.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from ci_dispatch.core.codec import Value
from ci_dispatch.core.model import MachineName, RunId
from ci_dispatch.planning.planner import START_UP

KEPT = 20  # invocations of each machine, the newest
LOW = 0.25  # quantile
PRIOR = 2.0  # invocations that the usual start-up counts as


class InvocationSample(Value):
    """One invocation of a test runner that ended by itself."""

    machine: MachineName
    run: RunId
    at: float  # seconds since the epoch
    seconds: float  # of the whole invocation, by the clock of its machine
    tests_seconds: float  # of its tests together
    longest: float  # of its tests, in seconds
    workers: int = 1  # how many tests it ran at once

    @property
    def overhead(self) -> float:
        """Seconds in which no work could have kept it busy."""
        return max(0.0, self.seconds - max(self.longest, self.tests_seconds / max(1, self.workers)))


def learn_start_up(invocations: Iterable[InvocationSample]) -> dict[MachineName, float]:
    """Seconds for each machine that has samples, newest last; every other one needs `START_UP`."""
    seen: defaultdict[MachineName, list[float]] = defaultdict(list)
    for invocation in invocations:
        seen[invocation.machine].append(invocation.overhead)
    learnt = {}
    for machine, every in seen.items():
        kept = sorted(every[-KEPT:])
        low = kept[int(len(kept) * LOW)]
        learnt[machine] = (low * len(kept) + START_UP * PRIOR) / (len(kept) + PRIOR)
    return learnt
