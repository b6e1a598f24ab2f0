"""Lighthouse CI results: what is there is shown, what is broken is named, what cannot be compared is not."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_dispatch.core.codec import replace
from report_merge import lighthouse
from report_merge.lighthouse import Delta, LighthouseReport, Page, Spread
from report_merge.lighthouse.read import _page
from report_merge.render import html, markdown
from tests.unit.report_merge import sample_reports as sample
from tests.unit.report_merge.test_escape import HOSTILE
from tests.unit.report_merge.test_render_html import Balance
from tests.unit.report_merge.test_render_markdown import check_structure

DATA = Path(__file__).parents[2] / "data" / "lighthouse"
CORPUS = Path(os.environ.get("TEST_CORPUS", Path(__file__).parents[4] / "shared" / "corpus")) / "lighthouse"


def score(page: Page, category: str) -> Spread:
    return next(score for score in page.scores if score.id == category)


def test_one_row_for_each_url_with_the_median_and_its_spread() -> None:
    home, cart = lighthouse.read(DATA / "lhci").pages
    performance = score(home, "performance")
    assert (performance.median, performance.low, performance.high, performance.runs) == (99, 98, 100, 3)
    assert score(cart, "performance").median == 72
    assert [metric.id for metric in cart.metrics] == [
        "largest-contentful-paint", "total-blocking-time", "cumulative-layout-shift",
    ]  # fmt: skip
    assert home.link.startswith("https://lhci.example/")
    assert (home.versions, home.form_factor, home.throttling) == (("12.6.1",), "mobile", "simulate")


def test_the_gate_fails_for_errors_and_not_for_warnings() -> None:
    report = lighthouse.read(DATA / "lhci")
    assert [(a.level, a.audit) for a in report.failed] == [
        ("error", "color-contrast"), ("error", "resource-summary.script.size"), ("warn", "performance"),
    ]  # fmt: skip
    assert not report.gate_holds
    warnings = replace(report, assertions=tuple(a for a in report.assertions if a.level == "warn"))
    assert warnings.failed
    assert warnings.gate_holds


def test_categories_are_taken_as_they_come() -> None:
    (page,) = lighthouse.read(DATA / "v13").pages
    assert score(page, "agentic-browsing").median == 50


def test_a_partial_directory_is_reported_as_far_as_it_goes() -> None:
    report = lighthouse.read(DATA / "partial")
    assert [(problem.file, problem.reason.split(":")[0]) for problem in report.problems] == [
        ("assertion-results.json", "holds 2 unusable assertions"),
        ("lhr-2.json", "is not JSON"),
        ("manifest.json", "names past.json, which is not next to it"),
        ("manifest.json", "names a result, which is not next to it"),
    ]
    assert [(note.file, note.reason) for note in report.notes] == [("notes.json", "is not a Lighthouse result")]
    broken, odd = report.pages
    assert broken.error == "CHROME_INTERSTITIAL_ERROR: Chrome prevented page load with an interstitial."
    assert odd.warnings == ("slow CPU",)
    assert not report.gate_holds


def test_a_score_nobody_measured_is_not_zero() -> None:
    broken, _ = lighthouse.read(DATA / "partial").pages
    assert broken.scores == ()
    run = {
        "lighthouseVersion": "12",
        "requestedUrl": "http://a/",
        "categories": {"seo": {"title": "SEO", "score": None}},
    }
    page = _page("http://a/", [run], "")
    assert score(page, "seo").median is None


def test_nothing_there_is_a_problem_too(tmp_path: Path) -> None:
    assert "holds no Lighthouse result" in lighthouse.read(tmp_path).problems[0].reason
    assert "cannot be read" in lighthouse.read(tmp_path / "missing").problems[0].reason


def test_links_out_of_the_directory_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text('{"lighthouseVersion": "12", "requestedUrl": "http://secret/"}')
    inside = tmp_path / "in"
    inside.mkdir()
    (inside / "lhr-1.json").symlink_to(tmp_path / "secret")
    report = lighthouse.read(inside)
    assert report.pages == ()
    assert "not an ordinary file" in report.problems[0].reason


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.sampled_from(HOSTILE),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([
            "categories", "audits", "score", "title", "numericValue", "configSettings", "environment", "runtimeError",
            "code", "benchmarkIndex", "runWarnings", "performance", "largest-contentful-paint", "formFactor",
        ]), inner, max_size=4),
    )
)  # fmt: skip
def test_hostile_results_sink_nothing(value: Any) -> None:
    run = (value if isinstance(value, dict) else {}) | {"lighthouseVersion": "<b>|`", "requestedUrl": "|`<script>"}
    run = json.loads(json.dumps(run))
    report = LighthouseReport(pages=(_page("|`<script>", [run], "javascript:alert(1)"),))
    check_structure(markdown.job_summary(sample.green(), lighthouse=report))
    Balance(html.page(sample.green(), lighthouse=report))


def page(performance: float, *, benchmark: float = 1500, version: str = "12.6.1", low: float | None = None) -> Page:
    low = performance if low is None else low
    spread = Spread(id="performance", title="Performance", median=performance, low=low, high=performance, runs=3)
    return Page(url="http://a/", runs=3, scores=(spread,), metrics=(), versions=(version,), benchmark=benchmark)


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (page(90), Delta(-18)),
        (page(74), Delta(0.0, "within the noise")),
        (page(90, low=60), Delta(0.0, "within the noise")),
        (page(90, benchmark=2000), Delta(None, "not comparable: another CPU")),
        (page(90, benchmark=0), Delta(None, "not comparable: the speed of the CPU is unknown")),
        (page(90, version="13.5.0"), Delta(None, "not comparable: another Lighthouse version")),
        (replace(page(90), form_factor="desktop"), Delta(None, "not comparable: other settings")),
        (replace(page(90), scores=()), Delta(None, "not measured")),
        (None, Delta(None, "not on the baseline")),
    ],
)
def test_only_what_can_be_compared_is(before: Page | None, expected: Delta) -> None:
    assert lighthouse.delta(page(72), before, "performance") == expected


def test_the_summary_says_what_changed_or_why_it_cannot_say() -> None:
    now = LighthouseReport(pages=(page(72),))
    for before, words in ((page(90), "Performance −18"), (page(90, benchmark=3000), "not comparable: another CPU")):
        text = markdown.job_summary(sample.green(), lighthouse=replace(now, baseline=(before,)))
        assert words in text
        check_structure(text)


def test_a_gate_that_does_not_hold_is_never_shown_as_green() -> None:
    fails = lighthouse.read(DATA / "lhci")
    holds = replace(fails, assertions=())
    for gate, symbol, status in ((fails, "❌", "FAILED"), (holds, "✅", "PASSED")):
        text = markdown.job_summary(sample.green(), lighthouse=gate)
        check_structure(text)
        assert text.startswith(f"## {symbol} 12 tests passed")
        assert f'data-status="{status}"' in html.page(sample.green(), lighthouse=gate)
        assert (text.index("Lighthouse") < text.index("Machines")) is (gate is fails)


def test_the_summary_shows_it(golden: Any) -> None:
    report = lighthouse.read(DATA / "lhci")
    text = markdown.job_summary(sample.green(), lighthouse=report)
    check_structure(text)
    golden("summary-lighthouse.md", text)


@pytest.mark.skipif(not CORPUS.is_dir(), reason=f"no corpus at {CORPUS} (set TEST_CORPUS)")
def test_real_results_are_read_whole() -> None:
    real = lighthouse.read(CORPUS / "lhci-0.15.1" / ".lighthouseci")
    assert (real.problems, [page.runs for page in real.pages], len(real.assertions)) == ((), [3, 3], 14)
    uploaded = lighthouse.read(CORPUS / "lhci-0.15.1" / "filesystem-upload")
    assert uploaded.problems == ()
    assert [score(page, "performance").median for page in uploaded.pages] == [72, 100]
    errors = lighthouse.read(CORPUS / "errors")
    assert {page.error.split(":")[0] for page in errors.pages} == {
        "CHROME_INTERSTITIAL_ERROR",
        "ERRORED_DOCUMENT_REQUEST",
    }
    assert len(lighthouse.read(CORPUS / "standalone").pages) == 2
