"""The command-line options that override settings, made from their declarations; and those of several commands."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ci_dispatch.app.settings import current_folder, read_settings
from ci_dispatch.cli.errors import show_message
from ci_dispatch.config.sections import SETTINGS
from ci_dispatch.config.setting import Setting

Command = Callable[..., int | None]

SHARDS = click.option(
    "--shards",
    type=click.IntRange(0, 10_000),
    default=0,
    show_default=True,
    envvar="DISPATCH_SHARDS",
    help="Cut the plan into about so many jobs. 0: one for each slot of a machine, and a tail.",
)
LISTING = click.option(
    "--listing",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The tests, as --list-only wrote them there: no code of the repository is executed.",
)


def configured(*paths: str) -> Callable[[Command], Command]:
    """Give a command the options of these settings ("retry.max_retries"), and `Settings` as its first argument.

    Warnings about the configuration go to stderr before the command begins.
    """
    chosen = [setting for setting in SETTINGS if setting.path in paths]
    assert len(chosen) == len(paths), f"no such setting among {paths}"

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        @click.pass_context
        def with_settings(ctx: click.Context, /, **values: Any) -> int | None:
            named = values.pop("config_file") or ctx.obj["config_file"]
            given = {name: values.pop(_parameter(name)) for setting in chosen for name in _names(setting)}
            options = {name: _text(value) for name, value in given.items() if value not in (None, ())}
            file = Path(named) if named else None
            settings = read_settings(file, options, os.environ, current_folder(), color=ctx.obj["color"])
            for warning in settings.warnings:
                show_message(f"warning: {warning}")
            return command(settings, **values)

        result: Command = with_settings
        result = click.option("--config", "config_file", metavar="FILE", help="Configuration.")(result)
        for setting in reversed(chosen):
            for name in reversed(_names(setting)):
                result = _option(setting, name)(result)
        return result

    return decorate


def _names(setting: Setting) -> list[str]:
    """By what `read_settings` knows the setting's option: its path; and a flag it had before."""
    return [setting.path, *([setting.former_flag] if setting.former_flag else [])]


def _parameter(name: str) -> str:
    return name.strip("-").replace(".", "__").replace("-", "_")


def _text(value: Any) -> Any:
    return ",".join(value) if isinstance(value, tuple) else value


def _option(setting: Setting, name: str) -> Callable[[Command], Command]:
    """The command-line option of a setting. Values are read with all others, so that all problems come at once."""
    value_type, former = setting.value_type, name == setting.former_flag
    flag, parameter, hidden = (name if former else setting.flag), _parameter(name), former
    if value_type.name == "yes or no":
        return click.option(f"{flag}/--no-{flag[2:]}", parameter, default=None, hidden=hidden, help=setting.meaning)
    if value_type.many:
        return click.option(flag, parameter, multiple=True, hidden=hidden, metavar="NAME", help=setting.meaning)
    words, default = value_type.schema.get("enum"), setting.written_default
    metavar = "|".join(words) if words else value_type.name.rpartition(" ")[2].upper()
    shown = setting.meaning if default in ("", None) else f"{setting.meaning}  [default: {default}]"
    return click.option(flag, parameter, hidden=hidden, metavar=metavar, help=shown)
