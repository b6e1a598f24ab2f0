"""Machines are asked how they are only where there is something to log in with; where there is not, the run says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from ci_dispatch.app.reachable import with_possible_checks
from ci_dispatch.app.settings import Settings, read_settings

MACHINES = '[[machine]]\nname = "moruk"\n'
HOSTED = {"GITHUB_ACTIONS": "true", "RUNNER_ENVIRONMENT": "github-hosted"}


def asked(home: Path, text: str = MACHINES, **environ: str) -> bool:
    return not with_possible_checks(settings(home, text, environ)).config.health.skip


def settings(home: Path, text: str, environ: dict[str, str]) -> Settings:
    (home / "ci-dispatch.toml").write_text(text)
    return read_settings(home / "ci-dispatch.toml", {}, {"HOME": str(home), **HOSTED, **environ}, home)


def test_a_fresh_runner_asks_nobody_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not asked(tmp_path)
    said = capsys.readouterr().err
    assert "neither a key nor an SSH configuration" in said
    assert "::notice title=No health checks::" in said


@pytest.mark.parametrize(
    "environ", [{"CI_DISPATCH_SSH_CONFIG": "/x"}, {"SSH_AUTH_SOCK": "/x"}, {"GITHUB_ACTIONS": "false"}]
)
def test_whatever_may_log_in_is_tried(tmp_path: Path, environ: dict[str, str]) -> None:
    assert asked(tmp_path, **environ)


@pytest.mark.parametrize("name", ["config", "id_ed25519"])
def test_a_runner_with_an_ssh_folder_of_its_own(tmp_path: Path, name: str) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / name).write_text("")
    assert asked(tmp_path)


def test_a_machine_with_a_key_or_without_ssh_is_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(tmp_path, f'{MACHINES}key = "deploy_key"\n')
    assert asked(tmp_path, '[[machine]]\nname = "here"\nconnection = "local"\n')
    assert capsys.readouterr().err == ""
