"""The command line of report-merge: paths in, one truthful result out, an exit code that says what kind of red."""

from __future__ import annotations

import io
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import IntEnum
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeVar

import click

from report_merge.limits import MIB
from report_merge.model import Report

if TYPE_CHECKING:
    from report_merge.failures import FailureRules
    from report_merge.render.json import SavedReport
    from report_merge.result import MergeResult
    from report_merge.triage.known import KnownEntry
    from report_merge.triage.owners import CodeOwners

Parsed = TypeVar("Parsed")
PROGRAM = "report-merge"
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
    annotations: bool
    comment: bool
    outputs: Path | None
    join_suites: bool
    rules: Path | None
    owner_from: Path | None
    known_failures: Path | None
    rerun_file: Path | None
    history: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeInputs:
    """What the options' files hold besides reports."""

    baseline: SavedReport | None
    rules: FailureRules
    owners: CodeOwners | None
    known: Sequence[KnownEntry]
    history: Sequence[Report]


def run(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """The exit code of a command line. Whatever happens, it is a message and a code, never a traceback."""
    command, name, rest = merge, PROGRAM, argv
    if argv[:1] == ["explain"]:
        command, name, rest = explain, f"{PROGRAM} explain", argv[1:]
    try:
        return int(command.main(list(rest), prog_name=name, standalone_mode=False, obj=environ) or 0)
    except click.ClickException as error:
        _say(f"{error.format_message()}\n  try: {name} --help")
        return MergeExitCode.USAGE
    except (KeyboardInterrupt, click.Abort):
        _say("interrupted; each output is whole, or as it was")
        return MergeExitCode.INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return MergeExitCode.INTERRUPTED
    except OSError as error:
        where = error.filename or f"an output, or a temporary file below {tempfile.gettempdir()} (TMPDIR)"
        _say(f"{where}: {error.strerror or error}; nothing was written there")
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
@click.option("--join-suites", is_flag=True, help="In the merged XML, one suite for those that say the same.")
@click.option("--baseline", type=_File, help="The --json of an earlier run to compare with.")
@click.option(
    "--lighthouse",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Lighthouse CI results to show; a gate that does not hold is a failure.",
)
@click.option(
    "--fail-on",
    type=click.Choice(FAIL_ON),
    default="failed",
    show_default=True,
    help="What exit code 1 is for; new: failures that are not in the --baseline. Missing and unreadable stay red.",
)
@click.option("--title", default="", help="A name for the run.")
@click.option("--rules", type=_File, help="Your own failure rules (TOML), asked before the shipped ones.")
@click.option("--owner-from", type=_File, metavar="CODEOWNERS", help="Say whose each failed test is.")
@click.option("--known-failures", type=_File, help="Failures that are taken on until a day (TOML): shown, not red.")
@click.option("--rerun-file", type=_File, help="Write the failed tests, one a line, as their runner takes them back.")
@click.option("--history", multiple=True, metavar="PATTERN", help="The --json of earlier runs: how tests ended.")
@click.option("--annotations", is_flag=True, help="Print the causes as annotations of GitHub Actions.")
@click.option("--comment", is_flag=True, help="Keep one comment on the pull request up to date ($GITHUB_TOKEN).")
@click.option("--outputs", type=_File, help="Verdict and counts as step outputs, appended: $GITHUB_OUTPUT.")
@click.pass_obj
def merge(environ: Mapping[str, str], /, attempt_from: str | None, **given: object) -> int:
    """Merge the JUnit files of any number of shards and attempts into one truthful result.

    PATH is a file, a folder (*.xml, *.trx and *.zip below it), a pattern in quotes, or a zip archive.
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
    from report_merge.github.job import run_context
    from report_merge.merge.expected import parse as parse_plan
    from report_merge.merge.pipeline import merge as merge_found
    from report_merge.render.json import saved
    from report_merge.triage import known, owners

    expected = _read_option(options.expect, parse_plan, "--expect")
    baseline = _read_option(options.baseline, saved, "--baseline")
    rules = _read_option(options.rules, load_rules, "--rules") or load_rules()
    about = MergeInputs(
        baseline=baseline,
        rules=rules,
        owners=_read_option(options.owner_from, owners.parse, "--owner-from"),
        known=_read_option(options.known_failures, known.parse, "--known-failures") or (),
        history=_earlier(options.history),
    )
    outputs = (options.output, options.summary, options.html, options.json, options.rerun_file)
    written = _files_of(outputs)
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
            parts = io.BytesIO() if options.join_suites and stream else stream
            report = merge_found(
                found,
                Path(folder),
                parts,
                expected=expected,
                context=run_context(options.title, environ),
                all_cases=bool(options.json or options.html or options.baseline),
                by_time=options.order_by_time,
                rules=rules,
            )
            if stream and isinstance(parts, io.BytesIO):
                _join(parts.getvalue(), stream)
    result = _result(options, report, about)
    code = _exit_code(options.fail_on, result, baseline)
    _write(options, result, code, environ)  # when the merged file is there: nobody is told of one that is not
    return code


def _files_of(outputs: Iterable[Path | None]) -> list[Path]:
    """What is written; devices and pipes may take several outputs."""
    written = [path for path in outputs if path]
    files = [path.resolve() for path in written if path.is_file() or not path.exists()]
    if twice := next((path for path in files if files.count(path) > 1), None):
        raise click.UsageError(f"two outputs would be written to {twice}: give each a file of its own")
    return written


def _join(merged: bytes, stream: IO[bytes]) -> None:
    from report_merge.limits import ReadLimits, Rejected
    from report_merge.merge.joined import join_suites

    try:
        join_suites(merged, stream, ReadLimits().file_bytes)
    except Rejected as refusal:
        raise click.UsageError(f"--join-suites: {refusal.reason}") from None


def _earlier(patterns: Sequence[str]) -> list[Report]:
    """The reports of earlier runs, oldest first. A pattern may match nothing: the first run has none."""
    import glob

    from report_merge.render.json import loads
    from report_merge.triage.history import order

    paths = sorted({Path(path) for pattern in patterns for path in glob.glob(pattern, recursive=True)})  # noqa: PTH207  as for reports
    return sorted(filter(None, (_read_option(path, loads, "--history") for path in paths)), key=order)


def _result(options: Options, report: Report, about: MergeInputs) -> MergeResult:
    """The report with what is known besides it, compared with the baseline, and what Lighthouse found."""
    from report_merge.baseline import compare
    from report_merge.files.attachments import roots, with_attachments
    from report_merge.files.checkout import Checkout
    from report_merge.render.wording import Status, status
    from report_merge.result import MergeResult
    from report_merge.triage.history import with_history
    from report_merge.triage.known import with_known
    from report_merge.triage.locate import located
    from report_merge.triage.owners import with_owners

    lighthouse = None
    if options.lighthouse:
        from report_merge.lighthouse import read

        lighthouse = read(options.lighthouse)
        if about.baseline and about.baseline.lighthouse:
            lighthouse = replace(lighthouse, baseline=about.baseline.lighthouse.pages)
    if report.totals.failed or report.totals.flaky:
        report = located(report, lru_cache(maxsize=65_536)(Checkout.around(Path.cwd()).find))
        report = with_attachments(report, roots(options.paths))
        report = with_history(report, about.history)
    if about.owners:
        report = with_owners(report, about.owners)
    if options.known_failures:
        report = with_known(report, about.known, datetime.now(UTC).date(), str(options.known_failures))
    comparison = compare(report, about.baseline.report) if about.baseline else None
    if options.fail_on == "flaky" and report.totals.flaky and status(report, lighthouse) is Status.PASSED:
        report = replace(report, verdict=Status.FAILED)
    return MergeResult(report=report, comparison=comparison, lighthouse=lighthouse, rules=about.rules)


def _write(options: Options, result: MergeResult, code: MergeExitCode, environ: Mapping[str, str]) -> None:
    from report_merge.render import escape

    if options.summary:
        result.write_summary(options.summary, environ)
    if options.html:
        result.write_html(options.html)
    if options.json:
        result.write_json(options.json)
    if options.rerun_file:
        result.write_rerun_file(options.rerun_file)
    if options.outputs:
        files = {"report-path": options.output, "html-path": options.html, "json-path": options.json}
        result.append_outputs(options.outputs, code, {name: path for name, path in files.items() if path})
    if options.annotations:
        result.annotate()
    if options.comment:
        result.keep_comment(environ)
    if not result.report.totals.tests:
        click.echo(f"{PROGRAM}: nothing to report: no test in {escape.terminal(' '.join(options.paths))}", err=True)
    shown = bool(options.summary or options.html)  # failures are told once
    result.say(PROGRAM, report_path=str(options.html or options.output or ""), failures_shown=shown)


def _exit_code(fail_on: str, result: MergeResult, baseline: SavedReport | None) -> MergeExitCode:
    report, lighthouse = result.report, result.lighthouse
    totals = report.totals
    if report.missing or totals.not_run:
        return MergeExitCode.INCOMPLETE
    if report.problems or (lighthouse and lighthouse.problems):
        return MergeExitCode.UNREADABLE
    if totals.tests == 0:
        return MergeExitCode.NOTHING
    broken = lighthouse.broken if lighthouse else frozenset()
    broken_before = baseline.lighthouse.broken if baseline and baseline.lighthouse else frozenset()
    compared = result.comparison.new_failures if result.comparison else ()
    new_failures = [case for case in compared if case.known is None or case.known.expired]
    failing = totals.failed - totals.known
    failed = {
        "failed": failing > 0 or bool(broken),
        "flaky": failing + totals.flaky > 0 or bool(broken),
        "new": bool(new_failures) or bool(broken - broken_before),
        "never": False,
    }
    return MergeExitCode.FAILED if failed[fail_on] else MergeExitCode.PASSED


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
