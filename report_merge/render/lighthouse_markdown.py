"""The Lighthouse part of the Markdown summary: one row for each URL, then the assertions that failed."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from report_merge.lighthouse import METRICS, Assertion, LighthouseReport, Page, Spread, delta
from report_merge.render import escape
from report_merge.render.budget import Item, Section
from report_merge.render.wording import count

ROWS = 50
METRIC_NAMES = {
    "largest-contentful-paint": "LCP",
    "total-blocking-time": "TBT",
    "cumulative-layout-shift": "CLS",
    "first-contentful-paint": "FCP",
}


def lighthouse_sections(report: LighthouseReport, make: Any) -> list[Section]:
    """`make` holds the macros of the summary's template."""
    failed = report.failed
    sections = [_pages(report, make)]
    if failed:
        errors = sum(assertion.level == "error" for assertion in failed)
        words = f"{count(errors, 'assertion')} failed, {count(len(failed) - errors, 'warning')}"
        rows = [Item((str(make.assertion(_AssertionRow(assertion))),)) for assertion in failed[:ROWS]]
        sections.append(
            Section(
                before=f"<details{' open' if errors else ''}><summary>Lighthouse: {words}</summary>\n\n",
                items=rows,
                more=lambda dropped: f"- … and {dropped} more\n",
                hidden=len(failed) - len(rows),
                after="\n</details>\n\n",
            )
        )
    if report.problems:
        rows = [Item((str(make.problem_row(problem)),)) for problem in report.problems[:ROWS]]
        before = "Lighthouse files that could not be used:\n\n| file | reason | |\n|:--|:--|:--|\n"
        sections.append(Section(before=before, items=rows, after="\n"))
    return sections


def _pages(report: LighthouseReport, make: Any) -> Section:
    categories: dict[str, str] = {}
    for page in report.pages:
        categories |= {score.id: categories.get(score.id, score.title) for score in page.scores}
    metrics = [metric for metric in METRICS if any(m.id == metric for page in report.pages for m in page.metrics)]
    names = ["URL", *(escape.markdown(title) for title in categories.values()), *(METRIC_NAMES[m] for m in metrics), ""]
    symbol = "✅" if report.gate_holds else "❌"
    header = f"### {symbol} Lighthouse\n\n| {' | '.join(names)} |\n|:--|{'--:|' * (len(names) - 2)}:--|\n"
    rows = [
        Item((str(make.lighthouse_row(_PageRow(page, tuple(categories), tuple(metrics), report))),))
        for page in report.pages
    ]
    return Section(before=header, items=rows[:ROWS], more=lambda n: f"\n… and {n} more\n", after="\n" + _method(report))


def _method(report: LighthouseReport) -> str:
    settings = sorted({
        " · ".join(filter(None, (f"lighthouse {'/'.join(p.versions)}", p.form_factor, p.throttling, _speed(p))))
        for p in report.pages
    })  # fmt: skip
    return (
        f"<sub>{escape.markdown('; '.join(settings))} · median (lowest–highest) of the runs</sub>\n\n"
        if settings
        else ""
    )


def _speed(page: Page) -> str:
    return f"benchmarkIndex {page.benchmark:.0f}" if page.benchmark is not None else ""


class _PageRow:
    """A page as cells of the table."""

    def __init__(
        self, page: Page, categories: tuple[str, ...], metrics: tuple[str, ...], report: LighthouseReport
    ) -> None:
        self.url: Any = page.url
        if link := escape.markdown_url(page.link):
            self.url = Markup(f"[{escape.markdown(page.url)}]({link})")  # noqa: S704  escaped for this place
        scores = {score.id: score for score in page.scores}
        values = {metric.id: metric for metric in page.metrics}
        self.cells = [score_words(scores.get(category)) for category in categories]
        self.cells += [metric_words(values.get(metric)) for metric in metrics]
        self.delta = page.error or ", ".join(filter(None, (count(page.runs, "run"), change_words(page, report))))


class _AssertionRow:
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
        self.docs = Markup(escape.markdown_url(assertion.docs))  # noqa: S704  escaped for this place


def change_words(page: Page, report: LighthouseReport) -> str:
    """`Performance −12` for what can be told from noise, or why nothing can be said; empty without a baseline."""
    if not report.baseline:
        return ""
    before = next((earlier for earlier in report.baseline if earlier.url == page.url), None)
    changes = [(score.title, delta(page, before, score.id)) for score in page.scores]
    if changes and all(change.points is None for _, change in changes):
        return changes[0][1].reason
    return ", ".join(f"{title} {change.points:+.0f}" for title, change in changes if change.points) or "unchanged"


def score_words(score: Spread | None) -> str:
    """`🟢 97` or `🟠 72 (70–74)`; a score nobody measured is not a 0."""
    if score is None or score.median is None:
        return "not measured"
    circle = "🟢" if score.median >= 90 else "🟠" if score.median >= 50 else "🔴"
    spread = f" ({score.low:.0f}–{score.high:.0f})" if round(score.low) != round(score.high) else ""
    return f"{circle} {score.median:.0f}{spread}"


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
