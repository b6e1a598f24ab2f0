"""The Lighthouse part of the Markdown summary: one row for each URL, then the assertions that failed."""

from __future__ import annotations

from typing import Any

from report_merge.lighthouse import LighthouseReport
from report_merge.render import escape
from report_merge.render.budget import Item, Section
from report_merge.render.lighthouse_words import AssertionRow, Table, failed_words
from report_merge.render.wording import count

ROWS = 50


def lighthouse_sections(report: LighthouseReport, make: Any) -> list[Section]:
    """`make` holds the macros of the summary's template."""
    sections = [_pages(report, make)] if report.pages else []
    failed = report.failed
    if failed:
        is_open = " open" if not report.gate_holds else ""
        rows = [Item((str(make.assertion(AssertionRow(assertion))),)) for assertion in failed[:ROWS]]
        sections.append(
            Section(
                before=f"<details{is_open}><summary>Lighthouse: {failed_words(report)}</summary>\n\n",
                items=rows,
                more=lambda dropped: f"- … and {dropped} more\n",
                hidden=len(failed) - len(rows),
                after="\n</details>\n\n",
            )
        )
    if report.problems:
        rows = [Item((str(make.problem_row(problem)),)) for problem in report.problems[:ROWS]]
        before = "### Lighthouse files that could not be used\n\n| file | reason | |\n|:--|:--|:--|\n"
        sections.append(Section(before=before, items=rows, after="\n"))
    return sections


def _pages(report: LighthouseReport, make: Any) -> Section:
    table = Table(report)
    names = " | ".join(escape.markdown(name) for name in ("URL", *table.columns))
    title, end = "### ❌ Lighthouse\n\n", ""
    if report.gate_holds:
        title, end = (
            f"<details><summary>✅ Lighthouse: {count(len(report.pages), 'URL')}</summary>\n\n",
            "</details>\n\n",
        )
    header = f"{title}| {names} | |\n|:--|{'--:|' * len(table.columns)}:--|\n"
    rows = [Item((str(make.lighthouse_row(row)),)) for row in table.rows]
    method = f"\n<sub>{escape.markdown(table.method, 600)}</sub>\n\n{end}"
    return Section(
        before=header, items=rows[:ROWS], more=lambda n: f"\n… and {n} more\n", after=method, hidden=len(rows[ROWS:])
    )
