"""The HTML report as text: well formed, one file, within its bytes. Its behaviour: tests/integration."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from report_merge.baseline import compare
from report_merge.model import Case, MachineUse, Missing, PlannedFleet, Report, RunContext, WorkSpan
from report_merge.render import charts, html, markdown
from report_merge.render.budget import size
from tests.unit.report_merge import sample_reports as sample
from tests.unit.report_merge.test_escape import HOSTILE
from tests.unit.report_merge.test_render_markdown import check_structure

VOID = {"meta", "input", "br", "hr"}


class Balance(HTMLParser):
    """Raises when a tag is closed that is not open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag


def data_of(page: str) -> dict[str, Any]:
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    document: dict[str, Any] = json.loads(text)
    return document


@pytest.mark.parametrize("make", [sample.green, sample.red, sample.incomplete, sample.report])
def test_the_page_is_well_formed_and_one_file(make: Callable[[], Report]) -> None:
    page = html.page(make(), comparison=compare(make(), sample.green()))
    parsed = Balance(page)
    assert "link" not in parsed.seen
    assert parsed.attributes.isdisjoint({"src", "style", "srcset"}), "the policy would not allow it"
    assert not any(name.startswith("on") for name in parsed.attributes)


def test_the_policy_names_the_style_and_the_script_that_are_there() -> None:
    page = html.page(sample.red())
    for element in ("style", "script"):
        (text,) = re.findall(rf"<{element}>(.*?)</{element}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{element}-src &#x27;sha256-{digest}&#x27;" in page
    assert "default-src &#x27;none&#x27;" in page


def test_the_list_holds_every_test_once_those_that_need_attention_first() -> None:
    data = data_of(html.page(sample.incomplete()))
    assert len(data["rows"]) == 19
    verdicts = [data["verdicts"][row[0]] for row in data["rows"]]
    assert verdicts == ["failed"] * 4 + ["not run"] + ["flaky"] + ["skipped"] + ["passed"] * 12
    assert [len(row) for row in data["rows"]] == [8] * 4 + [7] + [8] + [7] + [6] * 12
    assert data["details"][4]["attempts"] == [["not run", None, "", "pi was lost while it ran this"]]
    causes = [data["causes"][row[7]] for row in data["rows"][:4]]
    assert causes[0] == causes[1] != causes[2]


@pytest.mark.parametrize(
    ("tests", "failed"), [(1, 1), (300, 300), (3000, 1), pytest.param(10_000, 10_000, marks=pytest.mark.slow)]
)
def test_the_page_stays_within_its_bytes(tests: int, failed: int) -> None:
    report = sample.large(tests, failed, texts=600)
    for budget in (5_000_000, 300_000, 100_000):
        page = html.page(report, budget_bytes=budget)
        assert size(page) <= budget
        Balance(page)
        listed = len(data_of(page)["rows"])
        assert listed == tests or f"{tests - listed:,} tests not listed" in page


def test_a_budget_that_cannot_hold_a_page_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 100,000 bytes, not 10"):
        html.page(sample.red(), budget_bytes=10)


@settings(max_examples=40)
@given(st.lists(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=40)), min_size=6, max_size=6))
def test_nothing_foreign_breaks_out(texts: list[str]) -> None:
    check_hostile(texts)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_of_the_hostile_corpus_breaks_out(text: str) -> None:
    check_hostile([text] * 6)


def check_hostile(texts: list[str]) -> None:
    name, stack, machine, title, missing, url = texts
    report = sample.report(
        sample.failing(name, stack, machine=machine, project=machine),
        sample.case(name + "4", reason=stack or "r"),
        machines=(MachineUse(name=machine, lost=stack, spans=(WorkSpan(start=0, end=1, label=name),)),),
        missing=(Missing(what=missing, name=missing, reason=missing),),
        context=RunContext(title=title, branch=title, reproduce=stack, url=url),
    )
    parsed = Balance(html.page(report, comparison=compare(report, sample.green())))
    assert parsed.seen.isdisjoint({"img", "iframe", "object"})
    assert not any(attribute.startswith("on") for attribute in parsed.attributes)


def test_numbers_that_are_none_do_no_harm() -> None:
    odd = (float("nan"), float("inf"), -1.0, 1e300)
    cases = [sample.case(f"t{value}", sample.attempt(seconds=value), sample.attempt(seconds=value)) for value in odd]
    machines = (
        MachineUse(name="m", busy_seconds=float("nan"), spans=(WorkSpan(start=float("nan"), end=float("inf")),)),
    )
    page = html.page(sample.report(*cases, machines=machines))
    assert all(row[5] is None or abs(row[5]) < 1e9 for row in data_of(page)["rows"])


def test_what_nobody_measured_has_no_column() -> None:
    machines = tuple(MachineUse(name=name, tests=1, busy_seconds=seconds) for name, seconds in (("a", 10), ("b", 5)))
    page = html.page(sample.report(sample.case("x"), machines=machines))
    assert "busy, compared" in page
    assert ">share</th>" not in page
    assert ">share</th>" in html.page(sample.green())
    summary = markdown.job_summary(sample.report(sample.case("x"), machines=machines))
    assert "| machine | tests | failed | retries | busy | lost |" in summary
    check_structure(summary)


def test_a_timeline_says_what_it_shows() -> None:
    svg = charts.timeline((WorkSpan(start=0, end=30, label="a<b"), WorkSpan(start=30, end=60, label="b")), 60, "pi")
    assert 'aria-label="pi: 2 spans of work over 1m00s"' in svg
    assert "<title>a&lt;b 0.00s to 30.0s: passed</title>" in svg
    assert re.findall(r'x="([\d.]+)" width="([\d.]+)"', svg) == [("0.0", "499.0"), ("500.0", "499.0")]


FLEETS = (
    PlannedFleet(machines=("moruk",), seconds=88.0),
    PlannedFleet(machines=("moruk", "<b>pi"), seconds=44.0),
)


def test_the_curve_says_what_machines_were_planned_to_take_and_what_the_run_took() -> None:
    svg = str(charts.fleet_curve(FLEETS, 46.2, 2))
    assert 'aria-label="Planned time by number of machines, 1: 1m28s, 2: 44.0s; the run took 46.2s with 2"' in svg
    assert "<title>with &lt;b&gt;pi: 2 machines, planned 44.0s</title>" in svg
    assert "took 46.2s" in svg
    points = re.search(r'points="([^"]*)"', svg)
    assert points
    (_, first), (_, second) = (map(float, point.split(",")) for point in points[1].split())
    assert first < second, "less time is further down"
    square = re.search(r'<rect class="fill-took" x="[^"]*" y="([^"]*)"', svg)
    assert square
    assert first < float(square[1]) + 5 < second, "the run took longer than planned"
    assert "script" not in svg


def test_the_run_lies_between_the_numbers_of_machines_that_were_planned() -> None:
    fleets = [PlannedFleet(machines=tuple(map(str, range(n))), seconds=100 / n) for n in (1, 2, 10)]

    def place(used: int) -> float:
        found = re.search(r'<rect class="fill-took" x="([^"]*)"', str(charts.fleet_curve(fleets, 30.0, used)))
        assert found
        return float(found[1])

    first, second, last = (place(used) for used in (1, 2, 10))
    assert place(6) == pytest.approx((second + last) / 2, abs=0.1)
    assert first < second < last == place(99)


@pytest.mark.parametrize(
    ("changes", "shown"),
    [({}, True), ({"planned_fleets": FLEETS[:1]}, False), ({"wall_seconds": None}, False), ({"machines": ()}, False)],
)
def test_the_curve_is_part_of_the_page_where_it_is_known(changes: dict[str, Any], shown: bool) -> None:
    page = html.page(sample.report(sample.case("works"), **({"planned_fleets": FLEETS} | changes)))
    Balance(page)
    assert ("Machines and time" in page) is shown
    assert ("Planned time by number of machines" in page) is shown


def test_durations_are_counted_into_their_buckets() -> None:
    svg = charts.durations([0.05, 0.1, 0.2, 5, 1000])
    assert "&lt; 0.1s: 1, 0.3s: 2, 1s: 0, 3s: 0, 10s: 1, 30s: 0, 100s: 0, more: 1" in svg


def test_a_sparkline_shows_each_attempt() -> None:
    flaky: Case = sample.flaky("x")
    svg = charts.sparkline(flaky)
    assert 'aria-label="attempts: failed, passed"' in svg
    assert svg.count("<rect") == 2
