"""`ci-dispatch waves plan, again, merge`: the suite inside one workflow run, as the action calls it."""

from __future__ import annotations

from pathlib import Path

import click

from ci_dispatch.app.settings import Settings
from ci_dispatch.cli.options import LISTING, SHARDS, configured

_PLAN = click.option("--plan", required=True, envvar="DISPATCH_PLAN", help="The output `plan` of the first job.")
_ARTIFACTS = click.option(
    "--artifacts",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    envvar="DISPATCH_ARTIFACTS",
    help="Folder with the plan's artifacts, downloaded.",
)
_OUTPUT = click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=".ci-dispatch/plan",
    show_default=True,
    help="Folder for the plan.",
)
_HEALTH = ("health.skip", "run.machines", "github.strategy", "github.setup_time", "run.shard_timeout")


@click.group(no_args_is_help=False)
def waves() -> None:
    """Run the suite inside one workflow run: plan, waves of matrix jobs, merge.

    Each is a job of its own, and knows from the others what they have uploaded.
    """


@waves.command()
@configured(
    *_HEALTH,
    "github.allow_forks",
    "github.allow_dependabot",
    "retry.max_retries",
    "retry.flaky_is_failure",
    "run.fail_if_all_skipped",
    "suite.runner",
    "suite.workdir",
)
@SHARDS
@LISTING
@click.option(
    "--list-only", is_flag=True, help="Make the checkout ready and list its tests into the FILE of --listing."
)
@_OUTPUT
@click.argument("extra", nargs=-1, type=click.UNPROCESSED, metavar="[-- RUNNER ARGUMENTS...]")
def plan(
    settings: Settings, shards: int, listing: Path | None, list_only: bool, output: Path, extra: tuple[str, ...]
) -> int:
    """Plan the first wave.

    Lists the suite, asks the machines how they are, writes matrix and plan.
    """
    from ci_dispatch.app import waves
    from ci_dispatch.app.github_target import commit_of

    if list_only:
        if listing is None:
            raise click.UsageError("--list-only needs --listing FILE")
        return waves.list_only(settings, listing, extra)
    return waves.plan(settings, commit=commit_of(settings), output=output, shards=shards, extra=extra, listing=listing)


@waves.command()
@configured(*_HEALTH)
@_PLAN
@click.option("--wave", type=click.IntRange(2, 99), required=True, envvar="DISPATCH_WAVE", help="Number of the wave.")
@_ARTIFACTS
@_OUTPUT
def again(settings: Settings, plan: str, wave: int, artifacts: Path, output: Path) -> int:
    """Plan the next wave.

    It has failed tests that have retries left, and what was never finished.
    """
    from ci_dispatch.app import waves

    return waves.again(settings, plan, wave=wave, artifacts=artifacts, output=output)


@waves.command()
@configured("progress.mode", "github.allow_forks", "github.allow_dependabot")
@click.option("--plan", default="", envvar="DISPATCH_PLAN", help="The output `plan` of the first job.")
@_ARTIFACTS
def merge(settings: Settings, plan: str, artifacts: Path) -> int:
    """Give the verdict.

    Red unless every expected test has one and none failed.
    """
    from ci_dispatch.app import waves

    return waves.merge(settings, plan, artifacts=artifacts)
