"""Asks a test runner on this machine which tests it has: the folder, the call, its deadline, and errors that teach."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ci_dispatch.core.errors import UsageError

KILL_GRACE = 5.0  # seconds after KILL for the operating system


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    exit_code: int
    output: str
    errors: str
    live: bytes  # what the runner's reporter wrote


def folder(root: Path, workdir: str) -> Path:
    """The suite's folder. Raises UsageError when there is none."""
    path = root / workdir
    if not path.is_dir():
        raise UsageError(
            "The tests cannot be listed",
            why=f"the suite's folder {workdir} does not exist in {root}",
            hint="correct `workdir` in the section [suite] of ci-dispatch.toml",
        )
    return path


def ask(argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], deadline: float) -> Answer:
    """Run `argv` to its end, `deadline` seconds at most, with CI_DISPATCH_LIVE naming a fresh file.

    Raises UsageError when the program does not exist or does not end in time; then nothing of it is left running.
    """
    with tempfile.TemporaryDirectory(prefix="ci-dispatch-list-") as scratch:
        live = Path(scratch) / "live.jsonl"
        process = _start(argv, cwd=cwd, env={**os.environ, **env, "CI_DISPATCH_LIVE": str(live)})
        try:
            output, errors = process.communicate(timeout=deadline)
        except subprocess.TimeoutExpired as error:
            raise UsageError(
                "The tests cannot be listed",
                why=f"`{' '.join(argv[:3])} ...` did not end within {deadline:g} s",
                hint="run it by hand and see what it waits for, or raise `list_timeout` in the section [suite]",
            ) from error
        finally:
            _end(process)
        return Answer(
            exit_code=process.returncode,
            output=output.decode("utf-8", "replace"),
            errors=errors.decode("utf-8", "replace"),
            live=live.read_bytes() if live.exists() else b"",
        )


def _start(argv: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            argv,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise UsageError(
            "The tests cannot be listed",
            why=f"{argv[0]} cannot be started: {error.strerror}",
            hint=f"install {argv[0]} on this machine, or put it on the PATH",
        ) from error


def _end(process: subprocess.Popen[bytes]) -> None:
    """Nothing of it stays behind, not even children that outlive their parent."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=KILL_GRACE)
