"""What a recorded run shows of its world: durations, speeds, delays, failures and losses. Pure.

A test takes as long as it took, by the speed that its machine showed. What a run does not show (how long a test takes
that did not run) is as the run expected it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from ci_dispatch.core.codec import replace
from ci_dispatch.core.events import (
    AttemptFinished,
    AttemptStarted,
    LeaseGranted,
    MachineChecked,
    MachineLost,
    MachineQuarantined,
    MachineReleased,
    Stamped,
    TestFinished,
)
from ci_dispatch.core.model import ANY_MACHINE, Ended, LeaseNumber, MachineName, MachineSpec, TestId, Verdict
from ci_dispatch.fleets.machines.shard_queue import ShardQueue
from ci_dispatch.fleets.simulated.world import Behaviour, MachineDelays, Outage, World
from ci_dispatch.run.ledger import AttemptRecord
from ci_dispatch.run.run_end import expected_seconds
from ci_dispatch.run.state import RunState

REFUSES = 1.0  # seconds; what it takes to see that a machine which is gone takes no job


def recorded_fleet(state: RunState) -> tuple[MachineSpec, ...]:
    """The machines of a run, with the cores they said they have."""
    return tuple(machine.spec for name, machine in state.machines.items() if name != ANY_MACHINE)


def recorded_world(state: RunState, events: Iterable[Stamped], lease: float) -> World:
    """The world of a run that has finished; `lease`: seconds of silence after which a machine counted as lost."""
    expected, fleet, events = expected_seconds(state), recorded_fleet(state), list(events)
    speeds = ShardQueue(state.ledger, expected).observed(fleet, state.now).speeds
    checks: dict[MachineName, float] = {}  # seconds until the first answer
    granted: dict[LeaseNumber, float] = {}
    for stamped in events:
        match stamped.event:
            case MachineChecked(machine=name):
                checks.setdefault(name, stamped.at - state.started_at)
            case LeaseGranted(lease=given):
                granted[given.number] = stamped.at - state.started_at
            case _:
                pass
    work: dict[TestId, list[float]] = {}
    verdicts: dict[TestId, Sequence[Verdict]] = {}
    for test, record in state.ledger.records.items():
        ran = [(speeds.get(machine, 1.0), result) for _, machine, result in record.history]
        if ran:
            work[test] = [speed * result.seconds if result.seconds is not None else expected.get(test, 1.0)
                          for speed, result in ran]  # fmt: skip
            verdicts[test] = [result.verdict for _, result in ran]
    return World(
        seconds={test: expected.get(test, 1.0) for test in state.ledger.records},
        repeats=work,
        behaviour={test: _in_turn(own) for test, own in verdicts.items()},
        outages=_outages(state, events, granted, lease),
        deaths={test: record.crashes for test, record in state.ledger.records.items() if record.crashes},
        speeds=speeds,
        delays={machine.name: _delays(state, machine, checks.get(machine.name), granted) for machine in fleet},
        refuses=REFUSES,
    )


def held_out(world: World) -> World | None:
    """The same with each machine's delays as the others had them; None where no two machines show theirs.

    A world is fitted to its run: where a machine had one shard, its start-up is whatever was left of that shard's time,
    so the run as it was comes out right by construction. This one says how well delays carry over.
    """
    known = {name: delays for name, delays in world.delays.items() if delays.start_up is not None}
    if len(known) < 2:
        return None
    return replace(world, delays={name: _as_others(name, own, known) for name, own in world.delays.items()})


def _as_others(machine: MachineName, own: MachineDelays, known: Mapping[MachineName, MachineDelays]) -> MachineDelays:
    others = [delays for name, delays in known.items() if name != machine]
    return MachineDelays(
        check=own.check,  # all machines wait for the slowest
        first=median(delays.first for delays in others),
        later=median(delays.later for delays in others),
        start_up=median(delays.start_up or 0.0 for delays in others),
        collect=median(delays.collect for delays in others),
    )


def _in_turn(verdicts: Sequence[Verdict]) -> Behaviour:
    return lambda execution: verdicts[min(execution, len(verdicts) - 1)]


def _delays(
    state: RunState, machine: MachineSpec, check: float | None, granted: Mapping[LeaseNumber, float]
) -> MachineDelays:
    attempts = [attempt for attempt in state.ledger.attempts.values() if attempt.lease.machine == machine.name]
    waits = [
        attempt.started - state.started_at - granted[attempt.lease.number]
        for attempt in attempts
        if attempt.started is not None
    ]
    whole = [attempt for attempt in attempts if attempt.result is not None and attempt.result.ended is Ended.EXITED]
    starts = [max(0.0, took - _tests_take(attempt, machine)) for attempt in whole if (took := _job_seconds(attempt))]
    collects = [_collecting(attempt) for attempt in whole]
    return MachineDelays(
        check=check,
        first=waits[0] if waits else 0.0,
        later=median(waits[1:]) if waits[1:] else 0.0,
        start_up=median(starts) if starts else None,
        collect=median(collects) if collects else 0.0,
    )


def _job_seconds(attempt: AttemptRecord) -> float:
    """By the clock of its machine, or else by ours; 0.0 when neither is known."""
    assert attempt.result is not None
    if attempt.result.seconds or attempt.started is None or attempt.ended is None:
        return attempt.result.seconds
    return attempt.ended - attempt.started


def _collecting(attempt: AttemptRecord) -> float:
    if attempt.started is None or attempt.ended is None:
        return 0.0
    return max(0.0, attempt.ended - attempt.started - _job_seconds(attempt))


def _tests_take(attempt: AttemptRecord, machine: MachineSpec) -> float:
    """Seconds of an attempt's tests over its workers, who take them in their order."""
    assert attempt.result is not None
    seconds = {result.test: result.seconds or 0.0 for result in attempt.result.results}
    free = [0.0] * machine.workers_per_shard
    for test in attempt.lease.shard.tests:
        heapq.heapreplace(free, free[0] + seconds.get(test, 0.0))
    return max(free)


def _outages(
    state: RunState, events: Iterable[Stamped], granted: Mapping[LeaseNumber, float], lease: float
) -> list[Outage]:
    """When machines were away, not well, or fit for nothing."""
    since: dict[MachineName, float] = {}
    alive: dict[MachineName, float] = {}  # when each gave a sign of life last
    found: list[Outage] = []

    def back(name: MachineName, at: float) -> None:
        if name in since:
            found.append(Outage(name, since.pop(name), at))

    for stamped in events:
        at = stamped.at - state.started_at
        match stamped.event:
            case MachineChecked(machine=name, healthy=True):
                alive[name] = at
                if not state.machines[name].quarantined:
                    back(name, at)
            case MachineChecked(machine=name):
                since.setdefault(name, alive.get(name, 0.0))
            case MachineLost(machine=name):
                since.setdefault(name, max(alive.get(name, 0.0), at - lease))
            case MachineQuarantined(machine=name):
                since.setdefault(name, _first_in_vain(state, name, granted, at))
            case MachineReleased(machine=name):
                back(name, at)
            case AttemptStarted(lease=number) | TestFinished(lease=number):
                alive[state.ledger.attempts[number].lease.machine] = at
            case AttemptFinished(machine=name, result=result) if result.ended is Ended.EXITED:
                alive[name] = at
            case _:
                pass
    return [*found, *(Outage(name, begin) for name, begin in since.items())]


def _first_in_vain(state: RunState, name: MachineName, granted: Mapping[LeaseNumber, float], until: float) -> float:
    """When the first of a machine's last attempts that came to nothing was given to it."""
    began = until
    for attempt in reversed(state.ledger.attempts.values()):
        given = granted[attempt.lease.number]
        if attempt.lease.machine != name or given > until:
            continue
        if attempt.result is None or any(each.verdict is not Verdict.NOT_RUN for each in attempt.result.results):
            break
        began = given
    return began
