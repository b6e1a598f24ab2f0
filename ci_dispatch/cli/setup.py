"""The commands about the configuration: `ci-dispatch init, config`."""

from __future__ import annotations

import click

from ci_dispatch.app.say import say, say_json
from ci_dispatch.app.settings import Settings, current_folder, find
from ci_dispatch.cli.options import configured
from ci_dispatch.config.sections import SETTINGS


@click.command()
@click.option("--force", is_flag=True, help="Replace the file if there is one.")
@click.option("--stdout", is_flag=True, help="Print it and write nothing.")
def init(force: bool, stdout: bool) -> None:
    """Write a commented ci-dispatch.toml.

    It goes to the repository's root and has every setting with its default; the test runner is recognised.
    """
    from ci_dispatch.app import config_file

    _, root = find(current_folder())
    if stdout:
        say(config_file.sample_for(root)[0].removesuffix("\n"))
    else:
        say(config_file.write_sample(root, force=force))


def _print_schema(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        from ci_dispatch.config.write import json_schema

        say_json(json_schema(), indent=2)
        ctx.exit()


@click.command("config")
@click.option("--explain", "form", flag_value="explain", help="Each value with where it comes from.")
@click.option("--json", "form", flag_value="json", help="The same for programs.")
@click.option(
    "--schema", is_flag=True, expose_value=False, callback=_print_schema,
    help="The JSON Schema of the file, for editors.",
)  # fmt: skip
@configured(*(setting.path for setting in SETTINGS if setting.flag))
def config(settings: Settings, form: str | None) -> None:
    """Show the configuration and where each value comes from.

    Later ones win: default, ci-dispatch.toml, environment, command line. The options of all other commands are accepted
    here too, to see what they would change.
    """
    from ci_dispatch.app import config_file
    from report_merge.render.escape import terminal

    match form:
        case "explain":
            say(terminal(config_file.explained(settings)))
        case "json":
            say_json(config_file.as_json(settings))
        case _:
            say(terminal(config_file.as_toml(settings)).removesuffix("\n"))
