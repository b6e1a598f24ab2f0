"""May this test go to this machine now? What groups of tests demand, asked by every fleet. Pure.

Demands are those of units, which are never sent apart: what holds for one test of a unit holds for all of it. Resources
that some unit holds together are taken and given back together, as one lock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ci_dispatch.core.codec import replace
from ci_dispatch.core.groups import GroupSpec, TestGroup, Together
from ci_dispatch.core.model import MachineName, MachineSpec, Test, TestId, UnitId, Verdict
from ci_dispatch.planning.joined import Joined

SATISFIED = (Verdict.PASSED, Verdict.FLAKY, Verdict.SKIPPED)  # of a prerequisite: as Playwright sees its dependencies


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What a unit asks for, by all the groups that it is in."""

    needs: frozenset[str] = frozenset()  # labels of its machine, in lower case; those that every machine has are none
    lock: str = ""  # the exclusive resources that it holds while it runs, as a name
    on_machine: bool = False  # the lock is one of its machine; else of the whole fleet
    place: str = ""  # the tests that are to be on one machine with it, as a name
    after: tuple[str, ...] = ()  # groups
    side_effects: bool = False  # outside of the run
    whole: bool = False  # its tests are to be in one shard, so none is given away while others have run

    @property
    def constrained(self) -> bool:
        """Not every machine may have it at any time, once its time has come."""
        return bool(self.needs or self.lock or self.place)

    @property
    def planned(self) -> bool:
        """Who gets it can be decided at the start."""
        return not self.constrained and not self.after


FREE = Demand()


@dataclass(frozen=True, slots=True, kw_only=True)
class Occupied:
    """What is taken at a moment: the machines on which each lock is held (None: nobody knows where), and each place."""

    locks: Mapping[str, Collection[MachineName | None]]
    places: Mapping[str, MachineName]


class Constraints:
    """The demands of the tests of a run. False when there are none."""

    def __init__(
        self, groups: Sequence[TestGroup] = (), tests: Iterable[Test] = (), machines: Iterable[MachineSpec] = ()
    ) -> None:
        """`machines` are all that the run may use."""
        tests = list(tests) if groups else []
        self._names = {test.id: test.name for test in tests}
        self._members = {group.spec.name: [test for test in group.tests if test in self._names] for group in groups}
        self._demands = _demands(groups, tests, machines)
        awaited = {name for demand in self._demands.values() for name in demand.after}
        self.locks = frozenset(demand.lock for demand in self._demands.values()) - {""}
        self.prerequisites = frozenset(test for name in awaited for test in self._members[name])

    def __bool__(self) -> bool:
        return bool(self._demands)

    def of(self, test: TestId) -> Demand:
        return self._demands.get(test, FREE)

    def may_begin(self, test: TestId, now: Occupied, passed: frozenset[str]) -> bool:
        """Whether at least one machine may have the test now: what it comes after has `passed`, its lock is free."""
        demand = self.of(test)
        holders = now.locks.get(demand.lock, ())
        return passed.issuperset(demand.after) and not (holders and (not demand.on_machine or None in holders))

    def may_go(self, test: TestId, machine: MachineSpec, now: Occupied) -> bool:
        """Whether this machine may have the test now, if any may."""
        demand = self.of(test)
        holders = now.locks.get(demand.lock, ())
        locked = bool(holders) and (not demand.on_machine or None in holders or machine.name in holders)
        here = now.places.get(demand.place, machine.name) == machine.name
        return demand.needs <= machine.offers and not locked and here

    def words(self, test: TestId, machines: Iterable[MachineSpec]) -> Iterator[str]:
        """What holds for the test, for people; `machines` are all that the run may use."""
        demand = self.of(test)
        if demand.after:
            yield f"it comes after {', '.join(demand.after)}"
        if demand.lock:
            where = "on each machine" if demand.on_machine else "in the whole run"
            yield f"one shard at a time {where} holds {demand.lock}"
        if demand.needs:
            able = ", ".join(machine.name for machine in machines if demand.needs <= machine.offers)
            yield f"it needs {', '.join(sorted(demand.needs))}, which {able or 'no machine'} has"
        if demand.side_effects:
            yield "it has side effects outside, so that no copy of it is run"
        if demand.place:
            yield f"all of {demand.place} runs on one machine"
        if demand.whole:
            yield "one shard has all of it"

    # -- what comes after what --------------------------------------------------------------------------------------

    def passed(self, verdicts: Mapping[TestId, Verdict]) -> frozenset[str]:
        """The groups of which every test has passed; `verdicts` are those that there are of the prerequisites."""
        return frozenset(
            name for name, tests in self._members.items() if all(verdicts.get(test) in SATISFIED for test in tests)
        )

    def steps(self) -> int:
        """How many groups come one after another, at most, behind the first; there is no circle."""
        after = {name: {n for test in tests for n in self.of(test).after} for name, tests in self._members.items()}
        depth = dict.fromkeys(after, 0)
        before = dict[str, int]()
        while depth != before:
            before = depth
            depth = {name: max((before[each] + 1 for each in those), default=0) for name, those in after.items()}
        return max(depth.values(), default=0)

    def in_vain(
        self, verdicts: Mapping[TestId, Verdict], open_tests: Collection[TestId]
    ) -> Iterator[tuple[TestId, str]]:
        """Those of `open_tests` that wait for what will not pass any more, with the reason; and what waits for them."""
        bad = {
            test: f"{self._names[test]} {'failed' if verdict is Verdict.FAILED else 'was not run'}"
            for test, verdict in verdicts.items()
            if test in self.prerequisites and verdict not in SATISFIED
        }
        if not bad:
            return
        waiting = [test for test, demand in self._demands.items() if demand.after and test in open_tests]
        while bad:
            broken = {
                name: bad[test] for name, tests in self._members.items() for test in reversed(tests) if test in bad
            }
            vain = {test: name for test in waiting for name in reversed(self.of(test).after) if name in broken}
            yield from ((test, f"it comes after {name}, of which {broken[name]}") for test, name in vain.items())
            waiting = [test for test in waiting if test not in vain]
            bad = {test: f"{self._names[test]} was not run" for test in vain}


def _demands(
    groups: Sequence[TestGroup], tests: Iterable[Test], machines: Iterable[MachineSpec]
) -> dict[TestId, Demand]:
    """Of each test that is not free."""
    unit_of = {test.id: test.unit for test in tests}
    offers = [machine.offers for machine in machines]
    everywhere = frozenset.intersection(*offers) if offers else frozenset()
    groups_of: dict[UnitId, dict[str, GroupSpec]] = {}
    for group in groups:
        for unit in dict.fromkeys(unit_of[test] for test in group.tests if test in unit_of):
            groups_of.setdefault(unit, {})[group.spec.name] = group.spec
    locks, places = Joined[str](), Joined[str]()
    for inside in groups_of.values():
        locks.join([word for spec in inside.values() for word in _resources(spec)])
        places.join([name for name, spec in inside.items() if spec.together is Together.MACHINE])
    of_fleet = {word for group in groups for word in group.spec.exclusive}
    known = {group.spec.name for group in groups}
    demands = {unit: _demand(inside, locks, places, of_fleet, known) for unit, inside in groups_of.items()}
    of_place: dict[str, frozenset[str]] = {}  # what the machine of a place must have
    for demand in demands.values():
        of_place[demand.place] = of_place.get(demand.place, frozenset()) | demand.needs
    for unit, demand in demands.items():
        needs = of_place[demand.place] if demand.place else demand.needs
        demands[unit] = replace(demand, needs=needs - everywhere)
    return {test: demands[unit] for test, unit in unit_of.items() if demands.get(unit, FREE) != FREE}


def _demand(
    inside: Mapping[str, GroupSpec],
    locks: Joined[str],
    places: Joined[str],
    of_fleet: Collection[str],
    known: Collection[str],
) -> Demand:
    """Of a unit that is in these groups; it waits for those of the `known` ones that it is not in."""
    resource = next((word for spec in inside.values() for word in _resources(spec)), None)
    held = sorted(locks.of(resource)) if resource is not None else []
    place = next((name for name, spec in inside.items() if spec.together is Together.MACHINE), None)
    return Demand(
        needs=frozenset(label.casefold() for spec in inside.values() for label in spec.needs),
        lock=" and ".join(held),
        on_machine=bool(held) and not any(word in of_fleet for word in held),
        place=" and ".join(sorted(places.of(place))) if place is not None else "",
        side_effects=any(spec.side_effects for spec in inside.values()),
        whole=any(spec.together is Together.SHARD for spec in inside.values()),
        after=tuple(
            dict.fromkeys(
                name for spec in inside.values() for name in spec.after if name in known and name not in inside
            )
        ),
    )


def _resources(spec: GroupSpec) -> tuple[str, ...]:
    return (*spec.exclusive, *spec.exclusive_on_machine)
