"""Which tests a free slot gets next: its machine's head, a suspect alone, or a pull from what is ready. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from ci_dispatch.core.model import MachineName, MachineSpec, Shard, ShardId, ShardKind, TestId
from ci_dispatch.planning import planner
from ci_dispatch.run.ledger import Ledger, TestRecord

AVOID_SECONDS = 30.0  # how long a test waits for another machine than the one it failed on: then any will do
LEAST_SECONDS = 0.01  # of a test that was over before a clock moved: several times nothing would stay nothing


class ShardQueue:
    """Hands out heads once and pulls afterwards."""

    def __init__(self, ledger: Ledger, expected: Mapping[TestId, float]) -> None:
        self._ledger = ledger
        self._expected = {test: max(LEAST_SECONDS, seconds) for test, seconds in expected.items()}
        self._heads: dict[MachineName, list[planner.Unit]] = {}

    def plan_heads(self, machines: Sequence[MachineSpec], share: float, mine: Collection[MachineName]) -> None:
        """Weigh the first shard of each of these machines, and keep those of `mine`: others are not ours to give."""
        units = planner.units_of((record.test for record in self._ledger.records.values()), self._expected)
        heads = planner.heads(units, machines, share)
        self._heads = {name: units for name, units in heads.items() if name in mine}

    def next_shard(
        self,
        machine: MachineSpec,
        ready: Sequence[TestRecord],
        *,
        usable: Sequence[MachineSpec],
        fleet: Sequence[MachineSpec],
        now: float,
    ) -> Shard | None:
        """The next shard for a free slot of `machine`, or None when there is nothing for it now.

        Work is shared among the `usable` machines; a lone one takes it in parts while others of the `fleet` may return.
        """
        number = self._ledger.last_lease + 1
        head = self._heads.pop(machine.name, None)
        pending = {record.test.id for record in ready} if head else ()
        if head and all(test in pending for unit in head for test in unit.tests):
            return _shard(number, ShardKind.HEAD, head)
        records = self._for(machine, ready, usable, now)
        if not records:
            return None
        expected = self.observed(fleet)
        suspect = next((record for record in records if record.isolate), None)
        if suspect is not None:
            return _shard(number, _kind(suspect), planner.units_of([suspect.test], expected))
        sharing = usable if len(usable) > 1 else fleet
        units = planner.pull(planner.units_of((r.test for r in records), expected), machine, sharing)
        return _shard(number, _kind(self._ledger.records[units[0].tests[0]]), units)

    def observed(self, fleet: Sequence[MachineSpec]) -> Mapping[TestId, float]:
        """Seconds that tests are expected to take, on a core of speed 1; more when those that have run on `fleet` did.

        So minutes are never pulled as seconds. The result that surprises most does not count: it may have set up what
        the others use.
        """
        speeds = {machine.name: machine.speed for machine in fleet}
        took = planned = 0.0
        surprise = (0.0, 0.0)  # that result, as took and planned
        for attempt in self._ledger.attempts.values():
            for result in attempt.result.results if attempt.result else attempt.live.values():
                if result.seconds is not None:
                    one = (
                        result.seconds * speeds.get(attempt.lease.machine, 1.0),
                        self._expected.get(result.test, 1.0),
                    )
                    took, planned = took + one[0], planned + one[1]
                    surprise = max(surprise, one, key=lambda pair: pair[0] - pair[1])
        took, planned = took - surprise[0], planned - surprise[1]
        if took <= planned or planned < LEAST_SECONDS / 2:  # of nothing: rounding leaves something
            return self._expected
        return {test: seconds * took / planned for test, seconds in self._expected.items()}

    def _for(
        self, machine: MachineSpec, ready: Sequence[TestRecord], usable: Sequence[MachineSpec], now: float
    ) -> list[TestRecord]:
        """What this machine may have: not what others are promised, nor what it should avoid while others are there."""
        promised = {test for units in self._heads.values() for unit in units for test in unit.tests}
        lone = len(usable) == 1
        return [
            record
            for record in ready
            if record.test.id not in promised
            and (record.avoid_machine != machine.name or lone or now >= record.not_before + AVOID_SECONDS)
        ]


def _kind(record: TestRecord) -> ShardKind:
    if record.retries:
        return ShardKind.RETRY
    return ShardKind.REASSIGNED if record.reassignments or record.takeovers else ShardKind.TAIL


def _shard(number: int, kind: ShardKind, units: Sequence[planner.Unit]) -> Shard:
    return Shard(
        id=ShardId(f"{kind}-{number}"),
        kind=kind,
        tests=tuple(test for unit in units for test in unit.tests),
        seconds=sum(unit.seconds for unit in units),
    )
