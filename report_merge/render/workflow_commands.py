"""A run as annotations of GitHub Actions: one error for each cause, at its line; flaky tests as warnings."""

from __future__ import annotations

from report_merge import failures
from report_merge.failures import FailureVerdict
from report_merge.model import Report
from report_merge.render import escape
from report_merge.render.wording import count, title
from report_merge.sanitize import one_line

LIMIT = 10  # GitHub shows ten errors and ten warnings of a step
MESSAGE_CHARACTERS = 1000


def annotations_of(report: Report, limit: int = LIMIT, rules: failures.FailureRules | None = None) -> list[str]:
    """Workflow commands, at most `limit` errors and `limit` warnings, and a notice of how many causes there are more.

    Print them to the job's log as they are.

    A flaky test is a warning, never an error: an error on a green run is a false alarm (openMF/web-app#3991).
    """
    groups = failures.group(report.cases, rules=rules)
    flaky = [group for group in groups if group.verdict is FailureVerdict.FLAKY]
    bad = [group for group in groups if group.verdict is not FailureVerdict.FLAKY]
    shown = [_command("error", group) for group in bad[:limit]]
    shown += [_command("warning", group) for group in flaky[:limit]]
    more = len(bad[limit:]) + len(flaky[limit:])
    return (
        [*shown, f"::notice title=Not all is shown here::{count(more, 'more cause')}: see the summary"]
        if more
        else shown
    )


def _command(level: str, group: failures.FailureGroup) -> str:
    case = group.cases[0]
    more = f" and {count(len(group.cases) - 1, 'more test')}" if len(group.cases) > 1 else ""
    properties = [f"title={escape.workflow_property(one_line(f'{group.verdict}: {title(case.key)}{more}'))}"]
    if file := case.source or case.key.file:
        properties.append(f"file={escape.workflow_property(file)}")
    if case.line:
        properties.append(f"line={case.line}")
    message = group.sample.message or group.sample.text or group.title
    return f"::{level} {','.join(properties)}::{escape.workflow_data(message[:MESSAGE_CHARACTERS])}"
