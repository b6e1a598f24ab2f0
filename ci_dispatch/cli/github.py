"""`ci-dispatch dispatch, watch, cancel, shard, merge`: the suite through GitHub Actions."""

from __future__ import annotations

from pathlib import Path

import click

from ci_dispatch.app.settings import Settings
from ci_dispatch.cli.options import LISTING, SHARDS, configured

_RUN = "[RUN]"


@click.command()
@configured(
    "github.workflow",
    "github.ref",
    "github.repository",
    "github.strategy",
    "github.queue_timeout",
    "github.setup_time",
    "github.allow_forks",
    "github.allow_dependabot",
    "retry.max_retries",
    "retry.flaky_is_failure",
    "health.skip",
    "run.machines",
    "run.target_time",
    "run.shard_timeout",
    "run.fail_if_all_skipped",
    "suite.runner",
    "suite.workdir",
    "progress.mode",
    "dashboard.enabled",
    "dashboard.host",
    "dashboard.port",
)
@SHARDS
@click.option("--matrix-only", is_flag=True, envvar="DISPATCH_MATRIX_ONLY",
              help="Make the plan, print its matrix and dispatch nothing.")  # fmt: skip
@LISTING
@click.option("--dry-run", is_flag=True,
              help="Dispatch nothing: say what would fail, as `ci-dispatch github check` does.")  # fmt: skip
@click.option("--list-only", is_flag=True, help="List the tests into the FILE of --listing and dispatch nothing.")
@click.argument("extra", nargs=-1, type=click.UNPROCESSED, metavar="[-- RUNNER ARGUMENTS...]")
def dispatch(
    settings: Settings,
    shards: int,
    matrix_only: bool,
    listing: Path | None,
    dry_run: bool,
    list_only: bool,
    extra: tuple[str, ...],
) -> int:
    """Run the suite through GitHub Actions and watch it to its end.

    Checks the machines, plans a matrix, starts the worker workflow, runs failed jobs again, sends what a dead machine
    owes elsewhere, and gives one verdict. Locally it needs GITHUB_TOKEN and nothing else.
    """
    from ci_dispatch.app import dispatch, github_check

    if dry_run:
        return github_check.check(settings, as_json=False, probe=False)
    if list_only:
        if listing is None:
            raise click.UsageError("--list-only needs --listing FILE")
        return dispatch.list_only(settings, listing, extra)
    return dispatch.begin(settings, shards=shards, matrix_only=matrix_only, extra=extra, listing=listing)


@click.command()
@configured("progress.mode", "dashboard.enabled", "dashboard.host", "dashboard.port")
@click.argument("run", metavar=_RUN, default="", envvar="DISPATCH_RUN")
def watch(settings: Settings, run: str) -> int:
    """Attach to a dispatched run again, from anywhere, and finish it.

    RUN is GitHub's id or address of the worker run, or the name of a run folder. Default: the newest run. Where the run
    folder is not on this computer, the plan is read from the reports its shards have uploaded.
    """
    from ci_dispatch.app import dispatch

    return dispatch.watch(settings, run)


@click.command()
@configured("github.repository")
@click.argument("run", metavar=_RUN, default="", envvar="DISPATCH_RUN")
def cancel(settings: Settings, run: str) -> int:
    """Cancel a dispatched run and everything it started.

    RUN is as for `ci-dispatch watch`.
    """
    from ci_dispatch.app import dispatch

    return dispatch.cancel(settings, run)


@click.command()
@configured("run.shard_timeout", "suite.runner", "suite.workdir")
@click.option("--entry", required=True, envvar="DISPATCH_ENTRY", help="This job's matrix entry: ${{ toJSON(matrix) }}.")
@click.option("--plan", required=True, envvar="DISPATCH_PLAN",
              help="The workflow's input `plan`, or the output `plan` of the job that planned.")  # fmt: skip
@click.option("--dispatch-id", default="", envvar="DISPATCH_ID",
              help="The workflow's input `dispatch_id`; none inside one workflow run.")  # fmt: skip
@click.option("--artifacts", type=click.Path(path_type=Path, file_okay=False), envvar="DISPATCH_ARTIFACTS",
              help="Folder with the plan's artifacts, downloaded: inside one workflow run.")  # fmt: skip
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), default=".ci-dispatch/shard",
              show_default=True, help="Folder for the reports.")  # fmt: skip
def shard(settings: Settings, entry: str, plan: str, dispatch_id: str, artifacts: Path | None, output: Path) -> int:
    """Run one shard on this machine: what a worker job calls.

    At its second attempt and later it runs only what failed or never ran, when the earlier reports can be had.
    """
    from ci_dispatch.app import shard

    if not dispatch_id and artifacts is None:
        raise click.UsageError("a dispatched shard needs --dispatch-id, one inside a workflow run --artifacts")
    return shard.run(settings, entry=entry, plan=plan, dispatch_id=dispatch_id, output=output, artifacts=artifacts)


@click.command()
@configured("github.repository")
@click.argument("run", metavar=_RUN, default="", envvar="DISPATCH_RUN")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), default="merged.xml",
              show_default=True, help="The merged JUnit file.")  # fmt: skip
def merge(settings: Settings, run: str, output: Path) -> int:
    """Merge the JUnit reports of all shards and attempts of a run.

    RUN is as for `ci-dispatch watch`; inside a worker workflow, its own run.
    """
    from ci_dispatch.app import merge

    return merge.merge(settings, run, output)
