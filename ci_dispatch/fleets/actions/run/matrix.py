"""From a plan to the jobs of a GitHub matrix: which shards there are and who may take them. Pure.

An empty matrix is an error on GitHub, so nothing here ever makes one. `batches.py` puts the jobs into dispatches.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from ci_dispatch.config.choices import Strategy
from ci_dispatch.core.codec import Value
from ci_dispatch.core.errors import NothingToRun
from ci_dispatch.core.model import ANY_MACHINE, MachineName, MachineSpec, Shard, ShardId, ShardKind
from ci_dispatch.planning import planner


class MatrixJob(Value):
    """One job of the matrix."""

    shard: Shard
    machine: MachineName  # ANY_MACHINE: whoever takes it
    labels: tuple[str, ...]
    workers: int = 0  # 0: as many as the machine that takes it has cores
    lock: str = ""  # that it holds while it runs (`planning.constraints`): its tests run one after another


def matrix_jobs(
    units: Sequence[planner.Unit],
    machines: Sequence[MachineSpec],
    *,
    strategy: Strategy,
    pool: tuple[str, ...] = ("self-hosted",),
    head_share: float = planner.HEAD_SHARE_UNKNOWN,
    shards: int = 0,
    kind: ShardKind | None = None,
    first: int = 1,
) -> list[MatrixJob]:
    """The jobs for `units`, longest first inside each kind; numbered from `first`.

    `shards` cuts the pinned part (or, when all is pooled, everything) into about so many jobs, shared out by power; 0
    makes one for each slot of a machine. `pool` are the labels that every machine's runners share.

    Raises:
        NothingToRun: for no units or no machines.
    """
    if not units or not machines:
        raise NothingToRun(
            "No matrix was made", why="there are no tests to run" if machines else "no machine is usable"
        )
    share = {Strategy.PINNED: planner.EVERYTHING, Strategy.POOLED: 0.0, Strategy.MIXED: head_share}[strategy]
    heads = planner.heads(units, machines, share)
    specs = {machine.name: machine for machine in machines}
    pieces = _pieces([specs[name] for name in heads], shards)
    jobs: list[tuple[ShardKind, MachineName, list[planner.Unit]]] = [
        (ShardKind.HEAD, name, piece) for name, given in heads.items() for piece in deal(given, pieces[name])
    ]
    taken = {unit.id for given in heads.values() for unit in given}
    rest = [unit for unit in units if unit.id not in taken]
    if strategy is Strategy.POOLED and shards:
        jobs += [(ShardKind.TAIL, ANY_MACHINE, piece) for piece in deal(rest, shards)]
    else:
        jobs += [(ShardKind.TAIL, ANY_MACHINE, piece) for piece in _tail(rest, machines)]
    return [
        _entry(number, kind or made, specs.get(name), given, pool)
        for number, (made, name, given) in enumerate(jobs, first)
    ]


def strategy_for(strategy: Strategy, machines: Collection[MachineName], everybody: Collection[MachineName]) -> Strategy:
    """The strategy for these machines out of all whose runners have the pool's labels.

    Nothing is left to the pool where a runner of a machine that was not asked for, or is not well, might take it.
    """
    return strategy if set(machines) >= set(everybody) else Strategy.PINNED


def _entry(
    number: int, kind: ShardKind, machine: MachineSpec | None, units: Sequence[planner.Unit], pool: tuple[str, ...]
) -> MatrixJob:
    if machine is None:
        return MatrixJob(shard=_shard(number, kind, units), machine=ANY_MACHINE, labels=pool)
    return pinned_job(number, kind, machine, units)


def pinned_job(
    number: int, kind: ShardKind, machine: MachineSpec, units: Sequence[planner.Unit], *, lock: str = ""
) -> MatrixJob:
    """A job for this machine alone."""
    workers = machine.workers_per_shard if machine.cores else machine.workers
    return MatrixJob(
        shard=_shard(number, kind, units),
        machine=machine.name,
        labels=labels_of(machine),
        workers=1 if lock else workers,
        lock=lock,
    )


def _shard(number: int, kind: ShardKind, units: Sequence[planner.Unit]) -> Shard:
    return Shard(
        id=ShardId(f"{kind}-{number}"),
        kind=kind,
        tests=tuple(test for unit in units for test in unit.tests),
        seconds=sum(unit.seconds for unit in units),
    )


def labels_of(machine: MachineSpec) -> tuple[str, ...]:
    """What `runs-on` asks for."""
    return machine.labels or ("self-hosted", machine.name)


def _pieces(machines: Sequence[MachineSpec], shards: int) -> dict[MachineName, int]:
    """How many jobs each machine's head becomes: its slots, or its share of `shards` by power (largest remainder)."""
    if not shards:
        return {machine.name: max(1, machine.slots) for machine in machines}
    whole = sum(machine.power for machine in machines) or 1.0
    exact = {machine.name: shards * machine.power / whole for machine in machines}
    pieces = {name: max(1, int(share)) for name, share in exact.items()}
    by_remainder = sorted(exact, key=lambda name: (int(exact[name]) - exact[name], name))
    for name in by_remainder[: max(0, shards - sum(pieces.values()))]:
        pieces[name] += 1
    return pieces


def deal(units: Iterable[planner.Unit], pieces: int) -> list[list[planner.Unit]]:
    """`units` in at most `pieces` equal parts (LPT), longest part first; no part is empty."""
    parts: list[list[planner.Unit]] = [[] for _ in range(max(1, pieces))]
    sums = [0.0] * len(parts)
    for unit in sorted(units, key=lambda unit: (-unit.seconds, unit.id)):
        least = min(range(len(parts)), key=lambda index: (sums[index], len(parts[index]), index))
        parts[least].append(unit)
        sums[least] += unit.seconds
    filled = [(total, part) for total, part in zip(sums, parts, strict=True) if part]
    return [part for _, part in sorted(filled, key=lambda pair: -pair[0])]


def _tail(rest: list[planner.Unit], machines: Sequence[MachineSpec]) -> list[list[planner.Unit]]:
    """Ever smaller shards, longest first, as if the machines pulled in turn (weighted factoring)."""
    parts: list[list[planner.Unit]] = []
    turn = 0
    while rest:
        part = planner.pull(rest, machines[turn % len(machines)], machines)
        gone = {unit.id for unit in part}
        rest = [unit for unit in rest if unit.id not in gone]
        parts.append(part)
        turn += 1
    return sorted(parts, key=lambda part: -sum(unit.seconds for unit in part))
