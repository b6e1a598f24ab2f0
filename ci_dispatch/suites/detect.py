"""Recognises the suite of a repository that says nothing about it: a Playwright or a pytest configuration."""

from __future__ import annotations

import configparser
import tomllib
from dataclasses import dataclass
from pathlib import Path

from ci_dispatch.config.sections import Runner
from ci_dispatch.core.errors import UsageError

PLAYWRIGHT = tuple(f"playwright.config.{ending}" for ending in ("ts", "js", "mts", "mjs", "cts", "cjs"))
DEPTH = 2  # folders below the root
SKIPPED = {"node_modules", "site-packages", "dist", "build", "vendor", "venv", "__pycache__"}


@dataclass(frozen=True, slots=True, order=True)
class Recognised:
    runner: Runner
    workdir: str  # relative to the root


def recognise(root: Path, workdir: str = ".") -> Recognised:
    """The one suite in `workdir` of `root`; the nearest to it, when there are several below.

    Raises UsageError when there is none, or when two are equally near: guessing would leave one of them out in silence.
    """
    top = root / workdir
    for depth in range(DEPTH + 1 if top.is_dir() else 0):
        found = sorted(suite for folder in _folders(top, depth) for suite in _suites(root, folder))
        if len(found) == 1:
            return found[0]
        if found:
            choices = ", ".join(f"{suite.runner} in {suite.workdir}" for suite in found)
            raise UsageError(
                "The suite is not clear",
                why=f"{top} has several: {choices}",
                hint=f'ci-dispatch.toml with [suite] runner = "{found[0].runner}", workdir = "{found[0].workdir}"',
            )
    raise UsageError(
        "No suite was found",
        why=f"neither a Playwright nor a pytest configuration is in {top} or {DEPTH} folders below it",
        hint='`ci-dispatch init` writes a configuration; runner = "command" serves any other test runner',
    )


def _folders(root: Path, depth: int) -> list[Path]:
    if depth == 0:
        return [root]
    return [
        child
        for folder in _folders(root, depth - 1)
        for child in sorted(folder.iterdir())
        if child.is_dir() and not child.is_symlink() and not child.name.startswith(".") and child.name not in SKIPPED
    ]


def _suites(root: Path, folder: Path) -> list[Recognised]:
    workdir = folder.relative_to(root).as_posix()
    found = []
    if any((folder / name).is_file() for name in PLAYWRIGHT):
        found.append(Recognised(Runner.PLAYWRIGHT, workdir))
    if _configures_pytest(folder):
        found.append(Recognised(Runner.PYTEST, workdir))
    return found


def _configures_pytest(folder: Path) -> bool:
    """Where pytest itself looks: https://docs.pytest.org/en/stable/reference/customize.html."""
    if any((folder / name).is_file() for name in ("pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml")):
        return True
    return (
        bool(_toml(folder / "pyproject.toml").get("tool", {}).get("pytest"))
        or _ini(folder / "tox.ini").has_section("pytest")
        or _ini(folder / "setup.cfg").has_section("tool:pytest")
    )


def _toml(file: Path) -> dict[str, dict[str, object]]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        return {}  # not ours to complain about: nothing in it configures pytest


def _ini(file: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read(file, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):
        return configparser.ConfigParser()
    return parser
