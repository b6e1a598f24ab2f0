"""`ci-dispatch config`: what counts here, and why."""

from __future__ import annotations

import json

import click

from ci_dispatch.app.settings import Settings
from ci_dispatch.cli.options import configured
from ci_dispatch.config.sections import SETTINGS
from ci_dispatch.config.write import json_schema, literal, to_document, to_toml
from report_merge.render.escape import terminal


def _print_schema(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(json.dumps(json_schema(), indent=2))
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
    if form == "explain":
        click.echo(terminal(explained(settings)))
    elif form == "json":
        document = to_document(settings.config, defaults=True)
        origins = {path: {"source": origin.source, "where": origin.where} for path, origin in settings.origins.items()}
        file = str(settings.file) if settings.file else None
        click.echo(json.dumps({"file": file, "config": document, "origins": origins}, indent=2))
    else:
        click.echo(terminal(to_toml(to_document(settings.config, defaults=True))), nl=False)


def explained(settings: Settings) -> str:
    """Three columns: setting, value, origin; a machine only with what was said about it."""
    rows: list[tuple[str, str, str]] = []
    for setting in SETTINGS:
        value = setting.write(getattr(getattr(settings.config, setting.section), setting.name))
        written = "not set" if value is None else literal(value)
        rows.append((setting.path, written, str(settings.origins[setting.path])))
    given = to_document(settings.config)
    for name, tables in (("slack.channel", given.get("slack", {}).get("channel", [])), ("machine", given["machine"])):
        for number, table in enumerate(tables, 1):
            for key, value in table.items():
                path = f"{name}[{number}].{key}"
                origin = settings.origins.get(path)
                rows.append((path, literal(value), str(origin) if origin else "no [[machine]] given: this computer"))
    wide = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return "\n".join(f"{path:{wide[0]}}  {value:{min(wide[1], 40)}}  {origin}" for path, value, origin in rows)
