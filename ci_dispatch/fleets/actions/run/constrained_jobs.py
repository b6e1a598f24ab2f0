"""The jobs of tests that not every machine may have at any time: all jobs of a dispatch may run at once. Pure.

So what holds one lock of the whole fleet is one job, and so is what holds one lock of a machine on each. They are all
pinned: nobody knows which machine takes a job of the pool.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ci_dispatch.core.model import MachineName, MachineSpec, ShardKind, TestId
from ci_dispatch.fleets.actions.run.matrix import MatrixJob, deal, pinned_job
from ci_dispatch.planning import planner
from ci_dispatch.planning.joined import Joined
from ci_dispatch.run.ledger import TestRecord
from ci_dispatch.run.placement import Placement

Given = Mapping[MachineName, Sequence[TestRecord]]


def machines_for(
    records: Sequence[TestRecord],
    machines: Sequence[MachineSpec],
    placement: Placement,
    expected: Mapping[TestId, float],
    *,
    silent: Iterable[MachineName] = (),
    now: float,
) -> Given:
    """Which of `machines` gets which of `records` now; what must wait is left out.

    What is in one place, or holds one lock of the fleet, goes to one machine. Each goes where it would end first;
    `silent` machines, and the one that a test should avoid, get only what nobody else may have.
    """
    may = {spec.name: {r.test.id for r in placement.fitting(records, spec, machines, now)} for spec in machines}
    quiet = frozenset(silent)
    ends: dict[MachineName, float] = {spec.name: 0.0 for spec in machines}
    given: dict[MachineName, list[TestRecord]] = {}
    for piece in _pieces(records, placement, expected):
        ranked: list[tuple[tuple[float, ...], MachineName, list[TestRecord]]] = []
        for number, spec in enumerate(machines):
            allowed = [record for record in piece if record.test.id in may[spec.name]]
            if not allowed:
                continue
            work, locked = _work(allowed, expected), any(placement.of_test(r.test.id).lock for r in allowed)
            avoided = any(record.avoid_machine == spec.name for record in allowed)
            end = ends[spec.name] + work / (spec.speed if locked else spec.power)
            idle = spec.workers_per_shard if locked else 1  # of these workers one has something to do
            rank: tuple[float, ...] = (-work, spec.name in quiet, avoided, end, idle, number)
            ranked.append((rank, spec.name, allowed))
        if ranked:
            best, name, allowed = min(ranked, key=lambda each: each[0])
            ends[name] = best[3]
            given.setdefault(name, []).extend(allowed)
    return given


def constrained_jobs(
    given: Given,
    machines: Sequence[MachineSpec],
    placement: Placement,
    expected: Mapping[TestId, float],
    *,
    first: int,
    most: float,
) -> list[MatrixJob]:
    """The jobs, numbered from `first`; one that holds a lock has about `most` expected seconds, the rest waits.

    Its tests run one after another, so a test that may have ended its runner needs no job of its own: it is the last.
    """
    jobs: list[MatrixJob] = []
    specs = {spec.name: spec for spec in machines}
    for name, records in given.items():
        spec = specs[name]
        by_lock: dict[str, list[TestRecord]] = {}
        for record in records:
            by_lock.setdefault(placement.of_test(record.test.id).lock, []).append(record)
        for lock, locked in by_lock.items():
            parts = [_no_more_than(most * spec.speed, locked, expected)] if lock else _parts(locked, spec, expected)
            for units, kind in parts:
                jobs.append(pinned_job(first + len(jobs), kind, spec, units, lock=lock))
    return jobs


def _pieces(
    records: Sequence[TestRecord], placement: Placement, expected: Mapping[TestId, float]
) -> list[list[TestRecord]]:
    """What goes to one machine at once, the most work first."""
    joined = Joined[str]()
    names: dict[TestId, str] = {}
    for record in records:
        demand, unit = placement.of_test(record.test.id), f"unit {record.test.unit}"
        lock = f"lock {demand.lock}" if demand.lock and not demand.on_machine else unit
        place = f"place {demand.place}" if demand.place else unit
        joined.join([unit, lock, place])
        names[record.test.id] = unit
    pieces: dict[str, list[TestRecord]] = {}
    for record in records:
        pieces.setdefault(min(joined.of(names[record.test.id])), []).append(record)
    return sorted(pieces.values(), key=lambda piece: (-_work(piece, expected), piece[0].test.id))


def _work(records: Iterable[TestRecord], expected: Mapping[TestId, float]) -> float:
    return sum(expected.get(record.test.id, 1.0) for record in records)


def _kind(record: TestRecord) -> ShardKind:
    if record.retries:
        return ShardKind.RETRY
    return ShardKind.REASSIGNED if record.reassignments or record.takeovers else ShardKind.HEAD


def _no_more_than(
    most: float, records: Sequence[TestRecord], expected: Mapping[TestId, float]
) -> tuple[list[planner.Unit], ShardKind]:
    suspects = {record.test.unit for record in records if record.isolate}
    units = planner.units_of((record.test for record in records), expected)
    units.sort(key=lambda unit: unit.id in suspects)
    work = 0.0
    taken = [unit for unit in units if (work := work + unit.seconds) <= most] or units[:1]
    first = next(record for record in records if record.test.id == taken[0].tests[0])
    return taken, _kind(first)


def _parts(
    records: Sequence[TestRecord], machine: MachineSpec, expected: Mapping[TestId, float]
) -> list[tuple[list[planner.Unit], ShardKind]]:
    """Suspects alone, the others by why they run, in all slots of the machine."""
    groups: dict[tuple[str, ShardKind], list[TestRecord]] = {}
    for record in records:
        groups.setdefault((record.test.unit if record.isolate else "", _kind(record)), []).append(record)
    return [
        (part, kind)
        for (_, kind), each in groups.items()
        for part in deal(planner.units_of((record.test for record in each), expected), machine.slots)
    ]
