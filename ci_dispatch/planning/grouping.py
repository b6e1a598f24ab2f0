"""Which tests are in which group, and whether a run with these groups can be: before anything is sent. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ci_dispatch.core.codec import replace
from ci_dispatch.core.errors import ConfigError, ConfigProblem, nearest
from ci_dispatch.core.groups import GroupSpec, TestGroup, TestMarks, Together
from ci_dispatch.core.model import MachineSpec, Test, TestId, UnitId
from ci_dispatch.planning.constraints import Constraints
from ci_dispatch.planning.joined import Joined

SHOWN_LABELS = 20
NO_MARKS = TestMarks()


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouped:
    """The tests of a suite, those that must share a shard in one unit, and their groups."""

    tests: tuple[Test, ...]
    groups: tuple[TestGroup, ...] = ()
    notes: tuple[str, ...] = ()


def group(tests: Sequence[Test], marks: Mapping[TestId, TestMarks], specs: Sequence[GroupSpec]) -> Grouped:
    """The tests with the groups that the configuration (`specs`) and the suite itself (`marks`) put them in.

    Raises ConfigError for groups that say what cannot be.
    """
    known = {spec.name: spec for spec in specs}
    members: dict[str, dict[TestId, None]] = {name: {} for name in known}
    for test in tests:
        marked = marks.get(test.id, NO_MARKS)
        for spec in specs:
            if spec.selects and _selects(spec, test, marked.tags):
                members[spec.name][test.id] = None
        for spec in marked.groups:
            for one in _parts(spec):
                before = known.setdefault(one.name, one)
                known[one.name] = replace(before, together=max(before.together, one.together, key=_strength))
                members.setdefault(one.name, {})[test.id] = None
    groups = tuple(TestGroup(spec=spec, tests=tuple(members[name])) for name, spec in known.items() if members[name])
    notes = tuple(
        f"no test is in the group {spec.name}: nothing waits for it" for spec in specs if not members[spec.name]
    )
    if problems := [*_unknown(known), *_circles(known)]:
        raise ConfigError(problems)
    made = Grouped(tests=_in_units(tests, groups), groups=groups, notes=notes)
    if problems := list(_circles_of_tests(made)):
        raise ConfigError(problems)
    return made


def both(first: Sequence[TestGroup], second: Sequence[TestGroup]) -> tuple[TestGroup, ...]:
    """The groups of two listings of one suite."""
    made = {group.spec.name: group for group in first}
    for group in second:
        known = made.get(group.spec.name, group)
        made[group.spec.name] = replace(known, tests=tuple(dict.fromkeys((*known.tests, *group.tests))))
    return tuple(made.values())


def check_machines(
    grouped: Grouped, machines: Sequence[MachineSpec], measured: Mapping[TestId, float], shard_timeout: float
) -> None:
    """Raise ConfigError for what no machine can do.

    `measured` are expected seconds on a core of speed 1 of tests that have run before: what nobody knows is no reason.
    """
    problems = [*_unmet(grouped, machines), *_too_large(grouped, machines, measured, shard_timeout)]
    if problems:
        raise ConfigError(problems)


# -- who is in --------------------------------------------------------------------------------------------------------


def _selects(spec: GroupSpec, test: Test, tags: Sequence[str]) -> bool:
    """Each selector that is given, by one of its patterns."""
    plain = [tag.removeprefix("@") for tag in tags]
    return (
        _one_matches(spec.files, [test.file, test.file.removeprefix("./")])
        and _one_matches(spec.titles, [test.name])
        and _one_matches(spec.projects, [test.project])
        and (not spec.tags or any(tag.removeprefix("@") in plain for tag in spec.tags))
    )


def _one_matches(patterns: Sequence[str], texts: Sequence[str]) -> bool:
    return not patterns or any(fnmatchcase(text, pattern) for pattern in patterns for text in texts)


def _parts(mark: GroupSpec) -> Iterator[GroupSpec]:
    """A mark as the group that it names, and one of what else it says: that is said of the marked test alone."""
    if mark.name:
        yield GroupSpec(name=mark.name, together=mark.together)
    rest = replace(mark, name="", together=Together.NO)
    if rest != GroupSpec():
        yield replace(rest, name=_written(rest))


def _written(mark: GroupSpec) -> str:
    given = {name: getattr(mark, name) for name in ("exclusive", "exclusive_on_machine", "needs", "after")}
    said = [f"{name}={list(words)}" for name, words in given.items() if words]
    return f"ci_dispatch({', '.join([*said, *(['side_effects=True'] if mark.side_effects else [])])})"


def _strength(together: Together) -> int:
    return list(Together).index(together)


def _in_units(tests: Sequence[Test], groups: Sequence[TestGroup]) -> tuple[Test, ...]:
    """Units that share a group which must be in one shard become one."""
    unit_of = {test.id: test.unit for test in tests}
    joined, names = Joined[UnitId](), {}
    for group in groups:
        if group.spec.together is Together.SHARD:
            units = list(dict.fromkeys(unit_of[test] for test in group.tests))
            joined.join(units)
            names[units[0]] = group.spec.name
    if not names:
        return tuple(tests)
    called = {unit: UnitId(f"together {name}") for first, name in names.items() for unit in joined.of(first)}
    return tuple(replace(test, unit=called.get(test.unit, test.unit)) for test in tests)


# -- what cannot be ---------------------------------------------------------------------------------------------------


def _problem(name: str, key: str, given: str, allowed: str, meant: str = "") -> ConfigProblem:
    return ConfigProblem(where=f"group {name}", key=key, given=given, allowed=allowed, nearest=meant)


def _unknown(known: Mapping[str, GroupSpec]) -> Iterator[ConfigProblem]:
    """Groups that are not there, and resources that are said to be of the fleet and of a machine."""
    of_fleet = {word: spec.name for spec in known.values() for word in spec.exclusive}
    for spec in known.values():
        for name in spec.after:
            if name not in known:
                others = [other for other in known if other != spec.name]
                allowed = f"the name of another group: {', '.join(others) or 'there is none'}"
                yield _problem(spec.name, "after", f'"{name}"', allowed, nearest(name, others))
        for word in spec.exclusive_on_machine:
            if word in of_fleet:
                allowed = f"another name: for group {of_fleet[word]} it is `exclusive`, so of the whole fleet"
                yield _problem(spec.name, "exclusive_on_machine", f'"{word}"', allowed)


def _circles(known: Mapping[str, GroupSpec]) -> Iterator[ConfigProblem]:
    after = {spec.name: [name for name in spec.after if name in known] for spec in known.values()}
    if circle := _circle(after):
        yield _problem(circle[0], "after", " after ".join(circle), "no circle: none of them could ever begin")


def _circles_of_tests(grouped: Grouped) -> Iterator[ConfigProblem]:
    """Groups without a circle among them, whose tests, or the units of their tests, wait for each other."""
    constraints = Constraints(grouped.groups, grouped.tests)
    after = {
        group.spec.name: list(dict.fromkeys(name for test in group.tests for name in constraints.of(test).after))
        for group in grouped.groups
    }
    names = set(after)
    if circle := _circle({name: [each for each in others if each in names] for name, others in after.items()}):
        allowed = "no circle: a test is in two of them, or must share a shard with a test of another"
        yield _problem(circle[0], "after", " after ".join(circle), allowed)


def _circle(after: Mapping[str, Sequence[str]]) -> list[str]:
    """The names of one circle, the first one again at its end; empty when there is none."""
    left = dict(after)
    while free := [name for name, others in left.items() if not any(other in left for other in others)]:
        for name in free:
            del left[name]
    if not left:
        return []
    path: list[str] = []
    name = next(iter(left))
    while name not in path:  # each of the rest waits for another of them
        path.append(name)
        name = next(other for other in left[name] if other in left)
    return [*path[path.index(name) :], name]


def _unmet(grouped: Grouped, machines: Sequence[MachineSpec]) -> Iterator[ConfigProblem]:
    """Labels that no machine has, one by one or together."""
    labels = {label.casefold(): label for machine in machines for label in (*machine.labels, machine.name)}
    shown = ", ".join(sorted(labels.values())[:SHOWN_LABELS])
    missing = False
    for group in grouped.groups:
        for label in group.spec.needs:
            if label.casefold() not in labels:
                missing = True
                allowed = f"a label or the name of a machine of this run: {shown}"
                meant = labels.get(nearest(label.casefold(), labels), "")
                yield _problem(group.spec.name, "needs", f'"{label}"', allowed, meant)
    if missing:
        return
    constraints, told = Constraints(grouped.groups, grouped.tests), set[frozenset[str]]()
    for group in grouped.groups:
        for test in group.tests:
            needs = constraints.of(test).needs
            if needs not in told and not any(needs <= machine.offers for machine in machines):
                told.add(needs)
                given = " and ".join(sorted(needs))
                yield _problem(group.spec.name, "needs", given, "labels that one machine has together")


def _too_large(
    grouped: Grouped, machines: Sequence[MachineSpec], measured: Mapping[TestId, float], shard_timeout: float
) -> Iterator[ConfigProblem]:
    """Groups in one shard that would take longer than a shard may, on every machine that may have them."""
    constraints = Constraints(grouped.groups, grouped.tests)
    for group in grouped.groups:
        if group.spec.together is not Together.SHARD or any(test not in measured for test in group.tests):
            continue
        work, demand = sum(measured[test] for test in group.tests), constraints.of(group.tests[0])
        able = [machine for machine in machines if demand.needs <= machine.offers]
        least = min(work / (machine.speed * (1 if demand.lock else machine.workers_per_shard)) for machine in able)
        if least > shard_timeout:
            given = f"{len(group.tests)} tests that take {least:.0f} s together on the best machine for them"
            allowed = f"at most run.shard_timeout, {shard_timeout:.0f} s, for one shard"
            yield _problem(group.spec.name, "together", given, allowed)
