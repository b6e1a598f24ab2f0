"""A report against an earlier one."""

from __future__ import annotations

from report_merge.baseline import compare
from report_merge.model import Case, CaseKey, Outcome, Report, RunContext, Totals
from tests.unit.report_merge.sample_reports import attempt, case, failing, flaky, report


def names(cases: tuple[Case, ...]) -> list[str]:
    return [found.key.name for found in cases]


def test_every_kind_of_change() -> None:
    skipped = attempt(Outcome.SKIPPED)
    before = report(
        case("stays"), failing("fixed"), failing("still"), case("breaks"), flaky("was flaky"), case("turns flaky"),
        case("was skipped", skipped), case("removed"), case("slow", attempt(seconds=1.0)), failing("skipped now"),
        context=RunContext(branch="main", sha="9f8e7d6c5b4a"),
    )  # fmt: skip
    now = report(
        case("stays"), case("fixed"), failing("still"), failing("breaks"), flaky("was flaky"), flaky("turns flaky"),
        failing("was skipped"), case("slow", attempt(seconds=2.6)), case("skipped now", skipped),
        failing("new and bad"),
    )  # fmt: skip
    change = compare(now, before)
    assert change.label == "main 9f8e7d6"
    assert names(change.new_failures) == ["breaks", "was skipped", "new and bad"]
    assert names(change.still_failing) == ["still"]
    assert names(change.fixed) == ["fixed"]
    assert names(change.newly_flaky) == ["turns flaky"]
    assert names(change.added) == ["new and bad"]
    assert [key.name for key in change.removed] == ["removed"]
    assert [(slower.case.key.name, slower.before) for slower in change.slower] == [("slow", 1.0)]
    assert change.new_keys() == {found.key for found in change.new_failures}
    assert change.totals == before.totals
    assert not change.partial


def test_small_differences_are_noise() -> None:
    before = report(case("quick", attempt(seconds=0.003)), case("long", attempt(seconds=100.0)))
    now = report(case("quick", attempt(seconds=0.9)), case("long", attempt(seconds=149.0)))
    assert compare(now, before).slower == ()


def test_the_same_test_in_another_project_is_another_test() -> None:
    change = compare(report(case("a", project="mobile")), report(failing("a", project="desktop")))
    assert names(change.added) == ["a"]
    assert change.removed == (CaseKey(project="desktop", file="cart.spec.ts", classname="cart.spec.ts", name="a"),)
    assert change.fixed == ()


def test_a_report_that_leaves_out_tests_says_nothing_about_added_and_removed() -> None:
    thin = Report(cases=(failing("a"),), totals=Totals(tests=100, passed=99, failed=1))
    change = compare(report(failing("a"), case("b")), thin)
    assert change.partial
    assert (change.added, change.removed) == ((), ())
    assert names(change.still_failing) == ["a"]
    assert compare(thin, report(failing("a"), case("b"))).removed == ()


def test_a_report_against_itself_has_not_changed() -> None:
    same = report(case("a"), failing("b"), flaky("c"))
    change = compare(same, same)
    assert names(change.still_failing) == ["b"]
    assert (change.new_failures, change.fixed, change.newly_flaky) == ((), (), ())
    assert (change.added, change.removed, change.slower) == ((), (), ())
    assert change.label == "main a1b2c3d"
