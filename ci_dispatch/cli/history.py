"""`ci-dispatch history [TEST], import, export, merge, prune`: what earlier runs taught."""

from __future__ import annotations

from pathlib import Path

import click

from ci_dispatch.app.settings import Settings
from ci_dispatch.cli.options import configured

_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)


class _ShowsByDefault(click.Group):
    """What is none of its commands is a test, or an option of `show`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = ["show", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_ShowsByDefault, subcommand_metavar="[TEST] | COMMAND [ARGS]...")
def history() -> None:
    """Show what earlier runs taught, take in what others have, give it away, forget it.

    `ci-dispatch history` lists the runs, `ci-dispatch history TEST` says what became of a test (both are `show`).
    """


@history.command()
@click.argument("test", default="", metavar="[TEST]")
@click.option("--branch", default="", help="Only runs of this branch. Not with TEST.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Most runs to list.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
@configured()
def show(settings: Settings, test: str, branch: str, limit: int, as_json: bool) -> None:
    """Show the runs, or of one TEST: verdicts, durations, machines, flaky rate, failures.

    TEST is its id, or a piece of its id, name or file.
    """
    from ci_dispatch.app import history as app

    if test:
        app.show_test(settings, test, as_json=as_json)
    else:
        app.show_runs(settings, branch=branch, limit=limit, as_json=as_json)


@history.command("import")
@click.argument("paths", nargs=-1, required=True, metavar="JUNIT...")
@click.option("--branch", default="", help="Branch the run was of. Default: this job's in GitHub Actions, else none.")
@click.option("--run", default="", metavar="ID", help="What to call the run. Default: by what the files hold.")
@configured("history.runs", "history.max_age")
def import_junit(settings: Settings, paths: tuple[str, ...], branch: str, run: str) -> None:
    """Take in the JUnit files of one run, of whatever made them; the next plan has their durations.

    JUNIT are files, folders, patterns or archives, as for report-merge. The same files again change nothing.
    """
    from ci_dispatch.app import history as app

    app.import_junit(settings, paths, branch=branch, run=run)


@history.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@configured()
def export(settings: Settings, file: Path) -> None:
    """Write the whole history as of now into one FILE, for `merge` elsewhere."""
    from ci_dispatch.app import history as app

    app.export(settings, file)


@history.command()
@click.argument("files", nargs=-1, required=True, type=_FILE, metavar="FILE...")
@configured("history.runs", "history.max_age")
def merge(settings: Settings, files: tuple[Path, ...]) -> None:
    """Take in other histories: all of them, or none when one cannot be read.

    The order does not matter, and a second time changes nothing. The files stay as they are.
    """
    from ci_dispatch.app import history as app

    app.merge(settings, files)


@history.command()
@configured("history.runs", "history.max_age")
def prune(settings: Settings) -> None:
    """Forget the runs that [history] does not allow, and make the file as small as the rest."""
    from ci_dispatch.app import history as app

    app.prune(settings)
