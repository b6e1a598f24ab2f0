"""The last words of a run on a terminal or in a log: the failures by cause, and one line that scripts can find."""

from __future__ import annotations

from report_merge import failures
from report_merge.baseline import Comparison
from report_merge.lighthouse.results import LighthouseReport
from report_merge.model import CaseKey, Report
from report_merge.render import escape
from report_merge.render.lighthouse_words import lighthouse_lines, lighthouse_trouble
from report_merge.render.view import MissingGroup, duplicates_sentence, missing_groups, spent
from report_merge.render.wording import (
    Status,
    changes,
    count,
    counts,
    duration,
    failed_on,
    history,
    nothing_passed,
    past,
    status,
    title,
)
from report_merge.sanitize import one_line

REASON_LIMIT = 2000
GROUPS_SHOWN = 20
TESTS_SHOWN = 5


def final_lines(
    report: Report,
    *,
    program: str,
    report_path: str = "",
    rules: failures.FailureRules | None = None,
    lighthouse: LighthouseReport | None = None,
    comparison: Comparison | None = None,
) -> list[str]:
    """The grouped failures, what is missing, and as the last line exactly one summary:

        ci-dispatch: FAILED 88 tests: 84 passed, 2 failed, 1 flaky, 1 skipped, 0 not run; 4 machines; 3m12s; report PATH

    The last line's form is kept from version to version; the rest is for people. All of it is safe to print.
    """
    groups = failures.group(report.eventful, rules=rules)
    lines: list[str] = []
    new = comparison.new_keys() if comparison else frozenset()
    for group in groups[:GROUPS_SHOWN]:
        lines += [*_group(group, new), ""]
    if len(groups) > GROUPS_SHOWN:
        lines += [f"... and {count(len(groups) - GROUPS_SHOWN, 'more cause')}: see the report", ""]
    missing = missing_groups(report)
    for part in missing[:GROUPS_SHOWN]:
        lines += _missing(part)
    if len(missing) > GROUPS_SHOWN:
        hidden = sum(len(part.names) for part in missing[GROUPS_SHOWN:])
        lines.append(f"... and {hidden:,} more are MISSING for other reasons: see the report")
    if report.reason and not missing and status(report) in (Status.INCOMPLETE, Status.INTERRUPTED):
        lines.append(f"{status(report)}: {escape.workflow_log(one_line(report.reason, REASON_LIMIT))}")
    for problem in report.problems[:GROUPS_SHOWN]:
        where = escape.terminal_name(problem.file) + (f":{problem.line}" if problem.line else "")
        saved = "" if problem.salvaged is None else f" ({count(problem.salvaged, 'test')} saved)"
        lines.append(f"UNREADABLE {where}: {escape.terminal_name(problem.reason)}{saved}")
    if len(report.problems) > GROUPS_SHOWN:
        lines.append(f"... and {count(len(report.problems) - GROUPS_SHOWN, 'more file')}: see the report")
    lines += _passed_over(report)
    if went := spent(report):
        lines.append(f"where the time went: {escape.terminal(went)}")
    if nothing := nothing_passed(report.totals.tests, report.totals.skipped):
        lines.append(nothing.replace("nothing passed", "NOTHING PASSED"))
    lines += lighthouse_lines(lighthouse) if lighthouse else []
    if comparison and (changed := changes(comparison)):
        lines.append(escape.terminal_name(changed))
    return [*lines, last_line(report, program=program, report_path=report_path, lighthouse=lighthouse)]


def _passed_over(report: Report) -> list[str]:
    """What is no error, and must be known all the same."""
    lines = []
    if told := duplicates_sentence(report):
        lines.append(f"DUPLICATE {told}:")
        for duplicate in report.duplicates[:TESTS_SHOWN]:
            files = escape.terminal_name(", ".join(duplicate.files))
            lines.append(f"    {escape.terminal_name(title(duplicate.key))}  in {files}")
        if report.duplicate_count > TESTS_SHOWN:
            lines.append(f"    ... and {count(report.duplicate_count - TESTS_SHOWN, 'more test')}")
    for note in report.notes[:GROUPS_SHOWN]:
        lines.append(f"note: {escape.terminal_name(note.file)}: {escape.terminal_name(note.reason)}")  # noqa: PERF401
    if len(report.notes) > GROUPS_SHOWN:
        lines.append(f"note: ... and {count(len(report.notes) - GROUPS_SHOWN, 'more note')}")
    return lines


def last_line(
    report: Report,
    *,
    program: str,
    report_path: str = "",
    lighthouse: LighthouseReport | None = None,
) -> str:
    """The one line that scripts can find: `PROGRAM: STATUS counts; machines; wall time; report PATH`."""
    parts = [f"{program}: {status(report, lighthouse)} {counts(report)}"]
    parts += [f"{report.totals.known} of the failed known"] if report.totals.known else []
    parts += lighthouse_trouble(lighthouse)
    if report.machines:
        parts.append(count(len(report.machines), "machine"))
    if report.wall_seconds is not None:
        parts.append(duration(report.wall_seconds))
    if report_path:
        parts.append(f"report {escape.terminal_name(report_path)}")
    return "; ".join(parts)


def _missing(group: MissingGroup) -> list[str]:
    # A reason may end in the command that mends it: whole, or it is of no use.
    reason = f": {escape.workflow_log(one_line(group.reason, REASON_LIMIT))}" if group.reason else ""
    if len(group.names) == 1:
        return [f"MISSING {group.what} {escape.terminal_name(group.names[0])}{reason}"]
    lines = [f"MISSING {count(len(group.names), group.what)}{reason}"]
    lines += [f"    {escape.terminal_name(name)}" for name in group.names[:TESTS_SHOWN]]
    if len(group.names) > TESTS_SHOWN:
        lines.append(f"    ... and {count(len(group.names) - TESTS_SHOWN, f'more {group.what}')}")
    return lines


def _group(group: failures.FailureGroup, new: frozenset[CaseKey]) -> list[str]:
    finding = group.finding
    tests = count(len(group.cases), "test")
    lines = [f"{group.verdict}: {tests}, {finding.category} [{group.fingerprint}]"]
    lines.append(f"  {escape.terminal_name(group.title)}")
    for case in group.cases[:TESTS_SHOWN]:
        machines = failed_on(case)
        where = f"  on {escape.terminal_name(', '.join(machines))}" if machines else ""
        if case.source:
            where = f"  {escape.terminal_name(f'{case.source}:{case.line}' if case.line else case.source)}{where}"
        told = [duration(case.seconds), *(["new"] if case.key in new and not case.since else []), past(case)]
        about = escape.terminal_name(", ".join(filter(None, told)))
        lines.append(f"    {history(case)} {escape.terminal_name(title(case.key))}{where}  {about}")
    if len(group.cases) > TESTS_SHOWN:
        lines.append(f"    ... and {count(len(group.cases) - TESTS_SHOWN, 'more test')}")
    if finding.evidence and finding.evidence not in group.title:
        lines.append(f"  because: {escape.terminal_name(finding.evidence)}")
    if finding.hint and group.verdict is not failures.FailureVerdict.FLAKY:
        lines.append(f"  hint: {finding.hint}")
    return lines
