"""The configuration of a command: found, read, and given to everything a command does."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ci_dispatch.config import Config, Origin, load
from ci_dispatch.core.errors import UsageError

FILE = "ci-dispatch.toml"
VARIABLE = "CI_DISPATCH_CONFIG"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a command gets: the configuration and the environment it was read in."""

    config: Config
    origins: Mapping[str, Origin]
    root: Path  # the file's folder; without a file the repository's, or else the current one
    file: Path | None
    environ: Mapping[str, str]  # with --color and --no-color as the variables they stand for
    warnings: tuple[str, ...] = ()  # about the configuration, for whoever typed the command

    @property
    def lists_machines(self) -> bool:
        """The file has a [[machine]]; without one the fleet is this computer."""
        return any(path.startswith("machine[") for path in self.origins)

    @property
    def runs_folder(self) -> Path:
        return self.root / self.config.run.folder


def read_settings(
    config_file: Path | None,
    options: Mapping[str, Any],
    environ: Mapping[str, str],
    here: Path,
    *,
    color: bool | None = None,
) -> Settings:
    """The configuration for a command started in the folder `here`.

    `options` are command-line texts by the setting's path (or by a former flag); `color` is --color or --no-color.
    Raises ConfigError with every problem, and UsageError for a file that cannot be read.
    """
    named = config_file or (Path(environ[VARIABLE]) if environ.get(VARIABLE) else None)
    file, root = (named, named.resolve().parent) if named else find(here)
    loaded = load(
        _read(file) if file else "", file=_shown(file, here) if file else FILE, environ=environ, options=options,
        cores=cores_here(),
    )  # fmt: skip
    return Settings(
        config=loaded.config, origins=loaded.origins, root=root, file=file, environ=_with_colour(environ, color=color),
        warnings=loaded.warnings,
    )  # fmt: skip


def _with_colour(environ: Mapping[str, str], *, color: bool | None) -> Mapping[str, str]:
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
