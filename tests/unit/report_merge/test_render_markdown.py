"""The Markdown summary: the verdict first, everything closed, within its bytes, and nothing foreign breaks out."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from report_merge.baseline import compare
from report_merge.model import FileProblem, MachineUse, Missing, Report, RunContext
from report_merge.render import markdown
from report_merge.render.budget import Item, Section, fill, size
from report_merge.render.view import excerpt
from tests.unit.report_merge import sample_reports as sample
from tests.unit.report_merge.test_escape import HOSTILE

MARKDOWN = MarkdownIt("gfm-like", {"html": True, "linkify": False})
VOID = {"br", "hr", "img"}


class Balance(HTMLParser):
    """Raises when a tag is closed that is not open; `open` is what was never closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.rows: list[int] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append(0)
        if tag in ("td", "th"):
            self.rows[-1] += 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag


def check_structure(text: str) -> Balance:
    """Everything that was opened is closed, no element is of foreign make, and no fence swallows the rest."""
    page = Balance(MARKDOWN.render(text))
    assert page.open == []
    known = {
        "h2", "h3", "p", "a", "b", "strong", "code", "pre", "ul", "li", "sub", "details", "summary",
        "table", "thead", "tbody", "tr", "th", "td",
    }  # fmt: skip
    assert page.seen <= known, page.seen - known
    assert text.endswith("</sub>\n")
    for table in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        columns = {line.count("|") for line in table.splitlines()}
        assert len(columns) == 1, table
    return page


@pytest.mark.parametrize("make", [sample.green, sample.red, sample.incomplete])
def test_the_summary_of_each_kind_of_run(make: Callable[[], Report], golden: Callable[[str, str], None]) -> None:
    text = markdown.job_summary(make(), comparison=compare(make(), sample.green()) if make is sample.red else None)
    check_structure(text)
    golden(f"summary-{make.__name__}.md", text)


def test_a_green_run_is_two_lines_and_the_rest_is_folded() -> None:
    text = markdown.job_summary(sample.green())
    head, _, rest = text.partition("<details>")
    assert next(line for line in head.splitlines() if line) == "## ✅ 12 tests passed, 1 skipped"
    assert len([line for line in head.splitlines() if line]) == 2
    assert "### " not in rest


def test_incomplete_is_its_own_word_and_never_green() -> None:
    no_shard = sample.report(sample.case("a"), missing=(Missing(what="shard", name="7"),))
    for report in (sample.incomplete(), sample.report(), no_shard):
        first = markdown.job_summary(report).splitlines()[0]
        assert first.startswith("## ❌ INCOMPLETE")


def test_an_unreadable_file_is_not_green() -> None:
    report = sample.report(sample.case("a"), problems=(FileProblem(file="x.xml", reason="not XML"),))
    assert markdown.job_summary(report).startswith("## ⚠️ 1 report file not wholly readable; 1 test passed")


def test_new_failures_come_before_old_ones_and_flaky_ones_last() -> None:
    baseline = sample.report(sample.failing("signs in", "TypeError: old\n"), sample.case("applies a discount"))
    text = markdown.job_summary(sample.red(), comparison=compare(sample.red(), baseline))
    order = ["Needs attention", "<b>new, product</b>", "⚙️ <b>new, environment</b>", "Not from this change",
             "🟠 <b>also fails on main a1b2c3d</b>", "🟡 <b>flaky</b>", "<summary>Machines"]  # fmt: skip
    assert [text.index(words) for words in order] == sorted(text.index(words) for words in order)


@pytest.mark.parametrize("tests", [1, 1000, pytest.param(100_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("failed_share", [0, 0.02, 1])
def test_the_summary_stays_within_its_bytes(tests: int, failed_share: float) -> None:
    failed = round(tests * failed_share)
    report = sample.large(tests, failed, texts=1000)
    for budget in (400_000, 20_000, 3000):
        text = markdown.job_summary(report, budget_bytes=budget)
        assert size(text) <= budget
        check_structure(text)
        assert f"{failed:,} of {tests:,}" in text or failed == 0 or tests == 1


def test_names_of_all_causes_come_before_the_stack_of_any() -> None:
    report = sample.large(100, 100, texts=40)
    roomy, tight = (markdown.job_summary(report, budget_bytes=budget) for budget in (400_000, 12_000))
    causes = re.compile(r"expect\(cause\w+\)")
    assert len(set(causes.findall(tight))) == len(set(causes.findall(roomy))) == 40
    assert roomy.count("```") == 82  # a pair each, and one for the command that runs them again
    assert tight.count("```") < 82
    assert "shortened" in tight


def test_it_says_what_it_left_out() -> None:
    text = markdown.job_summary(sample.large(1000, 1000, texts=500), budget_bytes=20_000)
    (shown,) = re.findall(r"… and ([\d,]+) more tests with other causes", text)
    assert 0 < int(shown.replace(",", "")) < 1000
    assert "left out" in text


def test_what_the_step_has_already_written_is_not_available() -> None:
    report = sample.large(2000, 2000, texts=200)
    assert size(markdown.job_summary(report, already_used_bytes=markdown.STEP_LIMIT - 5000)) <= 5000
    least = markdown.job_summary(report, already_used_bytes=markdown.STEP_LIMIT - 60)
    assert least == "## ❌ 2,000 of 2,000 tests failed\n"
    assert markdown.job_summary(report, already_used_bytes=markdown.STEP_LIMIT - 5) == ""


def test_the_comment_begins_with_its_hidden_marker() -> None:
    text = markdown.pr_comment(sample.large(1000, 500, texts=300), marker="ci-dispatch:e2e/merge--><b>")
    assert text.startswith("<!-- ci-dispatch:e2e/merge-b:b2bdafdab2d3 -->\n## ❌")
    assert size(text) <= 60_000
    assert len(text) <= 65_536
    check_structure(text)


@given(st.lists(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=40)), min_size=12, max_size=12))
def test_nothing_foreign_breaks_out(texts: list[str]) -> None:
    check_hostile(texts)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_of_the_hostile_corpus_breaks_out(text: str) -> None:
    check_hostile([text] * 12)


def check_hostile(texts: list[str]) -> None:
    name, stack, machine, title, branch, missing, problem, lost, reproduce, url, reason, project = texts
    report = sample.report(
        sample.failing(name, stack, machine=machine, project=project),
        sample.failing(name + "2", f"Error: {stack}\n{stack}", machine=machine, project=project),
        sample.flaky(name + "3", stack),
        sample.case(name + "4", reason=reason or "r"),
        machines=(MachineUse(name=machine, lost=lost),),
        missing=(Missing(what=missing, name=missing, reason=missing),),
        problems=(FileProblem(file=problem, reason=problem),),
        context=RunContext(title=title, branch=branch, sha=branch, reproduce=reproduce, url=url, report_url=url),
    )
    page = check_structure(markdown.job_summary(report, comparison=compare(report, sample.green())))
    assert page.seen.isdisjoint({"script", "img", "em", "del"})


# ------------------------------------------------------------------------------------------------ the budget itself


def test_a_budget_is_spent_from_the_first_section_on_and_details_come_last() -> None:
    sections = [
        Section(before="A", items=[Item(("detail1", "d1")), Item(("detail2", "d2"))], after="Z"),
        Section(before="B", items=[Item(("x",)), Item(("y",), stands_for=3)], more=lambda n: f"+{n}"),
    ]
    assert fill(sections, 100).text == "Adetail1detail2ZBxy"
    assert fill(sections, 16).text == "Adetail1d2ZBxy"
    exact = fill(sections, 10)
    assert (exact.text, exact.dropped, exact.shortened) == ("Ad1d2ZBx+3", 3, 2)
    assert fill(sections, 7).text == "Ad1d2Z"
    assert fill(sections, 3).text == ""


def test_a_section_too_large_for_its_frame_leaves_its_room_to_the_next() -> None:
    assert fill([Section(before="A" * 50, items=[Item(("x",))]), Section(items=[Item(("y",))])], 10).text == "y"


def test_nothing_jumps_the_queue() -> None:
    assert fill([Section(items=[Item(("aaa",)), Item(("b" * 40,)), Item(("c",))])], 10).text == "aaa"


def test_an_excerpt_keeps_head_and_tail_and_counts_the_gap() -> None:
    lines = [f"line {number}" for number in range(100)]
    assert excerpt("\n".join(lines), 2, 1) == "line 0\nline 1\n... 97 more lines ...\nline 99"
    assert excerpt("\n".join(lines[:4]), 2, 1) == "line 0\nline 1\nline 2\nline 3"
    assert excerpt("x" * 501) == "x" * 500 + "…"


@given(st.lists(st.lists(st.text(max_size=20), min_size=1, max_size=6), max_size=5), st.integers(0, 300))
def test_a_budget_is_never_exceeded(texts: list[list[str]], budget: int) -> None:
    sections = [
        Section(before="<", after=">", items=[Item((t * 3, t, t[:1])) for t in items], more=lambda n: f"+{n}")
        for items in texts
    ]
    filled = fill(sections, budget)
    assert size(filled.text) <= budget


def test_one_reason_is_one_row_however_many_tests_it_stopped() -> None:
    lost = [sample.case(f"lost {n}", reason="no healthy machine") for n in range(161)]
    page = markdown.job_summary(sample.report(*lost))
    assert page.count("no healthy machine") == 1
    assert "| 161 tests | cart.spec.ts › lost 0 &#91;desktop&#93;<br>cart.spec.ts › lost 1" in page
    assert "<br>… and 111 more tests |" in page


def test_repaired_files_are_folded_and_lost_ones_are_not() -> None:
    repaired = FileProblem(file="control.xml", reason="1 character that XML forbids was replaced", salvaged=4)
    cut = FileProblem(file="cut.xml", reason="ends inside <testcase>", line=9, salvaged=3)
    text = markdown.job_summary(sample.report(sample.case("a"), problems=(repaired, cut)))
    check_structure(text)
    assert text.index("### Files that could not be read, or not wholly") < text.index("cut.xml")
    assert text.index("<details><summary>1 damaged file repaired, nothing lost</summary>") < text.index("control.xml")
    assert text.index("cut.xml") < text.index("<details>")
