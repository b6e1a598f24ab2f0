"""Samples as a history would give them, written short."""

from __future__ import annotations

from ci_dispatch.core.model import MachineName, RunId, TestId, Verdict
from ci_dispatch.planning.samples import DurationSample


def sample(
    test: str = "t",
    run: int = 0,
    seconds: float = 10.0,
    *,
    machine: str = "a",
    verdict: Verdict = Verdict.PASSED,
    project: str = "",
    busy: float = 1.0,
    workers: int = 4,
    speed: float = 1.0,
) -> DurationSample:
    return DurationSample(
        test=TestId(test),
        file="f",
        project=project,
        machine=MachineName(machine),
        run=RunId(f"run-{run}"),
        at=float(run),
        seconds=seconds,
        verdict=verdict,
        busy=busy,
        workers=workers,
        speed=speed,
    )
