"""The one place where errors become messages and exit codes."""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path

import click
import pytest

from ci_dispatch.cli.errors import guarded
from ci_dispatch.core.errors import (
    CiDispatchError,
    FleetError,
    GitHubRefused,
    NothingToRun,
    UnreadableReport,
    UsageError,
)


def failing(error: BaseException) -> click.Command:
    @click.command()
    def command() -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("x"), 2), (NothingToRun("x"), 3), (FleetError("x"), 4), (GitHubRefused("x"), 5),
        (UnreadableReport("x"), 6), (CiDispatchError("x"), 70), (click.UsageError("x"), 2), (click.FileError("x"), 2),
        (KeyboardInterrupt(), 130), (SystemExit(3), 3), (SystemExit("text"), 70), (RuntimeError("x"), 70),
        (MemoryError(), 70), (RecursionError(), 70), (OSError(errno.ENOSPC, "No space left on device", "f"), 4),
        (BaseExceptionGroup("x", [KeyboardInterrupt()]), 70),
    ],
)  # fmt: skip
def test_exit_codes(error: BaseException, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert guarded(failing(error), [], {}) == code


def test_a_command_ends_with_the_code_it_returns() -> None:
    @click.command()
    def command() -> int:
        return 4

    assert guarded(command, [], {}) == 4


def test_what_why_and_what_to_try(capsys: pytest.CaptureFixture[str]) -> None:
    guarded(
        failing(FleetError("No machine is healthy", why="4 of 4 cannot be reached", hint="ci-dispatch health")), [], {}
    )
    assert capsys.readouterr() == (
        "", "error: No machine is healthy: 4 of 4 cannot be reached\n  try: ci-dispatch health\n",
    )  # fmt: skip


def test_our_own_failure_leaves_a_file_to_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert guarded(failing(ZeroDivisionError("oops")), [], {}) == 70
    (log,) = tmp_path.iterdir()
    err = capsys.readouterr().err
    assert "ZeroDivisionError: oops" in err
    assert str(log) in err
    assert "Traceback" not in err
    assert "Traceback" in log.read_text()


def test_without_room_for_that_file_the_message_still_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    assert guarded(failing(ZeroDivisionError("oops")), [], {}) == 70
    assert "CI_DISPATCH_DEBUG=1" in capsys.readouterr().err


def test_a_traceback_for_those_who_ask(capsys: pytest.CaptureFixture[str]) -> None:
    guarded(failing(UsageError("x")), [], {"CI_DISPATCH_DEBUG": "1"})
    assert "Traceback" in capsys.readouterr().err


def test_a_missing_extra_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    error = ModuleNotFoundError("No module named 'starlette'", name="starlette.routing")
    assert guarded(failing(error), [], {}) == 2
    assert "pip install 'ci-dispatch[dashboard]'" in capsys.readouterr().err


def test_foreign_lines_are_no_commands_to_github(capsys: pytest.CaptureFixture[str]) -> None:
    guarded(failing(UsageError("The suite cannot be loaded", why="it said\n::set-env name=X::y\n\x1b[2Jz")), [], {})
    lines = capsys.readouterr().err.split("\n")
    assert not [line for line in lines if line.strip().startswith("::")]
    assert "\x1b" not in "".join(lines)
