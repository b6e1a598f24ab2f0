"""The command line of report-merge: paths in, one truthful result out, an exit code that says what kind of red."""

from __future__ import annotations

import io
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from report_merge.limits import MIB
from report_merge.model import Report, RunContext

if TYPE_CHECKING:
    from report_merge.baseline import Comparison
    from report_merge.lighthouse import LighthouseReport

Parsed = TypeVar("Parsed")
PROGRAM = "report-merge"
LINES = 20
FAIL_ON = ("failed", "flaky", "new", "never")


class MergeExitCode(IntEnum):
    """The first that applies, from the top down, is the exit code; `PASSED` when none does."""

    USAGE = 2
    INCOMPLETE = 4  # an expected shard, attempt or test did not come
    UNREADABLE = 6  # a file was refused or only partly read
    NOTHING = 3  # no file matched, or no test in any of them
    FAILED = 1
    PASSED = 0
    INTERNAL = 70
    INTERRUPTED = 130


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    paths: tuple[str, ...]
    output: Path | None
    summary: Path | None
    html: Path | None
    json: Path | None
    expect: Path | None
    attempt_from: re.Pattern[str] | None
    exclude: tuple[str, ...]
    order_by_time: bool
    baseline: Path | None
    lighthouse: Path | None
    fail_on: str
    title: str


def run(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """The exit code of a command line. Whatever happens, it is a message and a code, never a traceback."""
    command, rest = merge, argv
    if argv[:1] == ["explain"]:
        command, rest = explain, argv[1:]
    try:
        return int(command.main(list(rest), prog_name=PROGRAM, standalone_mode=False, obj=environ) or 0)
    except click.ClickException as error:
        _say(f"{error.format_message()}\n  try: {PROGRAM} --help")
        return MergeExitCode.USAGE
    except (KeyboardInterrupt, click.Abort):
        _say("interrupted; nothing was written")
        return MergeExitCode.INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return MergeExitCode.INTERRUPTED
    except OSError as error:
        _say(f"{error.filename or 'a file'}: {error.strerror or error}; nothing was written there")
        return MergeExitCode.USAGE
    except Exception as error:  # noqa: BLE001  the last line of defence
        _say(f"this is a bug in {PROGRAM}, please report it: {type(error).__name__}: {error}")
        return MergeExitCode.INTERNAL


def _say(text: str) -> None:
    from report_merge.render import escape

    click.echo(f"{PROGRAM}: {escape.terminal(text)}", err=True)


_File = click.Path(path_type=Path, dir_okay=False)


@click.command(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Exit codes, the first that applies: 4 something expected is missing, 6 a file is unreadable or
damaged, 3 there is nothing to report, 1 tests failed, 0 passed; 2 for a wrong command line.

report-merge explain LOG says why a log ends in failure (report-merge explain --help).""",
)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("-o", "--output", type=_File, help="The merged JUnit XML.")
@click.option("--summary", type=_File, help="A Markdown summary; appended to if it is $GITHUB_STEP_SUMMARY.")
@click.option("--html", type=_File, help="An HTML report, one file, for offline use.")
@click.option("--json", type=_File, help="Every test's result as JSON: the --baseline of a later run.")
@click.option("--expect", type=_File, help="A plan of shards and tests that must be there (docs/report-merge.md).")
@click.option("--attempt-from", metavar="PATTERN", help="A regular expression whose group in the path is the attempt.")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Paths to leave out, such as '*/target/*'.")
@click.option(
    "--order-by-time",
    is_flag=True,
    help="Files of one attempt that began at different times are attempts too: the clocks must agree.",
)
@click.option("--baseline", type=_File, help="The --json of an earlier run to compare with.")
@click.option("--lighthouse", type=click.Path(path_type=Path), metavar="DIR", help="Lighthouse CI results to show.")
@click.option(
    "--fail-on",
    type=click.Choice(FAIL_ON),
    default="failed",
    show_default=True,
    help="What exit code 1 is for; new: failures that are not in the --baseline. Missing and unreadable stay red.",
)
@click.option("--title", default="", help="A name for the run.")
@click.pass_obj
def merge(environ: Mapping[str, str], /, attempt_from: str | None, **given: object) -> int:
    """Merge the JUnit files of any number of shards and attempts into one truthful result.

    PATH is a file, a folder (*.xml and *.zip below it), a pattern in quotes, or a zip archive.
    """
    options = Options(attempt_from=_pattern(attempt_from), **given)  # type: ignore[arg-type]  # click checked them
    if options.fail_on == "new" and not options.baseline:
        raise click.UsageError("--fail-on new needs a --baseline to be new against")
    return _merge(options, environ)


def _pattern(text: str | None) -> re.Pattern[str] | None:
    if text is None:
        return None
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise click.UsageError(f"--attempt-from is not a regular expression: {error}") from None
    if not pattern.groups:
        raise click.UsageError(r"--attempt-from needs a group around the number, such as 'try-(\d+)'")
    return pattern


def _merge(options: Options, environ: Mapping[str, str]) -> int:
    from report_merge.failures import load_rules
    from report_merge.files.atomic import replacing
    from report_merge.files.discover import DEFAULT_ATTEMPT, NoAttemptNumber, find
    from report_merge.merge.expected import parse as parse_plan
    from report_merge.merge.pipeline import merge as merge_found
    from report_merge.render.json import loads as parse_baseline

    expected = _read_option(options.expect, parse_plan, "--expect")
    baseline = _read_option(options.baseline, parse_baseline, "--baseline")
    written = [path for path in (options.output, options.summary, options.html, options.json) if path]
    with tempfile.TemporaryDirectory(prefix="report-merge-", ignore_cleanup_errors=True) as folder:
        try:
            found = find(
                options.paths,
                unpack_into=Path(folder),
                attempt_from=options.attempt_from or DEFAULT_ATTEMPT,
                outputs=written,
                exclude=options.exclude,
            )
        except NoAttemptNumber as error:
            raise click.UsageError(f"--attempt-from: {error}") from None
        with replacing(options.output) if options.output else nullcontext() as stream:
            report = merge_found(
                found,
                Path(folder),
                stream,
                expected=expected,
                context=_context(options.title, environ),
                all_cases=bool(options.json or options.html or options.baseline),
                by_time=options.order_by_time,
                rules=load_rules(),
            )
            comparison = _compared(report, baseline)
            lighthouse = _lighthouse(options.lighthouse)
            _render(options, report, comparison, lighthouse, environ)
    return _exit_code(options.fail_on, report, comparison, lighthouse)


def _compared(report: Report, baseline: Report | None) -> Comparison | None:
    if baseline is None:
        return None
    from report_merge.baseline import compare

    return compare(report, baseline)


def _context(title: str, environ: Mapping[str, str]) -> RunContext:
    """Where we are, as GitHub Actions tells it; empty elsewhere."""
    repository, run_id = environ.get("GITHUB_REPOSITORY", ""), environ.get("GITHUB_RUN_ID", "")
    attempt = environ.get("GITHUB_RUN_ATTEMPT", "1")
    server = environ.get("GITHUB_SERVER_URL", "https://github.com")
    return RunContext(
        title=title or environ.get("GITHUB_WORKFLOW", ""),
        repository=repository,
        branch=environ.get("GITHUB_HEAD_REF") or environ.get("GITHUB_REF_NAME", ""),
        sha=environ.get("GITHUB_SHA", ""),
        run_id=run_id,
        attempt=int(attempt) if attempt.isdigit() else 1,
        url=f"{server}/{repository}/actions/runs/{run_id}" if repository and run_id else "",
    )


def _lighthouse(directory: Path | None) -> LighthouseReport | None:
    if directory is None:
        return None
    from report_merge.lighthouse import read

    return read(directory)


def _render(
    options: Options,
    report: Report,
    comparison: Comparison | None,
    lighthouse: LighthouseReport | None,
    environ: Mapping[str, str],
) -> None:
    from report_merge.files.atomic import append_text, write_text
    from report_merge.render import escape
    from report_merge.render.text import final_lines

    if options.summary:
        from report_merge.render.markdown import job_summary

        shared = str(options.summary) == environ.get("GITHUB_STEP_SUMMARY")
        used = options.summary.stat().st_size if shared and options.summary.exists() else 0
        text = job_summary(report, already_used_bytes=used, comparison=comparison, lighthouse=lighthouse)
        (append_text if shared else write_text)(options.summary, text)
    if options.html:
        from report_merge.render.html import page

        write_text(options.html, page(report, comparison=comparison, lighthouse=lighthouse))
    if options.json:
        from report_merge.render.json import dumps

        write_text(options.json, dumps(report))
    if not report.totals.tests:
        click.echo(f"{PROGRAM}: nothing to report: no test in {escape.terminal(' '.join(options.paths))}", err=True)
    told = replace(report, cases=()) if options.summary or options.html else report  # failures are told once
    for line in _lighthouse_lines(lighthouse):
        click.echo(line, err=True)
    for line in final_lines(told, program=PROGRAM, report_path=str(options.html or options.output or "")):
        click.echo(line, err=True)


def _lighthouse_lines(lighthouse: LighthouseReport | None) -> Iterator[str]:
    """Why Lighthouse makes the run red."""
    from report_merge.render import escape

    if lighthouse is None:
        return
    for problem in lighthouse.problems[:LINES]:
        yield f"UNREADABLE {escape.terminal_name(problem.file)}: {escape.terminal_name(problem.reason)}"
    if len(lighthouse.problems) > LINES:
        yield f"... and {len(lighthouse.problems) - LINES} more Lighthouse files"
    if not lighthouse.gate_holds:
        yield "FAILED the Lighthouse gate does not hold"


def _exit_code(
    fail_on: str, report: Report, comparison: Comparison | None, lighthouse: LighthouseReport | None
) -> MergeExitCode:
    totals = report.totals
    if report.missing or totals.not_run:
        return MergeExitCode.INCOMPLETE
    if report.problems or (lighthouse and lighthouse.problems):
        return MergeExitCode.UNREADABLE
    if totals.tests == 0:
        return MergeExitCode.NOTHING
    failed = {
        "failed": totals.failed > 0,
        "flaky": totals.failed + totals.flaky > 0,
        "new": comparison is not None and bool(comparison.new_failures),
        "never": False,
    }
    gate_fails = lighthouse is not None and not lighthouse.gate_holds and fail_on != "never"
    return MergeExitCode.FAILED if failed[fail_on] or gate_fails else MergeExitCode.PASSED


def _read_option(path: Path | None, parse: Callable[[str], Parsed], option: str) -> Parsed | None:
    """What the file holds; None when the option was not given. `parse` raises ValueError for what it cannot use."""
    if path is None:
        return None
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise click.UsageError(f"{option} {path} cannot be used: {reason}") from None


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("log", type=click.File("rb"))
@click.option("--rules", type=_File, help="Your own rules (TOML), asked before the shipped ones.")
@click.pass_obj
def explain(_environ: Mapping[str, str], /, log: io.BufferedReader, rules: Path | None) -> int:
    """Say why LOG (a file, or - for standard input) ends in failure: every matching rule, the deciding one first."""
    from report_merge import failures
    from report_merge.render import escape

    own = _read_option(rules, failures.load_rules, "--rules")
    for finding in failures.explain(_end_of(log), rules=own) or [failures.UNKNOWN]:
        click.echo(f"{finding.verdict}: {finding.category} (rule {finding.rule or 'none'}, retry {finding.retry})")
        if finding.evidence:
            where = f"line {finding.line}" if finding.line else "evidence"
            click.echo(f"  {where}: {escape.terminal_name(finding.evidence)}")
        click.echo(f"  {escape.terminal(finding.hint)}")
    return 0


def _end_of(log: io.BufferedReader, most: int = 8 * MIB) -> str:
    """The last part of a log of any length."""
    tail = b""
    while chunk := log.read(MIB):
        tail = (tail + chunk)[-most:]
    return tail.decode("utf-8", "replace")
