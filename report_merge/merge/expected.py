"""What should have come: the plan behind `--expect`, and what of it is missing. A lost shard is no smaller green.

    {"shards": ["shard-000", {"name": "shard-001", "attempts": 2}],
     "tests": ["tests/test_a.py::test_one", {"project": "chromium", "classname": "cart.spec.ts", "name": "pays"}]}

A shard has come when a report of it was read whole and holds a test: its name is a part of the report's path (a folder,
or the file's name without .xml), the attempt left out. `attempts` is how many of them must have come. A test has come
when some report holds one with the same name and every other field that is given; `a/b.py::C::d` means name d of
classname `a/b.py::C` or `a.b.C`, as pytest lists it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from report_merge.files.discover import InputSource
from report_merge.merge.reported import ReportedFacts
from report_merge.model import FileProblem, Missing

Came = tuple[InputSource, ReportedFacts]
_FIELDS = ("project", "file", "classname", "name")
_NAMED = 200  # missing tests named one by one


class BadPlan(ValueError):
    """The plan cannot be understood. The reason is for people."""


@dataclass(frozen=True, slots=True)
class ExpectedTest:
    text: str  # as the plan writes it
    name: str
    classnames: frozenset[str] = frozenset()  # any of them; empty: not given
    project: str | None = None
    file: str | None = None

    def is_one(self, project: str, file: str, classname: str) -> bool:
        return (
            self.project in (None, project)
            and self.file in (None, file)
            and (not self.classnames or classname in self.classnames)
        )


@dataclass(frozen=True, slots=True)
class Expectation:
    shards: tuple[tuple[str, int], ...] = ()  # name, attempts
    tests: tuple[ExpectedTest, ...] = ()

    @property
    def test_names(self) -> frozenset[str]:
        return frozenset(test.name for test in self.tests)

    def missing(self, files: Sequence[Came], problems: Sequence[FileProblem]) -> tuple[Missing, ...]:
        return (*self._missing_shards(files, problems), *self._missing_tests(files))

    def _missing_shards(self, files: Sequence[Came], problems: Sequence[FileProblem]) -> Iterable[Missing]:
        damaged = {problem.file: problem for problem in problems}
        for name, attempts in self.shards:
            of_it = [(source, facts) for source, facts in files if name in source.parts]
            came = {s.attempt for s, facts in of_it if facts.tests and not _is_cut(damaged.get(s.name))}
            if not came:
                yield Missing(what="shard", name=name, reason=_why(name, of_it, problems))
                continue
            for attempt in sorted(set(range(1, attempts + 1)) - came):
                yield Missing(what="attempt", name=f"{name}, attempt {attempt}", reason="no report of it came")

    def _missing_tests(self, files: Sequence[Came]) -> Iterable[Missing]:
        came: dict[str, set[tuple[str, str, str]]] = {}
        for _, facts in files:
            for project, path, classname, name in facts.asked_for:
                came.setdefault(name, set()).add((project, path, classname))
        absent = [test for test in self.tests if not any(test.is_one(*one) for one in came.get(test.name, ()))]
        for test in absent[:_NAMED]:
            yield Missing(what="test", name=test.text, reason="no report holds it")
        if len(absent) > _NAMED:
            yield Missing(what="test", name=f"and {len(absent) - _NAMED} more", reason="no report holds them")


def _is_cut(problem: FileProblem | None) -> bool:
    """Whether tests may be lacking: repairs that lose nothing have no line."""
    return problem is not None and problem.line is not None


def _why(name: str, of_it: list[Came], problems: Sequence[FileProblem]) -> str:
    for problem in problems:
        if name in InputSource.parts_of(problem.file):
            return f"{problem.file}: {problem.reason}"
    if of_it:
        return "its report holds no test"
    return "no report of it came"


def parse(text: str) -> Expectation:
    """Raises BadPlan with everything that is wrong."""
    try:
        plan = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadPlan(f"it is not JSON: {error}") from None
    if not isinstance(plan, dict):
        raise BadPlan('it must be an object: {"shards": [...], "tests": [...]}')
    wrong = [f'unknown key "{key}"' for key in plan if key not in ("shards", "tests")]
    shards = [_shard(entry, wrong) for entry in _list(plan, "shards", wrong)]
    tests = [named_test(entry, wrong) for entry in _list(plan, "tests", wrong)]
    if not shards and not tests and not wrong:
        wrong.append("it expects nothing: give shards, tests or both")
    if wrong:
        raise BadPlan("; ".join([*wrong[:10], *([f"and {len(wrong) - 10} more"] if len(wrong) > 10 else [])]))
    return Expectation(tuple(filter(None, shards)), tuple(filter(None, tests)))


def _list(plan: dict[str, object], key: str, wrong: list[str]) -> list[object]:
    value = plan.get(key, [])
    if isinstance(value, list):
        return value
    wrong.append(f'"{key}" must be a list')
    return []


def _shard(entry: object, wrong: list[str]) -> tuple[str, int] | None:
    if isinstance(entry, str) and entry:
        return entry, 1
    if isinstance(entry, dict) and isinstance(name := entry.get("name"), str) and name:
        attempts = entry.get("attempts", 1)
        if isinstance(attempts, int) and 1 <= attempts <= 1000 and set(entry) <= {"name", "attempts"}:
            return name, attempts
    wrong.append(f'a shard is a name or {{"name": "...", "attempts": 1}}, not {json.dumps(entry)[:80]}')
    return None


def named_test(entry: object, wrong: list[str]) -> ExpectedTest | None:
    """The test that an entry names; what is wrong with it is added to `wrong`."""
    if isinstance(entry, str) and entry:
        plain, bracket, parameters = entry.partition("[")  # which may hold :: too
        owner, _, name = plain.rpartition("::")
        name += bracket + parameters
        dotted = owner.replace(".py::", "::").removesuffix(".py").replace("/", ".").replace("::", ".")
        return ExpectedTest(entry, name, frozenset({owner, dotted} - {""}))
    if isinstance(entry, dict) and entry.get("name") and set(entry) <= set(_FIELDS):
        fields = {key: value for key, value in entry.items() if isinstance(value, str)}
        if len(fields) == len(entry):
            text = " ".join(fields[key] for key in _FIELDS if key in fields)
            classnames = frozenset({fields["classname"]} if "classname" in fields else ())
            return ExpectedTest(text, fields["name"], classnames, fields.get("project"), fields.get("file"))
    wrong.append(f"a test is a string or an object of {', '.join(_FIELDS)}, not {json.dumps(entry)[:80]}")
    return None
