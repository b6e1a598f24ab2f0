"""Which suite a repository has, and the runner behind it: runners are found through entry points of `RUNNER_GROUP`.

docs/suites.md, "Add a runner", says what an entry point has to be.
"""

from __future__ import annotations

import configparser
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from ci_dispatch.config.sections import AUTO, RUNNER_GROUP, SuiteConfig
from ci_dispatch.core.codec import replace
from ci_dispatch.core.errors import CiDispatchError, UsageError, nearest
from ci_dispatch.run.ports import Suite

BUILT_IN = {  # as pyproject.toml declares them
    "command": "ci_dispatch.suites.command:CommandSuite",
    "playwright": "ci_dispatch.suites.playwright:PlaywrightSuite",
    "pytest": "ci_dispatch.suites.pytest:PytestSuite",
}
PLAYWRIGHT, PYTEST = "playwright", "pytest"
PLAYWRIGHT_FILES = tuple(f"playwright.config.{ending}" for ending in ("ts", "js", "mts", "mjs", "cts", "cjs"))
SUITE_MEMBERS = ("name", "title", "tools", "list_tests", "invocation", "live_result", "read")
DEPTH = 2  # folders below the root
SKIPPED = {"node_modules", "site-packages", "dist", "build", "vendor", "venv", "__pycache__"}


def open_suite(settings: SuiteConfig, root: Path, arguments: Sequence[str] | None = None) -> Suite:
    """The suite that `settings` describe, in the work tree `root`; the runner `auto` is recognised from its files.

    `arguments` are what every call of the runner gets, the listing included, so that a filter among them filters both;
    by default the configuration's. Raises UsageError for a suite that is unclear or not there, and for a runner that is
    not installed or cannot be used.
    """
    location = SuiteLocation(settings.runner, settings.workdir)
    if settings.runner == AUTO:
        location = recognise(root, settings.workdir)
    entry = _entry_point(location.runner)
    resolved = replace(
        settings,
        runner=location.runner,
        workdir=location.workdir,
        title=settings.title or root.absolute().name,
        args=settings.args if arguments is None else tuple(arguments),
    )
    try:
        factory: Callable[[SuiteConfig, Path], Suite] = entry.load()
        return _checked(factory(resolved, root))
    except CiDispatchError:
        raise
    except Exception as error:  # it may be a package that is not ours: whatever its code raises
        raise UsageError(
            f"The runner {entry.name} cannot be used",
            why=f"{entry.value} of {_package(entry)}: {type(error).__name__}: {error}",
            hint=f"install a version of {_package(entry)} that fits this ci-dispatch",
        ) from error


def _entry_point(runner: str) -> EntryPoint:
    """Raises UsageError when no installed package has the runner, or more than one: neither is to be preferred."""
    installed = _installed()
    found = [entry for entry in installed if entry.name == runner]
    if len(found) == 1:
        return found[0]
    if found:
        packages = " and ".join(sorted(_package(entry) for entry in found))
        raise UsageError(f"The runner {runner} is not clear", why=f"{packages} have one of this name")
    names = sorted({entry.name for entry in installed})
    meant = nearest(runner, names)
    raise UsageError(
        f"The runner {runner} is not installed",
        why=f"installed are: {', '.join(names)}",
        hint=f"did you mean {meant}?" if meant else 'install its package, or use runner = "command"',
    )


def _installed() -> list[EntryPoint]:
    """Ours, also in a checkout that is not installed (the Action runs from one), and those of other packages."""
    ours = [EntryPoint(name, value, RUNNER_GROUP) for name, value in BUILT_IN.items()]
    others = [entry for entry in entry_points(group=RUNNER_GROUP) if BUILT_IN.get(entry.name) != entry.value]
    return [*ours, *others]


def _checked(suite: Suite) -> Suite:
    """Raises TypeError for what is no suite: it would fail later, and without saying whose it is."""
    missing = [name for name in SUITE_MEMBERS if not hasattr(suite, name)]
    if missing:
        raise TypeError(f"it returned {suite!r}, which has no {', '.join(missing)}")
    return suite


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else "ci-dispatch"


@dataclass(frozen=True, slots=True, order=True)
class SuiteLocation:
    runner: str
    workdir: str  # relative to the root


def recognise(root: Path, workdir: str = ".") -> SuiteLocation:
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
    if _has_pytest_files(top):
        return SuiteLocation(PYTEST, Path(workdir).as_posix())
    raise UsageError(
        "No suite was found",
        why=f"no Playwright or pytest configuration, and no test_*.py, is in {top} or {DEPTH} folders below it",
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


def _suites(root: Path, folder: Path) -> list[SuiteLocation]:
    workdir = folder.relative_to(root).as_posix()
    found = []
    if any((folder / name).is_file() for name in PLAYWRIGHT_FILES):
        found.append(SuiteLocation(PLAYWRIGHT, workdir))
    if _configures_pytest(folder):
        found.append(SuiteLocation(PYTEST, workdir))
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


def _has_pytest_files(top: Path) -> bool:
    """Whether pytest without any configuration finds tests here: files of the names it looks for."""
    return top.is_dir() and any(
        any(folder.glob(pattern))
        for depth in range(DEPTH + 1)
        for folder in _folders(top, depth)
        for pattern in ("test_*.py", "*_test.py")
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
