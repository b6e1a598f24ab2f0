"""The edge that finds and reads the configuration, and gives commands the options that override it."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ci_dispatch.config import Config, Origin, load
from ci_dispatch.config.sections import SETTINGS
from ci_dispatch.config.setting import Setting
from ci_dispatch.core.errors import UsageError

FILE = "ci-dispatch.toml"
VARIABLE = "CI_DISPATCH_CONFIG"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a command gets: the configuration and the surroundings it was read in."""

    config: Config
    origins: Mapping[str, Origin]
    root: Path  # the file's folder; without a file the repository's, or else the current one
    file: Path | None
    environ: Mapping[str, str]  # with --color and --no-color as the variables they stand for


def configured(*paths: str) -> Callable[[Callable[..., int | None]], Callable[..., int | None]]:
    """Give a command the options of these settings ("retry.max_retries"), and `Settings` as its first argument."""
    chosen = [setting for setting in SETTINGS if setting.path in paths]
    assert len(chosen) == len(paths), f"no such setting among {paths}"

    def decorate(command: Callable[..., int | None]) -> Callable[..., int | None]:
        @functools.wraps(command)
        @click.pass_context
        def with_settings(ctx: click.Context, /, **values: Any) -> int | None:
            named = values.pop("config_file") or ctx.obj["config_file"]
            given = {setting.path: values.pop(_parameter(setting)) for setting in chosen}
            options = {path: _text(value) for path, value in given.items() if value not in (None, ())}
            settings = read_settings(
                Path(named) if named else None, options, os.environ, current_folder(), ctx.obj["color"]
            )
            return command(settings, **values)

        result: Callable[..., int | None] = with_settings
        result = click.option("--config", "config_file", metavar="FILE", help="Configuration.")(result)
        for setting in reversed(chosen):
            result = _option(setting)(result)
        return result

    return decorate


def read_settings(
    config_file: Path | None, options: Mapping[str, Any], environ: Mapping[str, str], here: Path, color: bool | None
) -> Settings:
    """The configuration for a command started in the folder `here`; warnings go to stderr at once.

    Raises ConfigError with every problem, and UsageError for a file that cannot be read.
    """
    named = config_file or (Path(environ[VARIABLE]) if environ.get(VARIABLE) else None)
    file, root = (named, named.resolve().parent) if named else find(here)
    loaded = load(
        _read(file) if file else "", file=_shown(file, here) if file else FILE, environ=environ, options=options,
        cores=cores_here(),
    )  # fmt: skip
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    environ = _with_colour(environ, color)
    return Settings(config=loaded.config, origins=loaded.origins, root=root, file=file, environ=environ)


def _with_colour(environ: Mapping[str, str], color: bool | None) -> Mapping[str, str]:
    """A person who types an option means it more than a variable that is always there (https://no-color.org)."""
    if color is None:
        return environ
    plain = {name: value for name, value in environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    return plain | ({"FORCE_COLOR": "1"} if color else {"NO_COLOR": "1"})


def current_folder() -> Path:
    try:
        return Path.cwd()
    except OSError:
        raise UsageError("Nothing was started", why="the current folder is gone", hint="cd to another") from None


def find(here: Path) -> tuple[Path | None, Path]:
    """The nearest ci-dispatch.toml from `here` up to the repository's root, and the folder everything is relative to.

    Outside a repository only `here` counts: a file somebody left in a folder above is not ours to obey.
    """
    above = [here, *here.parents]
    repository = next((folder for folder in above if _there(folder / ".git")), here)
    for folder in above:
        if _there(folder / FILE):
            return folder / FILE, folder
        if folder == repository:
            break
    return None, repository


def _there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a folder above that we may not look into is none of ours
        return False


def cores_here() -> int:
    """The cores this process may use (less than the computer has, in a container with a CPU set)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{file} was not read", why=f"byte {error.start} is not UTF-8", hint="save it as UTF-8, as TOML asks for"
        ) from None
    except OSError as error:
        raise UsageError(
            f"{file} was not read",
            why=str(error.strerror),
            hint="name another with --config, or write one: ci-dispatch init",
        ) from None


def _shown(file: Path, here: Path) -> str:
    return str(file.relative_to(here)) if file.is_relative_to(here) else str(file)


def _parameter(setting: Setting) -> str:
    return setting.path.replace(".", "__")


def _text(value: Any) -> Any:
    return ",".join(value) if isinstance(value, tuple) else value


def _option(setting: Setting) -> Callable[[Callable[..., int | None]], Callable[..., int | None]]:
    """The command-line option of a setting. Values are read with all others, so that all problems come at once."""
    name, help_text = _parameter(setting), setting.meaning
    if setting.value_type.name == "yes or no":
        return click.option(f"{setting.flag}/--no-{setting.flag[2:]}", name, default=None, help=help_text)
    words = setting.value_type.schema.get("enum")
    metavar = "|".join(words) if words else setting.value_type.name.rpartition(" ")[2].upper()
    if setting.value_type.many:
        return click.option(setting.flag, name, multiple=True, metavar="NAME", help=help_text)
    shown = (
        f"{help_text}  [default: {setting.written_default}]" if setting.written_default not in ("", None) else help_text
    )
    return click.option(setting.flag, name, metavar=metavar, help=shown)
