"""A run as GitHub Markdown: the job summary and the pull-request comment, each within its bytes.

The page says the verdict first, then what needs a person, then the rest, folded. A green run is two lines.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from report_merge.baseline import Comparison
from report_merge.failures import FailureRules
from report_merge.lighthouse import LighthouseReport
from report_merge.model import Case, Report, RunContext, Totals
from report_merge.render import escape, wording
from report_merge.render.budget import Filled, Item, Section, fill, size
from report_merge.render.lighthouse_markdown import lighthouse_sections
from report_merge.render.lighthouse_words import lighthouse_trouble
from report_merge.render.view import (
    ShownGroup,
    View,
    balance,
    context_parts,
    duplicates_sentence,
    excerpt,
    output_tail,
    spent,
    view,
)
from report_merge.render.wording import STATUS_SYMBOL, Status, count, signed

STEP_LIMIT = (
    1_048_576  # bytes a step may write; above it GitHub shows nothing at all (actions/runner FileCommandManager)
)
PROBLEMS = "| file | reason | |\n|:--|:--|:--|\n"
GROUPS = 200  # causes shown in detail or by name; nobody reads more, and the report has them
OPEN_GROUPS = 3
ROWS = 50  # of machines, changes, reasons why parts are missing
NAMES = 50  # of what is missing for one reason


def job_summary(
    report: Report,
    *,
    budget_bytes: int = 400_000,
    already_used_bytes: int = 0,
    comparison: Comparison | None = None,
    lighthouse: LighthouseReport | None = None,
    rules: FailureRules | None = None,
) -> str:
    """The text for GITHUB_STEP_SUMMARY, into which other steps may have written `already_used_bytes`.

    It never takes more than `budget_bytes`, nor more than the step has left of its 1,048,576 bytes, beyond which GitHub
    would drop the whole summary. Empty when not even the verdict fits.
    """
    room = min(budget_bytes, STEP_LIMIT - already_used_bytes)
    return _page(view(report, comparison, rules), lighthouse, room, groups=GROUPS)


def pr_comment(
    report: Report,
    *,
    marker: str,
    budget_bytes: int = 60_000,
    comparison: Comparison | None = None,
    lighthouse: LighthouseReport | None = None,
    rules: FailureRules | None = None,
) -> str:
    """The body of a pull-request comment; GitHub's limit is 65,536 characters.

    Its first line is a hidden `marker`, by which the next run finds the comment to edit instead of writing another.
    """
    hidden = escape.html_comment(marker) + "\n"
    page = _page(view(report, comparison, rules), lighthouse, budget_bytes - size(hidden), groups=GROUPS // 5)
    return hidden + page if page else ""


def _page(shown: View, lighthouse: LighthouseReport | None, room: int, *, groups: int) -> str:
    head = _head(shown, lighthouse)
    foot_room = 250
    if size(head) + foot_room > room:
        shortest = f"## {wording.symbol(shown.report, lighthouse)} {escape.markdown(wording.headline(shown.report))}\n"
        return shortest if size(shortest) <= room else ""
    pages = lighthouse_sections(lighthouse, macros()) if lighthouse else []
    urgent, calm = ([], pages) if lighthouse and lighthouse.gate_holds else (pages, [])
    rest = [*_elsewhere(shown, groups), *_where(shown), *_changes(shown), *_repaired(shown), *_notes(shown)]
    sections = [*_attention(shown, groups), *urgent, *rest, *calm]
    filled = fill(sections, room - size(head) - foot_room)
    return head + filled.text + _foot(filled, size(head) + size(filled.text), room)


def _head(shown: View, lighthouse: LighthouseReport | None) -> str:
    report, comparison = shown.report, shown.comparison
    failing = report.totals.failed > report.totals.known
    new = [case for case in comparison.new_failures if not case.known or case.known.expired] if comparison else []
    blame = [count(len(new), "new failure")] if comparison and failing else []
    blame += lighthouse_trouble(lighthouse)
    context = report.context
    links = [
        link for link in (("HTML report", context.report_url), ("run", context.url)) if escape.markdown_url(link[1])
    ]
    parts = context_parts(report, comparison)
    words = (wording.symbol(report, lighthouse), wording.headline(report), ", ".join(blame))
    head = str(macros().head(*words, parts, links)).rstrip() + "\n\n"
    if wording.symbol(report) == STATUS_SYMBOL[Status.PASSED] and not report.totals.flaky:
        return head
    rows: list[tuple[str, list[Any]]] = [("this run", _cells(report.totals))]
    if comparison:
        changes = [
            signed(now - then) for now, then in zip(_numbers(report.totals), _numbers(comparison.totals), strict=True)
        ]
        rows.append((f"vs {comparison.label}", changes))
    return head + str(macros().totals(rows))


def _numbers(totals: Totals) -> tuple[int, ...]:
    return totals.tests, totals.passed, totals.failed, totals.flaky, totals.skipped, totals.not_run


def _cells(totals: Totals) -> list[Any]:
    bold = {0, 2, 5}
    return [
        Markup(f"<b>{number:,}</b>") if index in bold and number else f"{number:,}"  # noqa: S704  a number
        for index, number in enumerate(_numbers(totals))
    ]


def _attention(shown: View, groups: int) -> list[Section]:
    sections = []
    if shown.missing:
        table = "### Missing\n\n| what | name | why |\n|:--|:--|:--|\n"
        rows = [
            Item(tuple(str(macros().missing_row(group, most)) for most in (NAMES, 1)), stands_for=len(group.names))
            for group in shown.missing[:ROWS]
        ]
        sections.append(_table(table, rows, sum(len(group.names) for group in shown.missing[ROWS:])))
    if shown.lossy:
        table = f"### Files that could not be read, or not wholly\n\n{PROBLEMS}"
        rows = [Item((str(macros().problem_row(problem)),)) for problem in shown.lossy[:ROWS]]
        sections.append(_table(table, rows, len(shown.lossy) - len(rows)))
    if told := duplicates_sentence(shown.report):
        table = f"### Tests in several files\n\n{escape.markdown(told)}.\n\n| test | files |\n|:--|:--|\n"
        rows = [
            Item((f"| {escape.markdown(wording.title(one.key))} | {escape.markdown(', '.join(one.files))} |\n",))
            for one in shown.report.duplicates[:ROWS]
        ]
        sections.append(_table(table, rows, shown.report.duplicate_count - len(rows)))
    sections.append(_groups("### Needs attention\n\n", shown.attention, groups, shown.report.context))
    return sections


def _repaired(shown: View) -> list[Section]:
    rows = [Item((str(macros().problem_row(problem)),)) for problem in shown.repaired[:ROWS]]
    title = f"{count(len(shown.repaired), 'damaged file')} repaired, nothing lost"
    return [_folded(title, PROBLEMS, rows, len(shown.repaired) - len(rows))] if rows else []


def _elsewhere(shown: View, groups: int) -> list[Section]:
    only_flaky = all((group.new is None or group.new) and not group.known for group in shown.elsewhere)
    title = "### Flaky\n\n" if only_flaky else "### Not from this change\n\n"
    context = replace(shown.report.context, reproduce="")
    return [_groups(title, shown.elsewhere, groups, context, opened=0)]


def _groups(
    before: str, shown: tuple[ShownGroup, ...], limit: int, context: RunContext, *, opened: int = OPEN_GROUPS
) -> Section:
    later = replace(context, reproduce="")  # the command is the same for all
    items = [_group(group, index < opened, later if index else context) for index, group in enumerate(shown[:limit])]
    hidden = sum(len(group.group.cases) for group in shown[limit:])

    def more(dropped: int) -> str:
        return f"\n… and {count(dropped, 'more test')} with other causes: see the report.\n\n"

    return Section(before=before, items=items, more=more, hidden=hidden, after="\n")


def _group(shown: ShownGroup, opened: bool, context: RunContext) -> Item:  # noqa: FBT001
    make = macros()
    text = excerpt(shown.group.sample.text or shown.group.sample.message)
    info = "diff" if any(line.startswith(("+ ", "- ")) for line in text.splitlines()) else ""
    message = Markup(escape.fence(text, info))  # noqa: S704  escaped for this place
    again = Markup(escape.fence(context.reproduce)) if context.reproduce else ""  # noqa: S704
    outputs = [(name, Markup(escape.fence(tail))) for name, tail in output_tail(shown.group.cases[0])]  # noqa: S704
    artifacts = f"{context.url}#artifacts" if context.url else ""
    said = (outputs, []) if outputs else ([],)
    full = (str(make.group_full(shown, opened, message, again, one, artifacts)) for one in said)
    levels = (*full, str(make.group_short(shown)), str(make.group_line(shown)))
    return Item(levels, stands_for=len(shown.group.cases))


def _table(before: str, rows: list[Item], hidden: int, *, after: str = "\n") -> Section:
    return Section(before=before, items=rows, more=lambda n: f"\n… and {n:,} more.\n", hidden=hidden, after=after)


def _folded(title: str, table: str, rows: list[Item], hidden: int = 0) -> Section:
    before = f"<details><summary>{title}</summary>\n\n{table}"
    return _table(before, rows, hidden, after="\n</details>\n\n")


def _notes(shown: View) -> list[Section]:
    notes = shown.report.notes
    rows = [Item((f"| {escape.markdown(n.file)} | {escape.markdown(n.reason)} |\n",)) for n in notes[:ROWS]]
    title = f"Notes ({len(notes)})"
    return [_folded(title, "| file | reason |\n|:--|:--|\n", rows, len(notes) - len(rows))] if notes else []


def _where(shown: View) -> list[Section]:
    make = macros()
    longest = max((row.machine.busy_seconds for row in shown.machines), default=0.0)
    shares = any(row.busy_share is not None for row in shown.machines)
    machines = [Item((str(make.machine_row(row, longest, shares)),)) for row in shown.machines[:ROWS]]
    spread = balance(shown.report)
    title = f"Machines ({len(shown.machines)})" + (f": {escape.markdown(spread)}" if spread else "")
    went = spent(shown.report)
    into = f"Where the time went: {escape.markdown(went)}\n\n" if went else ""
    names, rule = (" share |", "--:|") if shares else ("", "")
    header = f"{into}| machine | tests | failed | retries | busy |{names} lost |\n|:--|--:|--:|--:|:--|{rule}:--|\n"
    slowest = max((case.seconds for case in shown.slowest), default=0.0)
    slow = [Item((str(make.slow_row(case, slowest)),)) for case in shown.slowest]
    return [
        _folded(title, header, machines, len(shown.machines) - len(machines)),
        _folded(f"Slowest {len(slow)}", "| | time | test |\n|:--|--:|:--|\n", slow),
    ]


def _changes(shown: View) -> list[Section]:
    comparison = shown.comparison
    if comparison is None:
        return []
    lists = (
        ("Fixed", [("✅", wording.title(case.key), "") for case in comparison.fixed]),
        ("Newly flaky", [("🟡", wording.title(case.key), wording.history(case)) for case in comparison.newly_flaky]),
        ("Added", [("+", wording.title(case.key), str(case.verdict)) for case in comparison.added]),
        ("Removed", [("−", wording.title(key), "") for key in comparison.removed]),
        ("Slower", [("🐢", wording.title(s.case.key), _times(s.before, s.case)) for s in comparison.slower]),
    )
    return [
        _folded(
            f"{name} since {escape.markdown(comparison.label)} ({len(entries)})",
            "",
            [Item((str(macros().change(*entry)),)) for entry in entries[:ROWS]],
            max(0, len(entries) - ROWS),
        )
        for name, entries in lists
        if entries
    ]


def _times(before: float, case: Case) -> str:
    return f"{wording.duration(before)} → {wording.duration(case.seconds)}"


def _foot(filled: Filled, used: int, room: int) -> str:
    left_out = [f"{count(filled.dropped, 'entry')} left out"] if filled.dropped else []
    left_out += [f"{filled.shortened} shortened"] if filled.shortened else []
    words = ", ".join(left_out) or "everything shown"
    return f"<sub>{words} · {used // 1000 + 1} kB of {room // 1000} kB</sub>\n"


@cache
def macros() -> Any:
    """The macros of `summary.md.j2`: whatever they are given is escaped, except Markup."""
    environment = Environment(
        loader=PackageLoader("report_merge.render", "."),
        autoescape=True,
        finalize=lambda value: value if isinstance(value, Markup) else Markup(escape.markdown(str(value))),  # noqa: S704
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {
        "title": lambda case: wording.title(case.key),
        "history": lambda case: Markup(wording.history(case)),  # noqa: S704  our own three characters
        "failed_on": lambda case: ", ".join(wording.failed_on(case)),
        "duration": lambda seconds: Markup(wording.duration(seconds)),  # noqa: S704
        "count": wording.count,
        "web": lambda url: Markup(escape.markdown_url(url)),  # noqa: S704  escaped for this place
        "bar": wording.bar,
        "sparkline": wording.sparkline,
        "past": wording.past,
        "known": wording.known_words,
        "last_part": lambda path: path.rstrip("/").rsplit("/", 1)[-1],
    }
    return environment.get_template("summary.md.j2").module
