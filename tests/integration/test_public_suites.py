"""Suites that others wrote, as the package index has them, run by a ci-dispatch that is installed as people do it."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.components import PUBLIC, ROOT

pytestmark = [pytest.mark.slow, pytest.mark.needs("public suites"), pytest.mark.timeout(600)]
WORST_FIRST = ("failed", "skipped", "passed")


def run(*argv: str | Path, cwd: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in argv], cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=500
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


def test_public_pytest_suites_give_what_pytest_alone_gives(tmp_path: Path) -> None:
    """Without a word of configuration: totals, names and verdicts, parametrised tests and subtests included."""
    ci_dispatch = installed(tmp_path)
    archives = sorted(PUBLIC.glob("*.tar.gz"))
    for archive in archives:
        with tarfile.open(archive) as tar:
            tar.extractall(tmp_path, filter="data")
        suite = tmp_path / archive.name.removesuffix(".tar.gz")
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        env = {**os.environ, "PATH": path, "PYTHONPATH": f"{suite}:{suite / 'src'}", "HOME": str(tmp_path)}
        plain = run(sys.executable, "-m", "pytest", "-q", f"--junitxml={tmp_path}/plain.xml", cwd=suite, env=env)
        ours = run(ci_dispatch, "run", "--progress", "none", cwd=suite, env=env)
        assert (plain.returncode, ours.returncode) == (0, 0), (archive.name, plain.stdout, ours.stdout, ours.stderr)
        [folder] = (suite / ".ci-dispatch" / "runs").iterdir()
        expected = verdicts(tmp_path / "plain.xml")
        assert len(expected) > 150, archive.name
        assert verdicts(folder / "merged.xml") == expected, archive.name
