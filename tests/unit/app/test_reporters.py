"""Reporters come through entry points: ours always, those of other packages without a say in the run."""

from __future__ import annotations

import io
import re
import sys
import tomllib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from ci_dispatch.app.reporters import delivering, open_reporters
from ci_dispatch.config import Config
from ci_dispatch.core.codec import replace
from ci_dispatch.core.errors import UsageError
from ci_dispatch.reporters import BUILT_IN, GROUP, BaseReporter, Reporter, ReporterContext
from ci_dispatch.run.run_folder import RunFolder
from ci_dispatch.run.run_report import ReportCache
from report_merge.model import RunContext

ROOT = Path(__file__).parents[3]
DOCUMENTATION = ROOT / "docs" / "reporters.md"
TEAM = """
from ci_dispatch.reporters import BaseReporter

opened = []

class Team(BaseReporter):
    name = "team"

class Nameless(BaseReporter):
    pass

def open_reporter(context):
    opened.append((context.folder.id, context.reports.context.branch, context.environ["TEAM_URL"]))
    return Team()

def not_wanted(context):
    return None

def broken(context):
    raise OSError("the team's server is down")

def leaving(context):
    raise SystemExit(1)

def nothing(context):
    return object()

def nameless(context):
    return Nameless()
"""


class Installed:
    """Puts a package with one entry point where Python finds it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.delitem(sys.modules, "team_reporter", raising=False)
        (folder / "team_reporter.py").write_text(TEAM)

    def __call__(self, name: str, value: str, package: str = "team-reporter") -> None:
        info = self._folder / f"{package.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = {value}\n")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installed:
    return Installed(tmp_path, monkeypatch)


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., tuple[list[Reporter], list[tuple[str, str]]]]:
    """Opens the reporters of a run; gives them and their warnings."""

    def open_all(config: Config | None = None, **environ: str) -> tuple[list[Reporter], list[tuple[str, str]]]:
        warnings: list[tuple[str, str]] = []
        context = ReporterContext(
            config=config or quiet(Config()),
            folder=RunFolder(tmp_path / "runs" / "r1"),
            reports=ReportCache(RunContext(branch="main")),
            environ={"TEAM_URL": "https://team.example", **environ},
            warn=lambda source, text: warnings.append((source, text)),
            stdout=io.StringIO(),
            stderr=io.StringIO(),
        )
        reporters = open_reporters(context)
        for reporter in reporters:
            reporter.close()
        return reporters, warnings

    return open_all


def quiet(config: Config) -> Config:
    return replace(config, progress=replace(config.progress, mode=type(config.progress.mode)("none")))


Opened = Callable[..., tuple[list[Reporter], list[tuple[str, str]]]]


def names(reporters: list[Reporter]) -> list[str]:
    return [reporter.name for reporter in reporters]


def test_a_run_that_configures_nothing_has_metrics_and_a_terminal(opened: Opened) -> None:
    reporters, warnings = opened()
    assert names(reporters) == ["metrics", "terminal"]
    assert warnings == []


def test_a_reporter_of_another_package_comes_first_and_knows_the_run(installed: Installed, opened: Opened) -> None:
    installed("team", "team_reporter:open_reporter")
    reporters, warnings = opened()
    assert names(reporters) == ["team", "metrics", "terminal"]
    assert warnings == []
    assert import_module("team_reporter").opened == [("r1", "main", "https://team.example")]
    assert delivering(reporters) == ["team", "metrics"], "what it cannot deliver belongs into the summary"


def test_the_example_of_the_documentation_is_one(installed: Installed, opened: Opened) -> None:
    (example,) = re.findall(r"```python\n(# team_reporter.py\n.*?)```", DOCUMENTATION.read_text("utf-8"), re.DOTALL)
    installed("team", "team_reporter:open_reporter")
    (Path(sys.path[0]) / "team_reporter.py").write_text(example)
    reporters, warnings = opened()
    assert (names(reporters), warnings) == (["metrics", "terminal"], [])
    reporters, warnings = opened(TEAM_BOARD_URL="https://board.example")
    assert (names(reporters), warnings) == (["team", "metrics", "terminal"], [])


def test_one_that_is_not_wanted_is_not_there(installed: Installed, opened: Opened) -> None:
    installed("team", "team_reporter:not_wanted")
    reporters, warnings = opened()
    assert (names(reporters), warnings) == (["metrics", "terminal"], [])


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("team", "no_such_module:open_reporter", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("team", "team_reporter:no_such_name", "AttributeError: "),
        ("team", "team_reporter:broken", "OSError: the team's server is down"),
        ("team", "team_reporter:leaving", "SystemExit: 1"),
        ("team", "team_reporter:nothing", "TypeError: object is no Reporter: it needs name, handle, tick"),
        ("team", "team_reporter:opened", "TypeError: "),
        ("team", "team_reporter:nameless", "ValueError: its name must be team"),
        ("other", "team_reporter:open_reporter", "ValueError: its name must be other"),
        ("slack", "team_reporter:open_reporter", "ValueError: the name slack is taken"),
    ],
)
def test_one_that_fails_is_a_warning_and_the_run_has_the_others(
    installed: Installed, opened: Opened, name: str, value: str, why: str
) -> None:
    installed(name, value)
    reporters, [(source, text)] = opened()
    assert names(reporters) == ["metrics", "terminal"]
    assert source == name
    assert text.startswith(f"the reporter {value} was not opened, the run goes on without it: {why}")


def test_several_packages_each_have_theirs(installed: Installed, opened: Opened) -> None:
    installed("team", "team_reporter:broken")
    installed("another", "team_reporter:not_wanted", package="another-reporter")
    reporters, warnings = opened()
    assert names(reporters) == ["metrics", "terminal"]
    assert [source for source, _ in warnings] == ["team"]


def test_one_of_ours_that_cannot_do_what_was_configured_ends_the_run_before_it_begins(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.context", None)
    monkeypatch.delitem(sys.modules, "ci_dispatch.reporters.metrics.otel", raising=False)
    config = quiet(Config())
    with pytest.raises(UsageError, match="spans cannot be sent"):
        opened(replace(config, metrics=replace(config.metrics, otlp_endpoint="http://collector")))


def test_the_installed_package_declares_what_a_checkout_knows() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    assert declared[GROUP] == BUILT_IN


def test_the_base_is_a_reporter() -> None:
    assert isinstance(BaseReporter(), Reporter)
