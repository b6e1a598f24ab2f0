"""The campaign itself: plans repeat, the suite is what it says, and each check fails when its promise is broken."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from xml.etree import ElementTree

import pytest

from ci_dispatch.core.model import Verdict
from tests.chaos import checks, over_ssh, suite, table
from tests.chaos.campaign import SeedResult, any_plan_of, read_results, seeds_of
from tests.chaos.github_plan import GitHubKind
from tests.chaos.over_ssh import Evidence
from tests.chaos.plan import CONTROLLER, MACHINE, Plan, PlannedMachine, plan_of
from tests.chaos.suite import Behaviour
from tests.fleet.servers import Keys

SEEDS = range(1000)


def test_a_seed_is_always_the_same_plan() -> None:
    assert [any_plan_of(seed) for seed in SEEDS[:50]] == [any_plan_of(seed) for seed in SEEDS[:50]]


def test_a_thousand_seeds_have_everything_that_can_happen_and_kill_many_controllers() -> None:
    plans = [any_plan_of(seed) for seed in SEEDS]
    kinds = [fault.kind for plan in plans for fault in plan.faults]
    for kind in (*MACHINE, *CONTROLLER, *GitHubKind):
        assert kinds.count(kind) >= 5, kind
    killed = [plan for plan in plans if any(fault.kind == "controller killed" for fault in plan.faults)]
    assert len(killed) >= 200
    assert sum(not plan.faults for plan in plans) >= 5, "some runs have no trouble at all"


def test_most_plans_leave_a_machine_well() -> None:
    plans = [plan_of(seed) for seed in SEEDS]
    assert sum(bool(plan.well) for plan in plans) > 0.9 * len(plans)


def test_one_machine_says_of_the_suite_what_is_expected(tmp_path: Path) -> None:
    cases = tuple(case for case in suite.cases(Random(1), 14) if case.behaviour is not Behaviour.KILLS_ONCE)
    suite.write(tmp_path, cases, "pytest")
    (tmp_path / "audit.jsonl").touch()
    told: dict[str, list[str]] = {}
    for _ in range(2):
        for key, outcome in plain_pytest(tmp_path).items():
            told.setdefault(key, []).append(outcome)
    words = {
        Behaviour.PASSES: ["passed", "passed"],
        Behaviour.FAILS: ["failed", "failed"],
        Behaviour.SKIPS: ["skipped", "skipped"],
        Behaviour.FLAKY: ["failed", "passed"],
    }
    assert told == {case.key: words[case.behaviour] for case in cases}
    suite.edit(tmp_path)
    mended = [case.key for case in cases if case.behaviour is Behaviour.FAILS]
    assert {plain_pytest(tmp_path)[key] for key in mended} == {"passed"}


def plain_pytest(folder: Path) -> dict[str, str]:
    environ = {**os.environ, "CHAOS_AUDIT": str(folder / "audit.jsonl"), "TMPDIR": str(folder)}
    command = [sys.executable, "-m", "pytest", "-q", "--junitxml=junit.xml"]
    subprocess.run(command, cwd=folder, env=environ, capture_output=True, check=False, timeout=60)
    outcomes = {}
    for case in ElementTree.parse(folder / "junit.xml").getroot().iter("testcase"):
        bad = next((child.tag for child in case if child.tag in ("failure", "skipped")), "")
        outcomes[checks.key_of(case.get("name", ""))] = {"failure": "failed"}.get(bad, bad or "passed")
    return outcomes


# -- the checks -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """A run on this computer alone to which nothing happens."""
    plan = Plan(
        seed=0,
        runner="command",
        machines=(PlannedMachine(name="local", local=True),),
        cases=suite.cases(Random(3), 24),
        faults=(),
    )
    folder = tmp_path_factory.mktemp("seed")
    keys = Keys(folder, folder / "user", folder / "stranger", folder / "host", folder / "other_host")
    return over_ssh.run(plan, folder, keys)


@pytest.fixture
def evidence(whole: Evidence, tmp_path: Path) -> Evidence:
    """A copy of its own of what that run left."""
    assert whole.run is not None
    subprocess.run(["cp", "-r", str(whole.run), str(tmp_path / "run")], check=True)
    subprocess.run(["cp", str(whole.audit), str(tmp_path / "audit.jsonl")], check=True)
    return replace(whole, folder=tmp_path, run=tmp_path / "run")


def test_a_run_to_which_nothing_happens_keeps_every_promise(evidence: Evidence) -> None:
    assert checks.violations(evidence) == []


def edited(name: str, old: str, new: str) -> Callable[[Evidence], None]:
    def edit(evidence: Evidence) -> None:
        assert evidence.run is not None
        file = evidence.audit if name == "audit" else evidence.run / name
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, 1) if name != "audit" else text.replace(old, new))

    return edit


def otherwise(evidence: Evidence) -> None:
    """The plan says that what passed must fail."""
    behaviours = {Behaviour.PASSES: Behaviour.FAILS}
    cases = [replace(case, behaviour=behaviours.get(case.behaviour, case.behaviour)) for case in evidence.plan.cases]
    evidence.plan = replace(evidence.plan, cases=tuple(cases))


def one_more(evidence: Evidence) -> None:
    more = replace(evidence.plan.cases[0], key="k999", name="k999")
    evidence.plan = replace(evidence.plan, cases=(*evidence.plan.cases, more))


def said(evidence: Evidence) -> None:
    (evidence.folder / "controller.log").write_text("Traceback (most recent call last):\n")


def removed(evidence: Evidence) -> None:
    assert evidence.run is not None
    (evidence.run / "summary.md").unlink()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (edited("audit", '"outcome": "passed"', '"outcome": "failed"'), "no execution of version 1 passed"),
        (edited("audit", '"version": "1"', '"version": "2"'), "no execution of version 1 passed"),
        (edited("audit", '"outcome": "skipped"', '"outcome": "passed"'), "is skipped, and no execution was"),
        (edited("audit", '"outcome": "failed"', '"outcome": "passed"'), "is failed, and no execution failed"),
        (edited("run.json", '"verdict": "skipped"', '"verdict": "passed"'), "disagree about verdicts"),
        (edited("run.json", '"failed": 3', '"failed": 2'), "run.json counts"),
        (edited("run.json", '"exit_code": 1', '"exit_code": 0'), "run.json says exit code 0"),
        (edited("merged.xml", "<failure", "<note"), "merged.xml"),
        (edited("events.jsonl", '"RunFinished",{"exit_code":1', '"RunFinished",{"exit_code":0'), "exit code is 0"),
        (edited("events.jsonl", '"RunFinished"', '"Unknown"'), "the journal has no end"),
        (edited("events.jsonl", '"kind"', '"kin"'), "the journal cannot be read"),
        (removed, "no summary.md"),
        (said, "the controller said 'Traceback'"),
        (otherwise, "right would be failed"),
        (one_more, "other tests were expected"),
        (lambda evidence: setattr(evidence, "code", 0), "the exit code was 0"),
        (lambda evidence: setattr(evidence, "last", "ci-dispatch: PASSED"), "the last line does not say"),
        (lambda evidence: setattr(evidence, "again", (0, evidence.last)), "`resume` of the finished run exits 0"),
        (lambda evidence: setattr(evidence, "again", (evidence.code, "")), "`resume` of the finished run says"),
        (lambda evidence: setattr(evidence, "left", {1: "python runner.py"}), "left running: python runner.py"),
        (lambda evidence: evidence.trouble.append("it did not end"), "it did not end"),
    ],
)
def test_a_broken_promise_is_noticed(evidence: Evidence, damage: Callable[[Evidence], None], says: str) -> None:
    evidence = replace(evidence, trouble=[])
    damage(evidence)
    assert any(says in why for why in checks.violations(evidence)), checks.violations(evidence)


def test_what_failed_once_may_be_flaky_or_passed_and_nothing_else() -> None:
    case = next(case for case in suite.cases(Random(1), 40) if case.behaviour is Behaviour.FLAKY)
    assert case.allowed("1") == {Verdict.FLAKY, Verdict.PASSED}


# -- many seeds -------------------------------------------------------------------------------------------------------


def result(seed: int, *kinds: str, kills: int = 0, violations: tuple[str, ...] = ()) -> SeedResult:
    return SeedResult(
        seed=seed,
        fleet="SSH, pytest",
        faults=kinds,
        kinds=kinds,
        kills=kills,
        outcome="FAILED",
        seconds=10.0,
        violations=violations,
        revision="abc",
    )


def test_seeds_that_are_done_are_not_run_again_unless_they_are_named() -> None:
    assert seeds_of("5", done=[1, 3]) == [0, 2, 4]
    assert seeds_of("4-6", done=[5]) == [4, 6]
    assert seeds_of("1,3", done=[1]) == [1, 3]


def test_results_survive_a_campaign_that_was_killed(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    assert read_results(file) == {}
    told = '{"seed": 4, "fleet": "GitHub", "faults": [], "kinds": [], "kills": 0, "outcome": "", "seconds": 1.0,'
    file.write_text(f'{told} "violations": ["bad"]}}\n{told} "violations": []}}\n{told}')
    assert not read_results(file)[4].violations


def test_a_line_says_what_happened_and_the_table_counts_it() -> None:
    bad = result(8, "black hole", kills=2, violations=("one", "two", "three", "four"))
    assert bad.line().splitlines()[0] == "seed 8: SSH, pytest: black hole: FAILED, 10.0 s, 4 VIOLATIONS"
    assert "and 1 more" in bad.line()
    shown = table.table([bad, result(9, "black hole", "SIGINT"), result(10)])
    assert "3 seeds (8 to 10)" in shown
    assert '| black hole | SSH | 2 | 1 | 1 | `make chaos FAULT="black hole" SEEDS=8-10` |' in shown
    assert "| nothing | SSH | 1 | 0 | 0 | `make chaos SEEDS=10` |" in shown
