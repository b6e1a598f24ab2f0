"""From what a reporter wrote in list mode to the expected tests, or to an error that says what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ci_dispatch.config.sections import Split
from ci_dispatch.core.errors import NothingToRun, UsageError
from ci_dispatch.core.model import Test, TestId, UnitId
from ci_dispatch.run.ports import Listing
from ci_dispatch.suites.here import Answer
from ci_dispatch.suites.live import entries, parse, text, texts
from report_merge.plain import one_line, plain

SHOWN_PROBLEMS = 5
NO_RUNNER = 127  # our launchers' exit code


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one listing said."""

    made: bool = False  # the runner came so far
    version: str = ""
    tests: tuple[Mapping[str, Any], ...] = ()
    problems: tuple[str, ...] = ()


def plan_of(answer: Answer) -> Plan:
    lines = [parse(line) for line in answer.live.splitlines()]
    plans = [line for line in lines if line.get("kind") == "plan"]
    return Plan(
        made=bool(plans),
        version=text(plans[-1], "version") if plans else "",
        tests=tuple(test for line in plans for test in entries(line.get("tests"))),
        problems=tuple(plain(text(line, "message")) for line in lines if line.get("kind") == "problem"),
    )


def check(answer: Answer, plan: Plan, *, runner: str, workdir: str, install: str) -> None:
    """Raise UsageError when the runner is missing or the suite cannot be loaded."""
    if answer.exit_code == NO_RUNNER:
        raise UsageError("The tests cannot be listed", why=one_line(answer.errors), hint=f"{install} (in {workdir})")
    if plan.problems:
        shown = "".join(f"\n  {one_line(problem, 500)}" for problem in plan.problems[:SHOWN_PROBLEMS])
        more = len(plan.problems) - SHOWN_PROBLEMS
        raise UsageError(
            "The suite cannot be loaded",
            why=shown + (f"\n  and {more} more" if more > 0 else ""),
            hint=f"run {runner} by hand in {workdir} and mend this: nothing was sent anywhere",
        )
    if not plan.made:
        last = one_line("\n".join((answer.errors or answer.output).strip().splitlines()[-5:]), 1000)
        raise UsageError("The tests cannot be listed", why=f"{runner} exited {answer.exit_code}: {last}")


def listing(plan: Plan, split: Split, *, runner: str, workdir: str, said: str = "") -> Listing:
    """The expected tests; `said` are the runner's complaints, such as a name that selects nothing.

    Raises NothingToRun when there are none: an empty selection is never a pass.
    """
    tests = {test.id: test for test in (_test(entry, split) for entry in plan.tests) if test.id}
    if not tests:
        raise NothingToRun(
            "There is nothing to run",
            why=": ".join(filter(None, (f"{runner} finds no tests in {workdir}", one_line(said, 500)))),
            hint="look at the arguments that select tests, and at the runner's own configuration",
        )
    twice = len(plan.tests) - len(tests)
    notes = (f"{twice} tests have the name of another one and count once",) if twice else ()
    return Listing(tests=tuple(tests.values()), notes=notes)


def _test(entry: Mapping[str, Any], split: Split) -> Test:
    """`unit` is what the runner would not cut, `group` what it repeats as a whole; both may be empty."""
    test, file, project = text(entry, "id"), text(entry, "file"), text(entry, "project")
    unit, group, line = text(entry, "unit"), text(entry, "group"), entry.get("line")
    units = {Split.AUTO: unit, Split.TEST: group, Split.FILE: group or " ".join(filter(None, (project, file)))}
    return Test(
        id=TestId(test),
        unit=UnitId(units[split] or test),
        atomic=bool(group),
        project=project,
        file=file,
        title=texts(entry.get("title")),
        line=line if isinstance(line, int) else None,
        runner_id=test,
    )


def refuse(arguments: Iterable[str], reserved: Sequence[str]) -> None:
    """Raise UsageError for arguments that are ours to give: with them the count of the tests would be wrong."""
    given = [argument for argument in arguments if argument.partition("=")[0] in reserved]
    if given:
        raise UsageError(
            f"The runner cannot be given {' '.join(given)}",
            why="ci-dispatch itself says which tests run, where, and where their results go",
            hint="leave it out; to select tests, give the runner's own filters, which the listing then uses too",
        )
