"""`ci-dispatch init`: a configuration to start from."""

from __future__ import annotations

from pathlib import Path

import click

from ci_dispatch.cli.settings import FILE, current_folder, find
from ci_dispatch.core.errors import UsageError


@click.command()
@click.option("--force", is_flag=True, help="Replace the file if there is one.")
@click.option("--stdout", is_flag=True, help="Print it and write nothing.")
def init(force: bool, stdout: bool) -> None:
    """Write a commented ci-dispatch.toml.

    It goes to the repository's root and has every setting with its default; the test runner is recognised.
    """
    _, root = find(current_folder())
    text, recognised = _sample(root)
    if stdout:
        click.echo(text, nl=False)
        return
    file = root / FILE
    try:
        with file.open("w" if force else "x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise UsageError(
            f"{file} was not written", why="it exists", hint="edit it, or replace it with: ci-dispatch init --force"
        ) from None
    except OSError as error:
        raise UsageError(f"{file} was not written", why=str(error.strerror), hint="look at the folder") from None
    click.echo(f"Wrote {file}: {recognised}. What counts now: ci-dispatch config --explain")


def _sample(root: Path) -> tuple[str, str]:
    """The file's text, and what was recognised in words."""
    from ci_dispatch.config.sample import sample
    from ci_dispatch.suites.discovery import recognise

    try:
        suite = recognise(root)
    except UsageError as unclear:
        return sample(), f"{unclear.what[0].lower()}{unclear.what[1:]} ({unclear.why})"
    return sample(suite.runner, suite.workdir), f"{suite.runner} in {suite.workdir}"
