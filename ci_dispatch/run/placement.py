"""What of the ready tests may go where at this moment, by the constraints of a run and what its ledger holds. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from ci_dispatch.core.events import VerdictReached
from ci_dispatch.core.model import ANY_MACHINE, Ended, MachineName, MachineSpec, TestId, Verdict
from ci_dispatch.planning.constraints import Demand, Occupied
from ci_dispatch.run.ledger import AttemptRecord, TestRecord
from ci_dispatch.run.state import MachineState, RunState

_Holders: TypeAlias = dict[str, set[MachineName | None]]  # of each lock; None: somewhere


class Placement:
    """Asked by the control for the whole fleet, and by each fleet for its machines. Without constraints all may go."""

    def __init__(self, state: RunState, lingers: Mapping[MachineName, float]) -> None:
        """`lingers`: for so many seconds a job of a machine may go on after the run has given it up as lost."""
        self._state, self._lingers = state, lingers
        self._last_look: tuple[int, float, _Holders] = (-1, 0.0, {})  # after which event of the run, when
        self._known: tuple[int, dict[TestId, Verdict]] = (-1, {})  # at how many verdicts of the run

    def __bool__(self) -> bool:
        return bool(self._state.constraints)

    def of_test(self, test: TestId) -> Demand:
        return self._state.constraints.of(test)

    def one_at_a_time(self, tests: Iterable[TestId]) -> bool:
        """Whether the tests of a shard run one after another: it holds a lock, which is for each of them alone."""
        return any(self._state.constraints.of(test).lock for test in tests)

    def startable(self, records: Sequence[TestRecord], held: Collection[TestId], now: float) -> Sequence[TestRecord]:
        """Those that at least one machine may have now: what they come after has passed, and their lock is free.

        `held` are tests that are spoken for without a lease: they may begin at any moment, anywhere.
        """
        constraints = self._state.constraints
        if not constraints:
            return records
        occupied, passed = self._occupied(now, held), constraints.passed(self._verdicts())
        return [record for record in records if constraints.may_begin(record.test.id, occupied, passed)]

    def fitting(
        self, records: Iterable[TestRecord], machine: MachineSpec, usable: Sequence[MachineSpec], now: float
    ) -> list[TestRecord]:
        """Those of `records` that the machine may have now."""
        occupied, may_go = self._occupied(now, usable=usable), self._state.constraints.may_go
        return [record for record in records if may_go(record.test.id, machine, occupied)]

    def has_free_slot(self, name: MachineName) -> bool:
        machine = self._state.machines[name]
        return len(machine.leases) < machine.spec.slots

    def wanted(self, machines: Iterable[MachineState]) -> list[MachineState]:
        """Those of `machines` that have what some test needs whose time has come, well or not."""
        if not self._state.constraints:
            return list(machines)
        needs = self._needs()
        return [each for each in machines if any(labels <= each.spec.offers for labels in needs)]

    def lacking(self, usable: Iterable[MachineState]) -> list[str]:
        """The labels that tests need whose time has come, and that none of the `usable` machines has together."""
        if not self:
            return []
        offers = [machine.spec.offers for machine in usable]
        unmet = [labels for labels in self._needs() if offers and not any(labels <= each for each in offers)]
        return sorted({label for labels in unmet for label in labels})

    def _needs(self) -> set[frozenset[str]]:
        """What pending tests need that wait for no other group."""
        constraints = self._state.constraints
        passed = constraints.passed(self._verdicts())
        pending = self._state.ledger.pending
        demands = (constraints.of(test) for test in pending)
        return {demand.needs for demand in demands if passed.issuperset(demand.after)}

    def in_vain(self) -> Iterator[VerdictReached]:
        """The verdicts of tests whose prerequisites will not pass any more."""
        constraints = self._state.constraints
        if constraints.prerequisites:
            for test, reason in constraints.in_vain(self._verdicts(), self._state.ledger.pending):
                yield VerdictReached(test=test, verdict=Verdict.NOT_RUN, reason=reason)

    def _verdicts(self) -> dict[TestId, Verdict]:
        """Those that there are of the prerequisites."""
        count = self._state.verdicts.total()  # each of them stays
        if count != self._known[0]:
            records = self._state.ledger.records
            found = ((test, records[test].verdict) for test in self._state.constraints.prerequisites)
            self._known = count, {test: verdict for test, verdict in found if verdict is not None}
        return self._known[1]

    def _occupied(self, now: float, held: Collection[TestId] = (), usable: Sequence[MachineSpec] = ()) -> Occupied:
        return Occupied(locks=self._locks(held, now), places=self._places(usable))

    def _places(self, usable: Sequence[MachineSpec]) -> dict[str, MachineName]:
        """Where the tests of each place are: a machine keeps them while it gets work, or runs some of them."""
        if not self._state.places:
            return {}
        names, demand = {machine.name for machine in usable}, self._state.constraints.of
        busy = {
            (lease.machine, demand(test).place)
            for lease in self._state.ledger.active.values()
            for test in lease.shard.tests
        }
        places = self._state.places.items()
        return {place: home for place, home in places if home in names or (home, place) in busy}

    def _locks(self, held: Collection[TestId], now: float) -> _Holders:
        """Which machines hold which locks; all of them are held while there may be jobs that nobody knows of."""
        unknown = self._state.unknown_jobs
        if unknown is not None and now < unknown + max(self._lingers.values(), default=0.0):
            return {lock: {None} for lock in self._state.constraints.locks}
        of_jobs = self._locks_of_jobs(now)
        if not held:
            return of_jobs
        holders = {lock: set(machines) for lock, machines in of_jobs.items()}
        for test in held:
            holders.setdefault(self._state.constraints.of(test).lock, set()).add(None)
        holders.pop("", None)
        return holders

    def _locks_of_jobs(self, now: float) -> _Holders:
        """Those that leases hold, and jobs that may go on; looked up once for all machines that ask in one moment."""
        seq, at, known = self._last_look
        if (seq, at) == (self._state.seq, now):
            return known
        holders: _Holders = {}
        for attempt in self._state.ledger.attempts.values():
            machine = attempt.lease.machine
            if attempt.lease.number in self._state.ledger.active or self._may_go_on(attempt, now):
                for test in attempt.lease.shard.tests:
                    place = None if machine == ANY_MACHINE else machine
                    holders.setdefault(self._state.constraints.of(test).lock, set()).add(place)
        holders.pop("", None)
        self._last_look = self._state.seq, now, holders
        return holders

    def _may_go_on(self, attempt: AttemptRecord, now: float) -> bool:
        """Its machine could not be asked any more, or had it in a queue, and nothing has come of it since."""
        unknown = attempt.result is not None and attempt.result.ended in (Ended.LOST, Ended.NOT_STARTED)
        return (
            unknown
            and not attempt.stale
            and now < (attempt.ended or 0.0) + self._lingers.get(attempt.lease.machine, 0.0)
        )
