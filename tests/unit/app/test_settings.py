"""The configuration of a command is found, read, and says what it is relative to."""

from __future__ import annotations

from pathlib import Path

import pytest

from ci_dispatch.app.settings import find, read_settings


def test_the_file_is_found_from_below(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "ci-dispatch.toml").touch()
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert find(below) == (tmp_path / "ci-dispatch.toml", tmp_path)


def test_the_nearest_counts(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    below = tmp_path / "a"
    below.mkdir()
    for folder in (tmp_path, below):
        (folder / "ci-dispatch.toml").touch()
    assert find(below) == (below / "ci-dispatch.toml", below)


def test_nothing_above_the_repository_counts(tmp_path: Path) -> None:
    (tmp_path / "ci-dispatch.toml").touch()
    repository = tmp_path / "a"
    (repository / ".git").mkdir(parents=True)
    (repository / "b").mkdir()
    assert find(repository / "b") == (None, repository)


def test_outside_a_repository_only_this_folder_counts(tmp_path: Path) -> None:
    (tmp_path / "ci-dispatch.toml").touch()
    below = tmp_path / "a"
    below.mkdir()
    assert find(below) == (None, below)
    assert find(tmp_path)[0] == tmp_path / "ci-dispatch.toml"


def test_a_named_file_makes_its_folder_the_root(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "my.toml").write_text("[retry]\nmax_retries = 7\n")
    by_option = read_settings(elsewhere / "my.toml", {}, {}, tmp_path)
    by_variable = read_settings(None, {}, {"CI_DISPATCH_CONFIG": str(elsewhere / "my.toml")}, tmp_path)
    for settings in (by_option, by_variable):
        assert (settings.root, settings.config.retry.max_retries) == (elsewhere, 7)
    assert str(by_option.origins["retry.max_retries"]) == "elsewhere/my.toml:2"


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "ci-dispatch.toml").write_bytes(b"\xef\xbb\xbf[retry]\nmax_retries = 7\n")
    assert read_settings(None, {}, {}, tmp_path).config.retry.max_retries == 7


@pytest.mark.parametrize(
    ("color", "expected"),
    [(True, {"FORCE_COLOR": "1"}), (False, {"NO_COLOR": "1"}), (None, {"NO_COLOR": "1", "FORCE_COLOR": "0"})],
)
def test_an_option_for_colour_beats_the_variables(color: bool | None, expected: dict[str, str], tmp_path: Path) -> None:
    settings = read_settings(None, {}, {"NO_COLOR": "1", "FORCE_COLOR": "0"}, tmp_path, color=color)
    assert dict(settings.environ) == expected


def test_warnings_come_with_the_settings(tmp_path: Path) -> None:
    (tmp_path / "ci-dispatch.toml").write_text("[retry]\nmax_moves = 7\n")
    settings = read_settings(None, {}, {"CI_DISPATCH_MAXRETRIES": "1"}, tmp_path)
    assert settings.config.retry.max_reassignments == 7
    assert [warning.split()[-1] for warning in settings.warnings] == ["works", "CI_DISPATCH_MAX_RETRIES?"]
