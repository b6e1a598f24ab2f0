"""What both sides of a comparison need: an installed ci-dispatch, a program to run, and the verdicts of a report."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

from tests.components import ROOT

WORST_FIRST = ("failed", "skipped", "passed")


def run(
    *argv: str | Path, cwd: Path, env: Mapping[str, str] | None = None, seconds: float = 500
) -> subprocess.CompletedProcess[str]:
    """The program's end and all it printed. Raises subprocess.TimeoutExpired after `seconds`."""
    return subprocess.run(
        [str(word) for word in argv], cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=seconds
    )


def verdicts(report: Path) -> dict[tuple[str, str], str]:
    """What a JUnit report says of each test, by the names that its runner gave it; of several cases the worst."""
    found: dict[tuple[str, str], str] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        tags = {child.tag for child in case}
        verdict = "failed" if tags & {"failure", "error"} else "skipped" if "skipped" in tags else "passed"
        key = (case.get("classname", ""), case.get("name", ""))
        found[key] = min(found.get(key, verdict), verdict, key=WORST_FIRST.index)
    return found


def installed(folder: Path) -> Path:
    """The command, out of a wheel of this checkout, in an environment of its own."""
    made = run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder / "wheel", ROOT, cwd=folder)
    assert made.returncode == 0, made.stderr
    [wheel] = (folder / "wheel").glob("*.whl")
    assert run(sys.executable, "-m", "venv", folder / "env", cwd=folder).returncode == 0
    done = run(folder / "env/bin/python", "-m", "pip", "install", "-q", wheel, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "env/bin/ci-dispatch"
