"""`ci-dispatch`: the table of commands. A command's module is imported when it is used, so that --help starts fast."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

from ci_dispatch import __version__
from ci_dispatch.core.errors import did_you_mean

COMMANDS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "Run a suite": {
        "run": ("run", "Run the suite over the fleet and give one verdict."),
        "resume": ("run", "Finish a run whose controller died."),
        "plan": ("run", "Show who would run what, without running it."),
        "demo": ("run", "See it work in half a minute, on this computer only."),
    },
    "Machines": {
        "health": ("machines", "Ask every machine how it is."),
        "machines": ("machines", "Show the fleet as configured and as earlier runs have shown it."),
    },
    "GitHub Actions": {
        "waves": ("waves", "Plan, plan again and merge inside one workflow run."),
        "dispatch": ("github", "Run the suite through GitHub Actions and watch it to its end."),
        "watch": ("github", "Attach to a dispatched run again, from anywhere."),
        "cancel": ("github", "Cancel a dispatched run and what it started."),
        "shard": ("github", "Run one shard: what a worker job calls."),
        "merge": ("github", "Merge the reports of all shards and attempts of a run."),
        "github": ("github_setup", "Set up GitHub Actions, and say what would fail there."),
    },
    "Look at a run": {
        "replay": ("recorded", "Show a recorded run again from its events."),
        "progress": ("recorded", "Show what progress looks like."),
        "logs": ("recorded", "Show the output of a run, a machine or a test."),
        "explain": ("recorded", "Say why a test or a machine had the run that it had."),
        "simulate": ("recorded", "Show a run as it would have been under another fleet or policy."),
        "dashboard": ("recorded", "Serve the web page of a run."),
        "metrics": ("recorded", "Show the figures of a run."),
        "notify": ("recorded", "Send a sample message to the channels."),
        "history": ("history", "Show what earlier runs taught, import, export, merge, prune."),
    },
    "Set up": {
        "init": ("setup", "Write a commented ci-dispatch.toml."),
        "config": ("setup", "Show the configuration and where each value comes from."),
    },
}
"""By section: command, its module in this package (the function has the command's name), one line of help."""

_MODULES = {name: module for section in COMMANDS.values() for name, (module, _) in section.items()}


class LazyGroup(click.Group):
    """A group that knows its commands by a table and imports one only to run it or to show its own help."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _MODULES:
            return None
        module = f"{__package__}.{_MODULES[cmd_name]}"
        try:
            command = getattr(import_module(module), cmd_name)
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
            raise click.UsageError(f"The command {cmd_name} is not part of this version") from None
        assert isinstance(command, click.Command), f"{module} has no command {cmd_name}"
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in _MODULES and not name.startswith("-"):
            meant = did_you_mean(name, _MODULES)
            raise click.UsageError(f"There is no command {name!r}{'; ' if meant else ''}{meant}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        for section, commands in COMMANDS.items():
            with formatter.section(section):
                formatter.write_dl([(name, text) for name, (_, text) in commands.items()], col_max=12)


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="ci-dispatch", message="%(prog)s %(version)s")
@click.option(
    "--config", "config_file", metavar="FILE",
    help="Configuration. Default: ci-dispatch.toml here or above, up to the repository's root.",
)  # fmt: skip
@click.option("--color/--no-color", default=None, help="Colours. Default: on a terminal and in known CI, see NO_COLOR.")
@click.pass_context
def cli(ctx: click.Context, config_file: str | None, color: bool | None) -> int | None:
    """Run one test suite over the machines you own, and get one verdict you can trust."""
    given: dict[str, Any] = {"config_file": config_file, "color": color}
    ctx.obj = given
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
        return 2  # nothing was asked for: in a script that is a mistake
    return None
