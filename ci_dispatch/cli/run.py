"""The commands that run a suite: `ci-dispatch run, resume, plan, demo`."""

from __future__ import annotations

import click

from ci_dispatch.app.say import say, say_json
from ci_dispatch.app.settings import Settings
from ci_dispatch.cli.options import configured
from ci_dispatch.config import ValueSource

_FOLLOW = click.option(
    "--follow", default="", metavar="MACHINE|TEST", help="Show this machine's or test's output as it comes."
)
_ARGUMENTS = click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- RUNNER ARGUMENTS...]")


@click.command()
@configured(
    "retry.max_retries",
    "retry.flaky_is_failure",
    "health.skip",
    "run.machines",
    "suite.runner",
    "suite.workdir",
    "run.deadline",
    "run.shard_timeout",
    "run.target_time",
    "run.fail_if_all_skipped",
    "progress.mode",
    "dashboard.enabled",
    "dashboard.host",
    "dashboard.port",
)
@_FOLLOW
@_ARGUMENTS
def run(settings: Settings, follow: str, arguments: tuple[str, ...]) -> int:
    """Run the suite over the fleet and give one verdict.

    Without any configuration: the suite of this repository, on this computer's cores.
    """
    from ci_dispatch.app.run import begin
    from ci_dispatch.app.run_spec import RunSpec

    config = settings.config
    spec = RunSpec(root=settings.root, config=config, arguments=(*config.suite.args, *arguments))
    return begin(spec, environ=settings.environ, follow=follow)


@click.command()
@configured("run.deadline", "progress.mode", "dashboard.enabled", "dashboard.host", "dashboard.port")
@_FOLLOW
@click.argument("run", default="", metavar="[RUN]")
def resume(settings: Settings, follow: str, run: str) -> int:
    """Finish a run whose controller died: what still runs is attached to, what is left is run.

    RUN is its id, the beginning of it, or its folder; the newest when not given. The run goes on under the
    configuration it began with; --deadline gives the whole run more time, in which that without a controller is
    not counted. Values of `env`, which no journal has, are read from today's configuration.
    """
    from ci_dispatch.app import run as runs

    config = settings.config
    typed = settings.origins["run.deadline"].source is ValueSource.COMMAND_LINE
    return runs.resume(
        settings.runs_folder,
        run,
        environ=settings.environ,
        follow=follow,
        shown=config,
        deadline=config.run.deadline if typed else 0.0,
    )


@click.command()
@configured("run.machines", "run.target_time", "suite.runner", "suite.workdir")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--matrix", is_flag=True, help="As a matrix for GitHub Actions.")
@_ARGUMENTS
def plan(settings: Settings, as_json: bool, matrix: bool, arguments: tuple[str, ...]) -> int:
    """Show who would run what, and how long it would take, without running it.

    Machines are not asked how they are: their cores come from the configuration.
    """
    if as_json and matrix:
        raise click.UsageError("--json and --matrix are two different outputs: give one")
    if matrix:
        from ci_dispatch.app import dispatch

        return dispatch.begin(settings, shards=0, matrix_only=True, extra=arguments)
    from ci_dispatch.app import plan

    data = plan.plan(settings, arguments)
    if as_json:
        say_json(data)
    else:
        say(plan.as_text(data))
    return 0


@click.command()
@configured("progress.mode", "dashboard.enabled")
def demo(settings: Settings) -> int:
    """See it work in half a minute: 60 tests over four pretended machines, one of which dies half way.

    Of the tests one fails, one is flaky, one is slow and one takes its runner down. Nothing is installed, nothing
    leaves this computer; the run is kept in a temporary folder.
    """
    from ci_dispatch.app.demo import run_demo

    return run_demo(settings)
