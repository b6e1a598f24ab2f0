"""Lighthouse results as cells and sentences of raw text, for every target to escape in its own way."""

from __future__ import annotations

from dataclasses import dataclass

from report_merge.lighthouse import METRICS, Assertion, LighthouseReport, Page, Spread, delta
from report_merge.render import escape
from report_merge.render.wording import count, signed, some
from report_merge.sanitize import one_line

NAMED = 10  # URLs and files
LINES = 20  # in a log
METRIC_NAMES = {
    "largest-contentful-paint": "LCP",
    "total-blocking-time": "TBT",
    "cumulative-layout-shift": "CLS",
    "first-contentful-paint": "FCP",
}


class Table:
    """One row for each URL: the columns are the categories and metrics that were measured anywhere."""

    def __init__(self, report: LighthouseReport) -> None:
        categories: dict[str, str] = {}
        for page in report.pages:
            categories |= {score.id: categories.get(score.id, score.title) for score in page.scores}
        metrics = [metric for metric in METRICS if any(m.id == metric for page in report.pages for m in page.metrics)]
        self.columns = [*categories.values(), *(METRIC_NAMES[metric] for metric in metrics)]
        self.rows = [PageRow(page, tuple(categories), tuple(metrics), report) for page in report.pages]
        self.method = _method(report)


def _method(report: LighthouseReport) -> str:
    """How it was measured; scores measured in different ways must not be read as if they were alike."""
    pages = report.pages
    settings = {
        " · ".join(filter(None, (f"Lighthouse {'/'.join(p.versions)}", p.form_factor, p.throttling))) for p in pages
    }
    speeds = sorted({f"{page.benchmark:.0f}" for page in pages if page.benchmark is not None}, key=int)
    speed = [f"benchmarkIndex {' to '.join((speeds[0], speeds[-1])[: len(speeds)])}"] if speeds else []
    others = (("not measured again", report.not_measured_again), ("not a result", [n.file for n in report.notes]))
    named = [f"{words}: {some(names, NAMED)}" for words, names in others if names]
    return "; ".join([*sorted(settings), *speed, "median (lowest–highest) of the runs", *named]) if settings else ""


def lighthouse_trouble(report: LighthouseReport | None) -> list[str]:
    """What keeps Lighthouse from being green, as parts of the headline."""
    if report is None:
        return []
    unusable = f"{count(len(report.problems), 'Lighthouse file')} could not be used"
    return [
        *([] if report.gate_holds else ["the Lighthouse gate does not hold"]),
        *([unusable] if report.problems else []),
    ]


def lighthouse_lines(report: LighthouseReport) -> list[str]:
    """Why Lighthouse is not green, for a terminal or a log; safe to print."""
    failed = [AssertionRow(assertion) for assertion in report.failed]
    lines = [f"LIGHTHOUSE {r.level} {r.name}: expected {r.expectation}, found {r.found}; {r.url}" for r in failed]
    lines += [f"LIGHTHOUSE error {page.url}: {page.error}" for page in report.pages if page.error]
    lines += [f"UNREADABLE {problem.file}: {problem.reason}" for problem in report.problems]
    more = [f"... and {count(len(lines) - LINES, 'more line')} about Lighthouse: see the report"]
    return [escape.workflow_log(one_line(line, 1000)) for line in lines[:LINES]] + (more if len(lines) > LINES else [])


def failed_words(report: LighthouseReport) -> str:
    """`6 assertions failed, 2 warnings`."""
    errors = sum(assertion.level == "error" for assertion in report.failed)
    return f"{count(errors, 'assertion')} failed, {count(len(report.failed) - errors, 'warning')}"


class PageRow:
    """A page as cells of the table."""

    def __init__(
        self, page: Page, categories: tuple[str, ...], metrics: tuple[str, ...], report: LighthouseReport
    ) -> None:
        self.url = page.url
        self.link = page.link
        scores = {score.id: score for score in page.scores}
        values = {metric.id: metric for metric in page.metrics}
        self.cells = [score_cell(scores.get(category)) for category in categories]
        self.cells += [Cell(metric_words(values.get(metric))) for metric in metrics]
        self.delta = page.error or ", ".join(filter(None, (count(page.runs, "run"), change_words(page, report))))


class AssertionRow:
    """An assertion in words."""

    def __init__(self, assertion: Assertion) -> None:
        self.level = assertion.level
        self.url = assertion.url
        self.name = " ".join(
            filter(None, (assertion.audit or assertion.name, assertion.title and f"({assertion.title})"))
        )
        self.expectation = f"{assertion.operator} {_plain(assertion.expected)}".strip()
        values = ", ".join(_plain(value) for value in assertion.values)
        self.found = _plain(assertion.actual) + (f" (runs: {values})" if len(assertion.values) > 1 else "")
        self.docs = assertion.docs


def change_words(page: Page, report: LighthouseReport) -> str:
    """`Performance −12` for what can be told from noise, or why nothing can be said; empty without a baseline."""
    if not report.baseline:
        return ""
    before = next((earlier for earlier in report.baseline if earlier.url == page.url), None)
    changes = [(score.title, delta(page, before, score.id)) for score in page.scores]
    if changes and all(change.points is None for _, change in changes):
        return changes[0][1].reason
    return (
        ", ".join(f"{title} {signed(round(change.points))}" for title, change in changes if change.points)
        or "unchanged"
    )


@dataclass(frozen=True, slots=True)
class Cell:
    text: str
    level: str = ""  # "good", "middling" or "poor", by Lighthouse's own limits


def score_cell(score: Spread | None) -> Cell:
    """`97` or `72 (70–74)`; a score nobody measured is not a 0."""
    if score is None or score.median is None:
        return Cell("not measured")
    level = "good" if score.median >= 90 else "middling" if score.median >= 50 else "poor"
    spread = f" ({score.low:.0f}–{score.high:.0f})" if round(score.low) != round(score.high) else ""
    return Cell(f"{score.median:.0f}{spread}", level)


def metric_words(metric: Spread | None) -> str:
    if metric is None or metric.median is None:
        return "not measured"
    if metric.unit == "millisecond":
        return f"{metric.median / 1000:.2f} s"
    return f"{metric.median:.2f}".rstrip("0").rstrip(".")


def _plain(value: float | str | None) -> str:
    if value is None:
        return "nothing"
    return value if isinstance(value, str) else f"{value:.4g}" if abs(value) < 10 else f"{value:.0f}"
