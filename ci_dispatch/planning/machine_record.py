"""What earlier runs say of each machine: its speed, how busy it was, failures that were its own. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from ci_dispatch.core.model import MachineName, MachineSpec, RunId, TestId, Verdict
from ci_dispatch.planning.samples import DurationSample
from ci_dispatch.planning.speeds import LearntSpeed, learn_speeds
from ci_dispatch.planning.start_up import invocations_of, learn_start_up


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineRecord:
    """A machine of the fleet, as configured and as earlier runs have shown it."""

    machine: MachineSpec
    learnt: LearntSpeed
    attempts: int  # of tests, among those that are kept
    start_up: float | None = None  # seconds of a test runner before its first test, as learnt; None: not known
    workers: int = 0  # in the newest run; 0: not known
    next_workers: int = 0  # that it tries in the next run; 0: nobody looks for a better number
    busy: float | None = None  # share of its workers that were busy while it ran tests, 0 to 1
    own_failures: int = 0  # attempts that failed here while the same test passed elsewhere in the same run


def machine_records(
    samples: Sequence[DurationSample], machines: Iterable[MachineSpec], workers: Mapping[MachineName, int] | None = None
) -> list[MachineRecord]:
    """One for each of `machines`, from samples, newest last; `workers` are those that tuned machines try next."""
    fleet = list(machines)
    speeds = learn_speeds(samples, fleet)
    start_ups = learn_start_up(invocations_of(samples, fleet))
    passed: defaultdict[tuple[RunId, TestId], set[MachineName]] = defaultdict(set)
    of_machine: defaultdict[MachineName, list[DurationSample]] = defaultdict(list)
    for sample in samples:
        of_machine[sample.machine].append(sample)
        if sample.verdict is Verdict.PASSED:
            passed[sample.run, sample.test].add(sample.machine)
    records = []
    for machine in fleet:
        own = of_machine[machine.name]
        failed = [sample for sample in own if sample.verdict is Verdict.FAILED]
        busy = [sample.busy for sample in own if sample.workers]
        records.append(
            MachineRecord(
                machine=machine,
                learnt=speeds.of(machine.name),
                attempts=len(own),
                start_up=start_ups.get(machine.name),
                workers=next((sample.workers for sample in reversed(own) if sample.workers), 0),
                next_workers=(workers or {}).get(machine.name, 0),
                busy=fmean(busy) if busy else None,
                own_failures=sum(bool(passed[sample.run, sample.test] - {machine.name}) for sample in failed),
            )
        )
    return records
