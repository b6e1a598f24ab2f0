"""`report-merge explain LOG`: why a log ends in failure, and what to do about it."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import click

from report_merge import failures
from report_merge.limits import MIB
from report_merge.option_files import read_option
from report_merge.render import escape


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("log", type=click.File("rb"))
@click.option(
    "--rules",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Your own rules (TOML), asked before the shipped ones.",
)
@click.pass_obj
def explain(_environ: Mapping[str, str], /, log: io.BufferedReader, rules: Path | None) -> int:
    """Say why LOG (a file, or - for standard input) ends in failure: every matching rule, the deciding one first."""
    own = read_option(rules, failures.load_rules, "--rules")
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
