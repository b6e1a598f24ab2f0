"""What earlier runs say of a machine: its speed against others, how busy it was, and failures that were its own."""

from __future__ import annotations

from math import log

import pytest

from ci_dispatch.core import codec
from ci_dispatch.core.model import MachineName, MachineSpec, RunId, TestId, Verdict
from ci_dispatch.planning.machine_record import machine_records
from ci_dispatch.planning.samples import DurationSample

FAST, SLOW = (MachineSpec(name=MachineName(name), cores=4) for name in ("fast", "slow"))


def sample(number: int, machine: MachineSpec, seconds: float, **more: object) -> DurationSample:
    one = DurationSample(
        test=TestId(f"t{number}"), file="f", project="", machine=machine.name, run=RunId("r"), at=0.0, seconds=seconds,
        verdict=Verdict.PASSED, busy=0.8, workers=4,
    )  # fmt: skip
    return codec.replace(one, **more)


def test_a_machine_that_takes_twice_as_long_is_learnt_to_be_slow() -> None:
    samples = [
        sample(n, machine, 1.0 + n + (1.0 + n) * (machine is SLOW)) for n in range(40) for machine in (FAST, SLOW)
    ]
    fast, slow = machine_records(samples, [FAST, SLOW])
    assert log(fast.learnt.speed / slow.learnt.speed) == pytest.approx(log(2), abs=0.15)
    assert (fast.learnt.tests, fast.attempts, fast.workers) == (40, 40, 4)
    assert fast.busy == pytest.approx(0.8)


def test_only_what_passes_elsewhere_in_the_same_run_is_a_failure_of_its_own() -> None:
    failed = {"verdict": Verdict.FAILED}
    samples = [
        sample(1, SLOW, 1.0, **failed), sample(1, FAST, 1.0),
        sample(2, SLOW, 1.0, **failed), sample(2, SLOW, 1.0),
        sample(3, SLOW, 1.0, **failed), sample(3, FAST, 1.0, run=RunId("another")),
        sample(4, SLOW, 1.0, **failed), sample(4, FAST, 1.0, **failed),
    ]  # fmt: skip
    assert [record.own_failures for record in machine_records(samples, [FAST, SLOW])] == [0, 1]


def test_a_machine_nobody_has_seen_is_as_configured() -> None:
    [record] = machine_records([], [codec.replace(FAST, speed=0.7)])
    assert (record.learnt.speed, record.learnt.tests, record.attempts) == (0.7, 0, 0)
    assert (record.workers, record.busy, record.own_failures) == (0, None, 0)
