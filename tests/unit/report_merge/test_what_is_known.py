"""What is known besides the reports: owners, known failures, earlier runs; and the tests to run again."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path

import pytest

from ci_dispatch.core.codec import replace
from report_merge.cli import MergeExitCode, run
from report_merge.model import Attempt, Case, CaseKey, Outcome, Report, RunContext, count
from report_merge.render import html, markdown
from report_merge.result import MergeResult
from report_merge.triage import known, owners
from report_merge.triage.known import BadKnownFailures, with_known
from report_merge.triage.rerun import rerun_lines
from tests.unit.report_merge import sample_reports as sample
from tests.unit.report_merge.test_render_markdown import check_structure


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


CASE = '<testcase classname="tests.test_cart" name="{name}" file="tests/test_cart.py" line="3">{inside}</testcase>'


def suite(**outcomes: str) -> str:
    return f'<testsuite name="s">{"".join(CASE.format(name=n, inside=i) for n, i in outcomes.items())}</testsuite>'


def merge(*arguments: str, **outcomes: str) -> MergeExitCode:
    Path("a.xml").write_text(suite(**outcomes), encoding="utf-8")
    return MergeExitCode(run(["a.xml", *arguments], {}))


NO = '<failure message="no prices"/>'
ENTRY = """
[[failure]]
test = "tests/test_cart.py::{name}"
owner = "@acme/shop"
reason = "issue 123"
expires = {expires}
{more}
"""


def entries(*names: str, expires: str = "2999-12-31", more: str = "") -> str:
    Path("known.toml").write_text("".join(ENTRY.format(name=n, expires=expires, more=more) for n in names))
    return "known.toml"


def test_a_known_failure_is_shown_counted_and_not_red(capfd: pytest.CaptureFixture[str]) -> None:
    options = ("--known-failures", entries("test_a"), "--summary", "s.md", "--html", "r.html")
    assert merge(*options, test_a=NO, test_b="") is MergeExitCode.PASSED
    last = capfd.readouterr().err.splitlines()[-1]
    assert last.startswith("report-merge: PASSED 2 tests: 1 passed, 1 failed, ")
    assert "1 of the failed known" in last
    text = Path("s.md").read_text(encoding="utf-8")
    check_structure(text)
    assert text.startswith("## ✅ 1 test passed, 1 known failure")
    assert "### Not from this change" in text
    assert "known until 2999-12-31: issue 123 (@\u200bacme/shop)" in text
    page = Path("r.html").read_text(encoding="utf-8")
    assert 'data-status="PASSED"' in page
    assert "known until 2999-12-31: issue 123 (@acme/shop)" in page


def test_one_that_is_not_known_is_red_beside_it() -> None:
    options = ("--known-failures", entries("test_a"), "--summary", "s.md")
    assert merge(*options, test_a=NO, test_b='<failure message="other"/>') is MergeExitCode.FAILED
    assert Path("s.md").read_text(encoding="utf-8").startswith("## ❌ 1 of 2 tests failed, 1 known failure")


def test_an_expired_one_is_red_and_says_so() -> None:
    options = ("--known-failures", entries("test_a", expires="2020-01-31"), "--summary", "s.md")
    assert merge(*options, test_a=NO) is MergeExitCode.FAILED
    assert "was known until 2020-01-31: issue 123" in Path("s.md").read_text(encoding="utf-8")


def test_the_day_it_expires_on_still_counts() -> None:
    report = sample.report(sample.failing("pays"))
    day = date(2026, 11, 28)
    file = f'[[failure]]\ntest = {{name = "pays"}}\nowner = "a"\nreason = "b"\nexpires = {day}'
    for today, number in ((day, 1), (day + timedelta(days=1), 0)):
        assert with_known(report, known.parse(file), today, "known.toml").totals.known == number


def test_another_failure_of_the_same_test_is_red() -> None:
    message = 'message = "No Prices"'
    assert merge("--known-failures", entries("test_a", more=message), test_a=NO) is MergeExitCode.PASSED
    other = '<failure message="segmentation fault"/>'
    assert merge("--known-failures", entries("test_a", more=message), test_a=other) is MergeExitCode.FAILED


def test_an_entry_that_nothing_failed_for_is_a_note(capfd: pytest.CaptureFixture[str]) -> None:
    assert merge("--known-failures", entries("test_a", "test_gone"), test_a="") is MergeExitCode.PASSED
    told = capfd.readouterr().err
    assert "known.toml: tests/test_cart.py::test_a did not fail: take it out" in told
    assert "known.toml: tests/test_cart.py::test_gone did not fail" in told


def test_a_known_failure_is_not_new_either() -> None:
    assert merge("--json", "before.json", test_a="") is MergeExitCode.PASSED
    new = ("--fail-on", "new", "--baseline", "before.json")
    assert merge(*new, test_a=NO) is MergeExitCode.FAILED
    assert merge(*new, "--known-failures", entries("test_a"), test_a=NO) is MergeExitCode.PASSED


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[failure", "it is not TOML"),
        ("a = 1", "it must hold [[failure]] tables and nothing else"),
        ('[[failure]]\ntest = "t"\nowner = "a"\nreason = "b"', "failure 1 needs a day it expires on"),
        ('[[failure]]\ntest = "t"\nowner = "a"\nreason = "b"\nexpires = "2026-01-01"', "without quotes"),
        ('[[failure]]\ntest = "t"\nexpires = 2026-01-01', "failure 1 needs a text owner"),
        ('[[failure]]\nowner = "a"\nreason = "b"\nexpires = 2026-01-01', "a test is a string or an object"),
        ('[[failure]]\ntest = "t"\nowner = "a"\nreason = "b"\nexpires = 2026-01-01\nuntil = 1', 'unknown key "until"'),
    ],
)
def test_a_file_of_known_failures_that_cannot_be_used_is_one_message(text: str, words: str) -> None:
    with pytest.raises(BadKnownFailures) as refused:
        known.parse(text)
    assert words in str(refused.value)
    Path("known.toml").write_text(text)
    assert merge("--known-failures", "known.toml", test_a="") is MergeExitCode.USAGE


# -- owners -----------------------------------------------------------------------------------------------------------

CODEOWNERS = """
# who looks after what
*             @acme/all   # the rest
*.spec.ts     @acme/web @acme/qa
/docs/*       docs@example.org
apps/         @acme/apps
/src/**/cart  @acme/cart
[Section][2] @acme/section
/apps/free
my\\ file.py  @acme/blank
/gen/**       @acme/gen
/**/v?/*_pb*.*.ts @acme/api
/deep/*/x*y/z @acme/deep
"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a/b.py", ("@acme/all",)),
        ("e2e/deep/cart.spec.ts", ("@acme/web", "@acme/qa")),
        ("docs/a.md", ("docs@example.org",)),
        ("docs/deep/a.md", ("@acme/all",)),
        ("web/apps/x/y.py", ("@acme/apps",)),
        ("apps/free/x.py", ()),
        ("src/a/b/cart/total.py", ("@acme/cart",)),
        ("src/cart/total.py", ("@acme/cart",)),
        ("x/my file.py", ("@acme/blank",)),
        ("gen/a/b.py", ("@acme/gen",)),
        ("gen", ("@acme/all",)),
        ("v1/a_pb.b.ts", ("@acme/api",)),
        ("a/b/v2/_pb_pb..ts", ("@acme/api",)),
        ("v22/a_pb.b.ts", ("@acme/all",)),
        ("v1/v2/a_pb.b.ts/c", ("@acme/api",)),
        ("deep/a/xy/z", ("@acme/deep",)),
        ("deep/a/xzy/z/below", ("@acme/deep",)),
        ("deep/a/b/xy/z", ("@acme/all",)),
        ("", ("@acme/all",)),
    ],
)
def test_the_last_line_that_fits_says_whose_it_is(path: str, expected: tuple[str, ...]) -> None:
    assert owners.parse(CODEOWNERS).of(path) == expected


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("a*" * 30 + "b", "a" * 2000),
        ("*" * 30 + "b", "a" * 2000),
        ("/" + "**/" * 30 + "b", "a/" * 1000),
        ("/" + "**/a/" * 30 + "b", "a/" * 1000),
        ("/" + "**/a*a/" * 30 + "b", "aaaa/" * 500),
    ],
)
def test_no_pattern_takes_for_ever(pattern: str, path: str) -> None:
    assert owners.parse(f"{pattern} @acme/shop").of(path) == ()
    assert owners.parse(f"{pattern} @acme/shop").of(f"{path}b") == ("@acme/shop",)


def test_a_codeowners_of_too_many_lines_is_refused_because_the_last_one_counts() -> None:
    with pytest.raises(ValueError, match="it has 20,001 lines, and 20,000 are read"):
        owners.parse("* @acme/all\n" * 20_001)


def test_what_is_no_codeowners_is_refused() -> None:
    Path("x").write_text("hello")
    assert merge("--owner-from", "x", test_a="") is MergeExitCode.USAGE


def test_the_owner_is_in_every_page() -> None:
    Path("CODEOWNERS").write_text("/tests/ @acme/shop")
    merge("--owner-from", "CODEOWNERS", "--summary", "s.md", "--html", "r.html", "--json", "r.json", test_a=NO)
    assert "@\u200bacme/shop" in Path("s.md").read_text(encoding="utf-8")
    assert "@acme/shop" in Path("r.html").read_text(encoding="utf-8")
    (case,) = json.loads(Path("r.json").read_text(encoding="utf-8"))["report"]["cases"]
    assert case["owners"] == ["@acme/shop"]


# -- earlier runs -----------------------------------------------------------------------------------------------------


def test_how_a_test_ended_in_earlier_runs() -> None:
    (Path("old") / "2").mkdir(parents=True)
    for number, outcomes in enumerate(({"test_a": ""}, {"test_a": NO}, {"test_b": ""}, {"test_a": ""})):
        merge("--json", f"old/{number}.json", **outcomes)
    merge("--history", "old/*.json", "--history", "none/*.json", "--summary", "s.md", "--json", "now.json", test_a=NO)
    assert "earlier ▁█·▁" in Path("s.md").read_text(encoding="utf-8")
    (case,) = json.loads(Path("now.json").read_text(encoding="utf-8"))["report"]["cases"]
    assert case["history"] == ".F?."
    Path("old/5.json").write_text("{}")
    assert merge("--history", "old/*.json", test_a=NO) is MergeExitCode.USAGE


def test_runs_are_put_in_the_order_of_their_numbers() -> None:
    from report_merge.triage.history import order

    runs = [Report(context=RunContext(run_id=number, attempt=a)) for number, a in (("9", 1), ("10", 2), ("10", 1))]
    assert [(r.context.run_id, r.context.attempt) for r in sorted(runs, key=order)] == [("9", 1), ("10", 1), ("10", 2)]


# -- run again --------------------------------------------------------------------------------------------------------


def failed(name: str, classname: str = "", file: str = "", project: str = "", source: str = "") -> Case:
    key = CaseKey(name=name, classname=classname, file=file, project=project)
    return Case(key=key, attempts=(Attempt(outcome=Outcome.FAILED),), source=source)


@pytest.mark.parametrize(
    ("case", "line"),
    [
        (failed("test_a", "tests.test_cart", "tests/test_cart.py"), "tests/test_cart.py::test_a"),
        (failed("test_a[x-1]", "tests.test_cart.TestCart"), "tests/test_cart.py::TestCart::test_a[x-1]"),
        (failed("test_a", "test_cart.TestCart", source="web/test_cart.py"), "web/test_cart.py::TestCart::test_a"),
        (failed("test_a", "tests/test_cart.py::TestCart"), "tests/test_cart.py::TestCart::test_a"),
        (failed("cart › pays", "cart.spec.ts", "cart.spec.ts", "chromium"), "[chromium] › cart.spec.ts › cart › pays"),
        (failed("total()", "com.acme.CartTest"), "com.acme.CartTest#total"),
        (failed("total[1]", "com.acme.CartTest"), "com.acme.CartTest#total"),
        (failed("TestTotal/a.b", "shop/cart"), "^TestTotal$/^a\\.b$"),
        (failed("adds two numbers", "calculator"), "adds two numbers"),
    ],
)
def test_the_line_that_the_runner_takes_back(case: Case, line: str) -> None:
    report = Report(cases=(case, case), totals=count([case, case]))
    assert rerun_lines(report) == ([line], 0)


@pytest.mark.parametrize(
    "case",
    [
        failed("test_a\ntests/test_other.py::test_b", "tests.test_cart", "tests/test_cart.py"),
        failed("test_a\u2028--basetemp=.", "tests.test_cart", "tests/test_cart.py"),  # pytest ends a line there too
        failed("test_a", "tests/test_cart.py::A\n--basetemp=."),
        failed("test_a", "tests.test_cart", "--basetemp=.\n.py"),
        failed("pays", "cart.spec.ts\nother.spec.ts", "cart.spec.ts\nother.spec.ts", "chromium"),
        failed("pays › cart", "cart.spec.ts", "cart.spec.ts", "chromium\nfirefox"),
        failed("--basetemp=.", "calculator"),
        failed("test_a", "tests.test_cart", "-cevil.py"),
        failed("@arguments.txt", "calculator"),
    ],
)
def test_no_name_brings_in_other_tests_or_options(case: Case, capfd: pytest.CaptureFixture[str]) -> None:
    fine = failed("test_b", "tests.test_cart", "tests/test_cart.py")
    report = Report(cases=(case, fine), totals=count([case, fine]))
    MergeResult(report=report).write_rerun_file(Path("failed.txt"))
    assert Path("failed.txt").read_text(encoding="utf-8") == "tests/test_cart.py::test_b\n"
    assert capfd.readouterr().err.startswith("note: 1 failed test is not in failed.txt: ")


def test_the_file_holds_what_failed_and_only_that() -> None:
    flaky = '<flakyFailure message="no"/>'
    merge("--rerun-file", "failed.txt", test_a=NO, test_b="", test_c=flaky, test_d="<skipped/>")
    assert Path("failed.txt").read_text() == "tests/test_cart.py::test_a\n"
    merge("--rerun-file", "failed.txt", test_a="")
    assert Path("failed.txt").read_text() == ""


# -- rules ------------------------------------------------------------------------------------------------------------


def test_own_rules_decide_in_every_page() -> None:
    rule = '[[rule]]\nid = "prices"\ncategory = "env.prices"\nretry = "never"\ntext = ["no prices"]\n'
    Path("rules.toml").write_text(rule + 'hint = "Load prices."\n')
    pages = ("--summary", "s.md", "--html", "r.html", "--json", "r.json")
    merge("--rules", "rules.toml", *pages, test_a=NO)
    assert "Load prices." in Path("s.md").read_text(encoding="utf-8")
    assert "Load prices." in Path("r.html").read_text(encoding="utf-8")
    assert json.loads(Path("r.json").read_text(encoding="utf-8"))["causes"][0]["rule"] == "prices"
    Path("rules.toml").write_text("nonsense")
    assert merge("--rules", "rules.toml", test_a=NO) is MergeExitCode.USAGE


def test_a_cause_with_one_failure_that_nobody_took_on_needs_attention() -> None:
    report = with_known(
        sample.report(sample.failing("a"), sample.failing("b")),
        known.parse('[[failure]]\ntest = {name = "a"}\nowner = "o"\nreason = "r"\nexpires = 2999-01-01'),
        date(2026, 1, 1),
        "known.toml",
    )
    text = markdown.job_summary(report)
    assert "### Needs attention" in text
    assert "### Not from this change" not in text
    assert html.page(replace(report, totals=replace(report.totals, failed=1))).count("known until") > 0
