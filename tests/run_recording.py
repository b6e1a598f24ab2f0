"""The events of a made-up run, written down one after another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from ci_dispatch.core.events import AttemptFinished, Event, LeaseGranted, Stamped
from ci_dispatch.core.groups import TestGroup
from ci_dispatch.core.model import (
    AttemptResult,
    Ended,
    Lease,
    LeaseNumber,
    MachineName,
    MachineSpec,
    Shard,
    ShardId,
    ShardKind,
    Test,
    TestId,
    TestResult,
)
from ci_dispatch.run.state import RunState
from tests.simulation import run_started

BEGAN = 100.0


class RunRecording:
    """Times are seconds since the run began; `state` is what the events come to."""

    def __init__(
        self,
        tests: Sequence[Test],
        fleet: Sequence[MachineSpec],
        seconds: float = 4.0,
        groups: Sequence[TestGroup] = (),
    ) -> None:
        """Every test is expected to take `seconds`."""
        self.events: list[Stamped] = []
        self.state = RunState()
        self.say(0.0, run_started(list(tests), list(fleet), {test.id: seconds for test in tests}, groups))

    def say(self, at: float, *events: Event) -> Self:
        for event in events:
            self.events.append(Stamped(seq=len(self.events) + 1, at=BEGAN + at, event=event))
            self.state.apply(self.events[-1])
        return self

    def give(
        self, at: float, number: int, machine: MachineName, *tests: TestId, kind: ShardKind = ShardKind.TAIL
    ) -> Self:
        shard = Shard(id=ShardId(f"{kind}-{number}"), kind=kind, tests=tests)
        lease = Lease(number=LeaseNumber(number), shard=shard, machine=machine, granted=BEGAN + at)
        return self.say(at, LeaseGranted(lease=lease))

    def end(
        self, at: float, number: int, *results: TestResult, ended: Ended = Ended.EXITED, stale: bool = False
    ) -> Self:
        machine = self.state.ledger.attempts[LeaseNumber(number)].lease.machine
        result = AttemptResult(ended=ended, results=results)
        return self.say(at, AttemptFinished(lease=LeaseNumber(number), machine=machine, result=result, stale=stale))
