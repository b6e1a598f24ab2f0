"""Samples: what one attempt of a test showed about how long it takes. Rows of the history, input of the plan."""

from __future__ import annotations

from ci_dispatch.core.codec import Value
from ci_dispatch.core.model import MachineName, RunId, TestId, Verdict


class DurationSample(Value):
    """How long one attempt of a test took on a machine."""

    test: TestId
    file: str
    project: str
    machine: MachineName
    run: RunId
    at: float  # seconds since the epoch
    seconds: float  # by the clock of that machine
    verdict: Verdict  # of that attempt
    busy: float = 1.0  # share of the machine's workers that were busy meanwhile, 0 to 1
    workers: int = 0  # how many it had then; 0: not known
    speed: float = 1.0  # as configured then
