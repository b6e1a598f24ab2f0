"""The options of a command are those of its settings, under today's names and former ones."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from ci_dispatch.app.settings import Settings
from ci_dispatch.cli import options
from ci_dispatch.config.setting import Setting
from ci_dispatch.config.value_types import boolean, integer


def renamed(name: str, value_type: object, section: str = "retry") -> Setting:
    return Setting(
        section=section, name=name, value_type=value_type, default=2, meaning="It counts.",  # type: ignore[arg-type]
        flag=f"--{name.replace('_', '-')}", formerly="--old-name",
    )  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command_with(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> click.Command:
    monkeypatch.setattr(options, "SETTINGS", (setting,))
    monkeypatch.setattr("ci_dispatch.config.reading.SETTINGS", (setting,))

    @click.command()
    @options.configured(setting.path)
    def shown(settings: Settings) -> None:
        click.echo(getattr(getattr(settings.config, setting.section), setting.name))

    return shown


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("setting", "arguments", "value", "old"),
    [
        (renamed("max_retries", integer(0, 9)), ["--max-retries", "7"], "7", ""),
        (renamed("max_retries", integer(0, 9)), ["--old-name", "7"], "7", "--old-name"),
        (renamed("max_retries", integer(0, 9)), ["--old-name", "7", "--max-retries", "3"], "3", "--old-name"),
        (renamed("skip", boolean(), "health"), ["--old-name"], "True", "--old-name"),
        (renamed("skip", boolean(), "health"), ["--no-old-name"], "False", "--old-name"),
    ],
)
def test_a_former_flag_still_works_and_is_warned_of(
    setting: Setting, arguments: list[str], value: str, old: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = CliRunner().invoke(
        command_with(setting, monkeypatch), arguments, obj={"config_file": None, "color": None}, catch_exceptions=False
    )
    assert (done.exit_code, done.stdout) == (0, f"{value}\n")
    assert done.stderr.startswith(f"warning: The option {old} is now called {setting.flag}" if old else "")
    assert bool(done.stderr) == bool(old)


@pytest.mark.usefixtures("here")
def test_the_help_has_only_the_name_of_today(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = CliRunner().invoke(command_with(renamed("max_retries", integer(0, 9)), monkeypatch), ["--help"]).stdout
    assert "--max-retries" in shown
    assert "--old-name" not in shown
