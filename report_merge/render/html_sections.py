"""The sections of the HTML report that compete for its bytes, in the order of their importance."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from report_merge.lighthouse import LighthouseReport
from report_merge.model import MachineUse
from report_merge.render import charts, escape, wording
from report_merge.render.budget import Item, Section
from report_merge.render.html_templates import macros
from report_merge.render.lighthouse_words import AssertionRow, Table, failed_words
from report_merge.render.view import ShownGroup, View, balance, duplicates_sentence, excerpt, output_tail, spent
from report_merge.render.wording import count

GROUPS = 500
OPEN_GROUPS = 3
ROWS = 200
TESTS_OF_A_GROUP = 50
NAMES = 200  # of what is missing for one reason


def body_sections(shown: View, lighthouse: LighthouseReport | None) -> list[Section]:
    make = macros()
    report = shown.report
    reproduce = report.context.reproduce
    only_flaky = all((group.new is None or group.new) and not group.known for group in shown.elsewhere)
    pages = list(_lighthouse(lighthouse)) if lighthouse else []
    urgent, calm = ([], pages) if lighthouse and lighthouse.gate_holds else (pages, [])
    missing = (make.missing_row(group, NAMES) for group in shown.missing)
    return [
        *_table("Missing", ("what", "name", "why"), missing, len(shown.missing), "alarm"),
        *_table(
            "Files that could not be read, or not wholly",
            ("file", "reason", "tests"),
            map(make.problem_row, shown.lossy),
            len(shown.lossy),
            "alarm",
        ),
        *_table(
            "Tests in several files",
            ("test", "files"),
            (_row(wording.title(one.key), ", ".join(one.files)) for one in report.duplicates),
            report.duplicate_count,
            note=duplicates_sentence(report),
        ),
        _groups("Needs attention", shown.attention, reproduce, OPEN_GROUPS),
        *urgent,
        _groups("Flaky" if only_flaky else "Not from this change", shown.elsewhere, "", 0),
        *_changes(shown),
        *_where(shown),
        *_table(
            "Damaged files that were repaired, nothing lost",
            ("file", "reason", "tests"),
            map(make.problem_row, shown.repaired),
            len(shown.repaired),
        ),
        *calm,
        *_table(
            "Notes",
            ("file", "reason"),
            (_row(note.file, note.reason) for note in report.notes),
            len(report.notes),
        ),
    ]


def _row(*cells: str) -> str:
    return "<tr>" + "".join(f"<td>{escape.html_name(cell)}</td>" for cell in cells) + "</tr>"


def _section(title: str, css: str = "") -> str:
    return f"<section{f' class={css}' if css else ''}><h2>{escape.html_name(title)}</h2>"


def _table(
    title: str, columns: tuple[str, ...], rows: Iterable[Any], number: int, css: str = "", note: str = ""
) -> Iterator[Section]:
    """A section with a table; `columns` whose name starts with `#` hold numbers."""
    items = [Item((str(row),)) for row, _ in zip(rows, range(ROWS), strict=False)]
    heads = "".join(
        f'<th scope="col"{" class=number" if name.startswith("#") else ""}>{escape.html(name.lstrip("#"))}</th>'
        for name in columns
    )
    about = f"<p>{escape.html(note)}</p>" if note else ""
    scroll = f'<div class="scroll" tabindex="0" role="region" aria-label="{escape.html_name(title)}">'
    yield Section(
        before=f"{_section(title, css)}{about}{scroll}<table><thead><tr>{heads}</tr></thead><tbody>",
        items=items,
        more=lambda n: f'<tr><td colspan="{len(columns)}">… and {n:,} more</td></tr>',
        hidden=number - len(items),
        after="</tbody></table></div></section>\n",
    )


def _groups(title: str, groups: tuple[ShownGroup, ...], reproduce: str, opened: int) -> Section:
    items = [
        _group(group, index < opened, reproduce if index == 0 else "") for index, group in enumerate(groups[:GROUPS])
    ]
    return Section(
        before=_section(f"{title} ({count(len(groups), 'cause')})"),
        items=items,
        more=lambda n: f"<p>… and {count(n, 'more test')} with other causes</p>",
        hidden=sum(len(group.group.cases) for group in groups[GROUPS:]),
        after="</section>\n",
    )


def _group(shown: ShownGroup, opened: bool, reproduce: str) -> Item:  # noqa: FBT001
    make = macros()
    text = shown.group.sample.text or shown.group.sample.message
    outputs = output_tail(shown.group.cases[0])
    full = make.group(shown, opened, excerpt(text, 200, 50), reproduce, TESTS_OF_A_GROUP, outputs)
    short = make.group(shown, opened, excerpt(text, 3, 0), reproduce, 5, ())
    return Item((str(full), str(short), str(make.group_line(shown))), stands_for=len(shown.group.cases))


def _changes(shown: View) -> Iterator[Section]:
    comparison = shown.comparison
    if comparison is None:
        return
    lists = (
        ("Fixed", [("✓", wording.title(case.key), "") for case in comparison.fixed]),
        ("Newly flaky", [("~", wording.title(case.key), "") for case in comparison.newly_flaky]),
        ("Added", [("+", wording.title(case.key), str(case.verdict)) for case in comparison.added]),
        ("Removed", [("−", wording.title(key), "") for key in comparison.removed]),
        ("Slower", [("›", wording.title(s.case.key), _times(s.before, s.case.seconds)) for s in comparison.slower]),
    )
    items = [_change_list(name, entries) for name, entries in lists if entries]
    yield Section(before=_section(f"Since {comparison.label}"), items=items, after="</section>\n")


def _change_list(name: str, entries: list[tuple[str, str, str]]) -> Item:
    """A folded list of changed tests: all of them, a few, or only how many."""

    def shown(number: int) -> str:
        rows = "".join(str(macros().change(*entry)) for entry in entries[:number])
        hidden = len(entries) - number
        more = f"<li>… and {count(hidden, 'more test')}</li>" if hidden > 0 else ""
        return (
            f'<details><summary>{name} ({len(entries):,})</summary><ul class="plain inside">{rows}{more}</ul></details>'
        )

    return Item((shown(ROWS), shown(20), shown(0)))


def _times(before: float, now: float) -> str:
    return f"{wording.duration(before)} → {wording.duration(now)}"


def _where(shown: View) -> Iterator[Section]:
    make = macros()
    report = shown.report
    ends = [span.end for row in shown.machines for span in row.machine.spans]
    length = max([report.wall_seconds or 0.0, *ends])
    longest = max((row.machine.busy_seconds for row in shown.machines), default=0.0) or 1.0
    shares = any(row.busy_share is not None for row in shown.machines)

    def picture(machine: MachineUse) -> str:
        if ends:
            return charts.timeline(machine.spans, length, machine.name)
        return charts.share_bar(machine.busy_seconds / longest)

    went = spent(report)
    note = "; ".join(filter(None, (balance(report), f"where the time went: {went}" if went else "")))
    rows = (make.machine_row(row, picture(row.machine), shares) for row in shown.machines)
    time = f"0 to {wording.duration(length)}" if ends else "busy, compared"
    columns = ("machine", time, "#tests", "#failed", "#retries", "#busy", *(("#share",) if shares else ()))
    yield from _table("Machines", columns, rows, len(shown.machines), note=note)
    used = sum(1 for machine in report.machines if machine.tests)
    if len(report.planned_fleets) > 1 and report.wall_seconds and used:
        chart = charts.fleet_curve(report.planned_fleets, report.wall_seconds, used)
        title = "Machines and time: planned (line), and what the run took (square)"
        yield Section(before=_section(title), items=[Item((str(chart),))], after="</section>\n")
    if len(report.cases) > 1:
        chart = charts.durations(report.durations)
        yield Section(before=_section("How long tests take"), items=[Item((str(chart),))], after="</section>\n")
    longest = max((case.seconds for case in shown.slowest), default=0.0) or 1.0
    slow = (make.slow_row(case, charts.share_bar(case.seconds / longest)) for case in shown.slowest)
    yield from _table(f"Slowest {len(shown.slowest)}", ("#time", "compared", "test"), slow, len(shown.slowest))


def _lighthouse(lighthouse: LighthouseReport) -> Iterator[Section]:
    make = macros()
    table = Table(lighthouse)
    title = "Lighthouse" if lighthouse.gate_holds else "Lighthouse: the gate does not hold"
    columns = ("URL", *(f"#{name}" for name in table.columns), "runs")
    yield from _table(title, columns, map(make.lighthouse_row, table.rows), len(table.rows), note=table.method)
    failed = lighthouse.failed
    yield Section(
        before=f"{_section('Lighthouse: ' + failed_words(lighthouse))}<ul class=plain>",
        items=[Item((str(make.assertion(AssertionRow(assertion))),)) for assertion in failed[:ROWS]],
        more=lambda n: f"<li>… and {n:,} more</li>",
        hidden=len(failed[ROWS:]),
        after="</ul></section>\n",
    )
    rows = map(make.problem_row, lighthouse.problems)
    title = "Lighthouse files that could not be used"
    yield from _table(title, ("file", "reason", "used"), rows, len(lighthouse.problems), "alarm")
