"""Every output that was asked for, from one report: the pages, the data, the last words in the log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import click

from report_merge.baseline import Comparison
from report_merge.failures import FailureRules
from report_merge.files.atomic import append_text, write_pieces, write_text
from report_merge.lighthouse.results import LighthouseReport
from report_merge.model import Report
from report_merge.render.escape import terminal_name


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeResult:
    """A report with what is known besides it."""

    report: Report
    comparison: Comparison | None = None
    lighthouse: LighthouseReport | None = None
    rules: FailureRules | None = None

    def write_summary(self, path: Path, environ: Mapping[str, str]) -> None:
        """Replaces the file, but adds to the step's own summary, where others have written too."""
        from report_merge.render.markdown import job_summary

        shared = str(path) == environ.get("GITHUB_STEP_SUMMARY")
        used = path.stat().st_size if shared and path.exists() else 0
        text = job_summary(
            self.report,
            already_used_bytes=used,
            comparison=self.comparison,
            lighthouse=self.lighthouse,
            rules=self.rules,
        )
        (append_text if shared else write_text)(path, text)

    def write_html(self, path: Path) -> None:
        from report_merge.files.attachments import linked_from, pictures
        from report_merge.render.html import written

        report = linked_from(self.report, path.parent)
        shown = pictures(report, path.parent)
        pieces = written(
            report, comparison=self.comparison, lighthouse=self.lighthouse, rules=self.rules, pictures=shown
        )
        write_pieces(path, pieces)

    def write_json(self, path: Path) -> None:
        from report_merge.render.json import written

        write_pieces(path, written(self.report, self.lighthouse, self.rules))

    def write_rerun_file(self, path: Path) -> None:
        """Empty when nothing failed."""
        from report_merge.render.wording import count
        from report_merge.triage.rerun import rerun_lines

        lines, without = rerun_lines(self.report)
        write_text(path, "".join(f"{line}\n" for line in lines))
        if without:
            tests = f"{count(without, 'failed test')} {'is' if without == 1 else 'are'} not in"
            why = "a runner would take the name for other tests or for an option"
            click.echo(f"note: {tests} {terminal_name(str(path))}: {why}", err=True)

    def append_outputs(self, path: Path, code: int, files: Mapping[str, Path]) -> None:
        """For the steps after this one; report-merge/action.yml documents them."""
        from report_merge.github.job import append_outputs
        from report_merge.render.wording import status

        totals = self.report.totals
        names = ("tests", "passed", "failed", "flaky", "skipped", "not_run")
        outputs = {"verdict": status(self.report, self.lighthouse).lower(), "exit-code": str(int(code))}
        outputs |= {name.replace("_", "-"): str(getattr(totals, name)) for name in names}
        append_outputs(path, outputs | {name: str(file) for name, file in files.items()})

    def annotate(self) -> None:
        from report_merge.render.workflow_commands import annotations_of

        for command in annotations_of(self.report, rules=self.rules):
            click.echo(command)

    def keep_comment(self, environ: Mapping[str, str]) -> None:
        """The comment on the pull request; that it could not be written is a warning and no verdict."""
        from report_merge.github.comment import NoComment, PullRequest
        from report_merge.github.job import pull_request
        from report_merge.render.escape import workflow_data, workflow_log
        from report_merge.render.markdown import pr_comment

        number = pull_request(environ)
        if number is None:
            click.echo("note: no comment was written: this run belongs to no pull request", err=True)
            return
        marker = f"report-merge/{environ.get('GITHUB_WORKFLOW', '')}/{self.report.context.title}"
        text = pr_comment(
            self.report, marker=marker, comparison=self.comparison, lighthouse=self.lighthouse, rules=self.rules
        )
        try:
            PullRequest(number, environ).keep_comment(text)
        except NoComment as error:
            click.echo(
                workflow_log(f"warning: the comment on pull request {number} was not written: {error}"), err=True
            )
            if environ.get("GITHUB_ACTIONS") == "true":
                click.echo(f"::warning title=The pull request has no comment::{workflow_data(str(error))}")

    def say(self, program: str, *, report_path: str, failures_shown: bool) -> None:
        """The last words on stderr; the failures only when no page shows them."""
        from report_merge.render.text import final_lines

        report = replace(self.report, cases=()) if failures_shown else self.report
        for line in final_lines(
            report,
            program=program,
            report_path=report_path,
            lighthouse=self.lighthouse,
            rules=self.rules,
            comparison=self.comparison,
        ):
            click.echo(line, err=True)
