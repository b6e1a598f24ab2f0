"""The command line as users start it: a process of its own, with an environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


def environment(**more: str) -> dict[str, str]:
    """Nothing of whoever runs the tests, and every warning of Python an error."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return {**kept, "COLUMNS": "100", "PYTHONWARNINGS": "error", "PYTHONPATH": str(Path(__file__).parents[2]), **more}


def ci_dispatch(*arguments: str, cwd: Path, environ: Mapping[str, str] | None = None, stdin: str = "") -> Ended:
    """Run a command line to its end."""
    done = subprocess.run(
        [sys.executable, "-m", "ci_dispatch", *arguments],
        cwd=cwd,
        env=environment(**(environ or {})),
        input=stdin.encode(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())
