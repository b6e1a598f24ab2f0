"""Which tests a free slot gets next: its machine's head, a suspect alone, or a pull from what is ready. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from ci_dispatch.core.codec import replace
from ci_dispatch.core.model import (
    Ended,
    MachineName,
    MachineSpec,
    RunId,
    Shard,
    ShardId,
    ShardKind,
    TestId,
    TestResult,
    UnitId,
    Verdict,
)
from ci_dispatch.planning import planner
from ci_dispatch.planning.constraints import FREE
from ci_dispatch.planning.pace import RECENT, Pace
from ci_dispatch.planning.start_up import InvocationSample, learn_start_up
from ci_dispatch.run.ledger import Ledger, TestRecord
from ci_dispatch.run.placement import Placement

AVOID_SECONDS = 30.0  # how long a test waits for another machine than the one it failed on: then any will do
FRESH = 1.0  # seconds for which what was seen of results is good enough
LOCKED_SECONDS = 300.0  # of work in a shard that holds a lock: less is lost with its machine, and others get a turn
LEAST_SECONDS = 0.01  # of a test that was over before a clock moved: several times nothing would stay nothing


@dataclass(frozen=True, slots=True)
class Observed:
    """What a run has shown so far: seconds of tests on a core of speed 1, and the speeds and start-ups of the machines
    that ran some."""

    seconds: Mapping[TestId, float]
    speeds: Mapping[MachineName, float]
    start_ups: Mapping[MachineName, float] = field(default_factory=dict)

    def today(self, machine: MachineSpec) -> MachineSpec:
        """`machine` at the speed it shows, and with the start-up of test runners that it shows."""
        name = machine.name
        return replace(
            machine,
            speed=self.speeds.get(name, machine.speed),
            start_up=self.start_ups.get(name, machine.start_up),
        )


class ShardQueue:
    """Hands out heads once and pulls afterwards."""

    def __init__(self, ledger: Ledger, expected: Mapping[TestId, float], placement: Placement | None = None) -> None:
        """`placement` says which machine may have what; without it each may have everything."""
        self._ledger = ledger
        self._placement = placement
        self._expected = {test: max(LEAST_SECONDS, seconds) for test, seconds in expected.items()}
        self._heads: dict[MachineName, list[list[planner.Unit]]] = {}  # one for each slot that has none yet
        self._last_look: tuple[float, Sequence[MachineSpec], Observed] = (
            float("-inf"),
            (),
            Observed(self._expected, {}),
        )

    def plan_heads(self, machines: Sequence[MachineSpec], share: float, mine: Collection[MachineName]) -> None:
        """Weigh the first shards of these machines' slots, and keep those of `mine`: others are not ours to give.

        What has constraints is in none of them: it is pulled when its time has come.
        """
        tests = [record.test for record in self._ledger.records.values()]
        if self._placement:
            tests = [test for test in tests if self._placement.of_test(test.id).planned]
        units = planner.units_of(tests, self._expected)
        heads = planner.slot_heads(units, machines, share)
        self._heads = {name: slots for name, slots in heads.items() if name in mine}

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
        records = self._constrained(machine, ready, usable, fleet, now)
        if records:
            self._heads.pop(machine.name, None)  # weighed for a machine that begins with it: now it is everybody's
        head = slots.pop(0) if (slots := self._heads.get(machine.name)) else None
        pending = {record.test.id for record in ready} if head else ()
        if head and all(test in pending for unit in head for test in unit.tests):
            return _shard(number, ShardKind.HEAD, head)
        records = records or [
            record for record in self._for(machine, ready, usable, now) if not self._is_constrained(record)
        ]
        if not records:
            return None
        seen = self.observed(fleet, now)
        suspect = next((record for record in records if record.isolate), None)
        if suspect is not None:
            return _shard(number, _kind(suspect), planner.units_of([suspect.test], seen.seconds))
        sharing = [seen.today(each) for each in (usable if len(usable) > 1 else fleet)]
        units = self._pull(records, seen, seen.today(machine), sharing)
        return _shard(number, _kind(self._ledger.records[units[0].tests[0]]), units)

    def _constrained(
        self,
        machine: MachineSpec,
        ready: Sequence[TestRecord],
        usable: Sequence[MachineSpec],
        fleet: Sequence[MachineSpec],
        now: float,
    ) -> list[TestRecord]:
        """What not every machine may have at any time, of one lock or without any; it goes before what is free.

        The lock with the most work is the one that would end last. Its tests run one after another, so it goes where
        the fewest workers have nothing to do meanwhile.
        """
        if not self._placement:
            return []
        constrained = self._for(machine, [record for record in ready if self._is_constrained(record)], usable, now)
        by_lock: dict[str, list[TestRecord]] = {}
        for record in self._placement.fitting(constrained, machine, usable, now):
            by_lock.setdefault(self._placement.of_test(record.test.id).lock, []).append(record)
        unlocked = by_lock.pop("", [])
        work = {lock: sum(self._expected.get(r.test.id, 1.0) for r in each) for lock, each in by_lock.items()}
        for lock in sorted(work, key=lambda lock: (-work[lock], lock)):
            if not self._suits_fewer_workers(machine, by_lock[lock], usable, fleet, now):
                return by_lock[lock]
        return unlocked

    def _is_constrained(self, record: TestRecord) -> bool:
        return self._placement is not None and self._placement.of_test(record.test.id).constrained

    def _suits_fewer_workers(
        self,
        machine: MachineSpec,
        records: Sequence[TestRecord],
        usable: Sequence[MachineSpec],
        fleet: Sequence[MachineSpec],
        now: float,
    ) -> bool:
        """Whether a machine with fewer workers has a free slot, may have some of these, and is not what ends last."""
        assert self._placement is not None
        if self._placement.of_test(records[0].test.id).on_machine:
            return False
        work = sum(self._expected.get(record.test.id, 1.0) for record in records)
        power = sum(each.power for each in usable)
        rest = sum(self._expected.get(test, 1.0) for test in self._ledger.pending) / power
        return any(
            each.workers_per_shard < machine.workers_per_shard
            and work / each.speed <= max(work / machine.speed, rest)
            and self._placement.has_free_slot(each.name)
            and self._placement.fitting(self._for(each, records, usable, now), each, usable, now)
            for each in fleet
            if each in usable
        )

    def _pull(
        self, records: Sequence[TestRecord], seen: Observed, machine: MachineSpec, sharing: Sequence[MachineSpec]
    ) -> list[planner.Unit]:
        """What the machine takes of these, which have one lock or none; `sharing` are all that may work now."""
        tests = [record.test for record in records]
        if not self._placement:
            return planner.pull(planner.units_of(tests, seen.seconds), machine, sharing)
        demands = {test.id: self._placement.of_test(test.id) for test in tests}
        tests = [replace(test, unit=UnitId(demands[test.id].place or test.unit)) for test in tests]  # a place is whole
        units = planner.units_of(tests, seen.seconds)
        first = demands[units[0].tests[0]]
        sharing = [each for each in sharing if first.needs <= each.offers]
        if not first.lock:
            return planner.pull(units, machine, sharing)
        alone = [_one_worker(each) for each in sharing if first.on_machine or each.name == machine.name]
        taken = planner.pull(units, _one_worker(machine), alone)
        work, most = 0.0, LOCKED_SECONDS * machine.speed
        return [unit for unit in taken if (work := work + unit.seconds) <= most] or taken[:1]

    def observed(self, fleet: Sequence[MachineSpec], now: float) -> Observed:
        """What the results of this run say, at most `FRESH` seconds old: looking at ten thousand takes its time."""
        at, machines, seen = self._last_look
        if not (0 <= now - at < FRESH and machines == fleet):
            seen = self._look(fleet)
            self._last_look = now, fleet, seen
        return seen

    def _look(self, fleet: Sequence[MachineSpec]) -> Observed:
        """What the results of this run say about tests and about the machines of `fleet`.

        A machine's speed is compared with the others', by tests that passed. Seconds only grow, so that minutes are
        never pulled as seconds. The result that surprises most does not count there: it may have set up what the others
        use.
        """
        results = self._results()
        speeds = {machine.name: machine.speed for machine in fleet}
        speeds |= {name: speeds.get(name, 1.0) * factor for name, factor in self._pace(results, speeds).items()}
        took = planned = 0.0
        surprise = (0.0, 0.0)  # that result, as took and planned
        for machine, own in results.items():
            speed = speeds.get(machine, 1.0)
            for result, seconds in own:
                one = (seconds * speed, self._expected.get(result.test, 1.0))
                took, planned = took + one[0], planned + one[1]
                if one[0] - one[1] > surprise[0] - surprise[1]:
                    surprise = one
        took, planned = took - surprise[0], planned - surprise[1]
        starts = self._start_ups(fleet)
        if took <= planned or planned < LEAST_SECONDS / 2:  # of nothing: rounding leaves something
            return Observed(self._expected, speeds, starts)
        return Observed({test: seconds * took / planned for test, seconds in self._expected.items()}, speeds, starts)

    def _start_ups(self, fleet: Sequence[MachineSpec]) -> dict[MachineName, float]:
        """Of test runners, by the invocations of this run that ended by themselves, with a result for each test."""
        specs = {machine.name: machine for machine in fleet}
        found = []
        for attempt in self._ledger.attempts.values():
            spec, result = specs.get(attempt.lease.machine), attempt.result
            if spec is None or result is None or result.ended is not Ended.EXITED:
                continue
            ran = [line.seconds for line in result.results if line.seconds is not None]
            if len(ran) == len(attempt.lease.shard.tests):
                alone = self._placement is not None and self._placement.one_at_a_time(attempt.lease.shard.tests)
                found.append(
                    InvocationSample(
                        machine=spec.name,
                        run=RunId(""),
                        at=attempt.ended or 0.0,
                        seconds=result.seconds,
                        tests_seconds=sum(ran),
                        longest=max(ran),
                        workers=1 if alone else spec.workers_per_shard,
                    )
                )
        return learn_start_up(found, {machine.name: machine.starts_after for machine in fleet})

    def _results(self) -> dict[MachineName, list[tuple[TestResult, float]]]:
        """Each machine's results with their durations, in the order of their arrival where its runner tells it."""
        found: dict[MachineName, list[tuple[TestResult, float]]] = {}
        for attempt in self._ledger.attempts.values():
            results = attempt.live
            if attempt.result:
                results = {**results, **{result.test: result for result in attempt.result.results}}
            own = found.setdefault(attempt.lease.machine, [])
            own += ((result, result.seconds) for result in results.values() if result.seconds is not None)
        return found

    def _pace(
        self, results: Mapping[MachineName, Sequence[tuple[TestResult, float]]], configured: Mapping[MachineName, float]
    ) -> dict[MachineName, float]:
        pace = Pace()
        for machine, own in results.items():
            speed = configured.get(machine, 1.0)
            passed = (
                each for each in reversed(own) if each[0].verdict is Verdict.PASSED and each[0].test in self._expected
            )
            for result, seconds in reversed(list(islice(passed, RECENT))):
                test = self._ledger.records[result.test].test
                pace.took(machine, seconds, self._expected[test.id] / speed, (test.file, test.project))
        return pace.factors()

    def _for(
        self, machine: MachineSpec, ready: Sequence[TestRecord], usable: Sequence[MachineSpec], now: float
    ) -> list[TestRecord]:
        """What this machine may have: not what others are promised, nor what it should avoid while others are there."""
        promised = {test for slots in self._heads.values() for head in slots for unit in head for test in unit.tests}
        lone = len(usable) == 1
        return [
            record
            for record in ready
            if record.test.id not in promised
            and (avoided(record, now) != machine.name or lone or not self._may_go_elsewhere(record, machine, usable))
        ]

    def _may_go_elsewhere(self, record: TestRecord, machine: MachineSpec, usable: Sequence[MachineSpec]) -> bool:
        demand = self._placement.of_test(record.test.id) if self._placement else FREE
        return not demand.place and any(each.name != machine.name and demand.needs <= each.offers for each in usable)


def avoided(record: TestRecord, now: float) -> MachineName | None:
    """The machine on which a test failed, while it waits for another one."""
    return record.avoid_machine if now < record.not_before + AVOID_SECONDS else None


def _one_worker(machine: MachineSpec) -> MachineSpec:
    """What counts of a machine for tests that run one after another."""
    return replace(machine, cores=1, workers=1, slots=1)


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
