"""`ci-dispatch github check`: the way to a first run through GitHub Actions."""

from __future__ import annotations

import click

from ci_dispatch.app.settings import Settings
from ci_dispatch.cli.options import configured


@click.group()
def github() -> None:
    """Set up GitHub Actions, and say what would fail there."""


@github.command()
@configured("github.repository", "github.workflow", "github.strategy", "run.machines")
@click.option("--json", "as_json", is_flag=True, help="For programs: one document.")
@click.option("--probe", is_flag=True, help="Start a job of a minute on each machine, and see what its runner has.")
def check(settings: Settings, as_json: bool, probe: bool) -> int:
    """Say before the first push what would fail, each with its remedy.

    Reads the workflows here, and asks GitHub with GITHUB_TOKEN (`gh auth token` prints one) about the default branch,
    secrets, runners and required checks. What the token may not ask is said, and is no failure. The exit code is what a
    run would end with: 0 when nothing fails.
    """
    from ci_dispatch.app import github_check

    return github_check.check(settings, as_json=as_json, probe=probe)
