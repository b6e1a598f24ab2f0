"""How long a test runner needs before its first test and after its last, on each machine, learnt from invocations.

An invocation takes at least its start-up, and then its tests over its workers or its longest test. What it takes beyond
that is start-up and workers that had nothing left to do, so it is never less than the start-up: a low quantile of many
is near it. Drawn to the usual start-up while invocations are few.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from ci_dispatch.core.codec import Value
from ci_dispatch.core.model import USUAL_START_UP, MachineName, MachineSpec, RunId
from ci_dispatch.planning.samples import DurationSample

RUNS = 8  # the newest: of older ones the history may have only some of an invocation's tests
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


def invocations_of(samples: Sequence[DurationSample], machines: Iterable[MachineSpec]) -> list[InvocationSample]:
    """The invocations that samples, newest last, tell of: those that ended on one machine at one moment.

    How long one took follows from the share of its workers that were busy. Where that is at its bound (one worker, or
    all) nothing follows, nor on a machine with several slots, whose invocations overlap.
    """
    several = {machine.name for machine in machines if machine.slots > 1}
    runs = set(_newest(samples))
    together: defaultdict[tuple[RunId, MachineName, float], list[DurationSample]] = defaultdict(list)
    for sample in samples:
        if sample.run in runs and sample.machine not in several and sample.workers:
            together[sample.run, sample.machine, sample.at].append(sample)
    found = []
    for (run, machine, at), own in together.items():
        workers, busy = own[0].workers, own[0].busy
        if 1 / workers < busy < 1:
            work = sum(sample.seconds for sample in own)
            found.append(
                InvocationSample(
                    machine=machine,
                    run=run,
                    at=at,
                    seconds=work / (busy * workers),
                    tests_seconds=work,
                    longest=max(sample.seconds for sample in own),
                    workers=workers,
                )
            )
    return sorted(found, key=lambda invocation: invocation.at)


def _newest(samples: Sequence[DurationSample]) -> Collection[RunId]:
    """The runs of the newest samples, which are last."""
    return list(dict.fromkeys(sample.run for sample in reversed(samples)))[:RUNS]


def learn_start_up(
    invocations: Iterable[InvocationSample], believed: Mapping[MachineName, float] | None = None
) -> dict[MachineName, float]:
    """Seconds for each machine that has samples, newest last; every other one needs `USUAL_START_UP`.

    `believed`: what was known of machines before.
    """
    seen: defaultdict[MachineName, list[float]] = defaultdict(list)
    for invocation in invocations:
        seen[invocation.machine].append(invocation.overhead)
    learnt = {}
    for machine, every in seen.items():
        kept = sorted(every[-KEPT:])
        low = kept[int(len(kept) * LOW)]
        before = (believed or {}).get(machine, USUAL_START_UP)
        learnt[machine] = (low * len(kept) + before * PRIOR) / (len(kept) + PRIOR)
    return learnt
