"""`ci-dispatch run`: the suite over the fleet, one verdict."""

from __future__ import annotations

import click

from ci_dispatch.app.settings import Settings
from ci_dispatch.cli.options import configured


@click.command()
@configured(
    "retry.max_retries",
    "health.skip",
    "run.machines",
    "suite.runner",
    "suite.workdir",
    "run.deadline",
    "run.shard_timeout",
    "progress.mode",
    "dashboard.enabled",
    "dashboard.host",
    "dashboard.port",
)
@click.option("--follow", default="", metavar="MACHINE|TEST", help="Show this machine's or test's output as it comes.")
@click.argument("extra", nargs=-1, type=click.UNPROCESSED, metavar="[-- RUNNER ARGUMENTS...]")
def run(settings: Settings, follow: str, extra: tuple[str, ...]) -> int:
    """Run the suite over the fleet and give one verdict.

    Without any configuration: the suite of this repository, on this computer's cores.
    """
    from ci_dispatch.app.run import begin
    from ci_dispatch.app.run_spec import RunSpec

    config = settings.config
    spec = RunSpec(root=settings.root, config=config, arguments=(*config.suite.args, *extra))
    return begin(spec, environ=settings.environ, follow=follow)
