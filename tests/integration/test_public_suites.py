"""Suites that others wrote, as the package index has them, run by a ci-dispatch that is installed as people do it."""

from __future__ import annotations

import os
import sys
import tarfile
from pathlib import Path

import pytest

from tests.components import PUBLIC
from tests.public_suites.comparison import installed, run, verdicts

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.needs("public suites"), pytest.mark.timeout(600)]


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
        alone = {**env, "TMPDIR": str(tmp_path)}
        plain = run(sys.executable, "-m", "pytest", "-q", f"--junitxml={tmp_path}/plain.xml", cwd=suite, env=alone)
        ours = run(ci_dispatch, "run", "--progress", "none", cwd=suite, env=env)
        assert (plain.returncode, ours.returncode) == (0, 0), (archive.name, plain.stdout, ours.stdout, ours.stderr)
        [folder] = (suite / ".ci-dispatch" / "runs").iterdir()
        expected = verdicts(tmp_path / "plain.xml")
        assert len(expected) > 150, archive.name
        assert verdicts(folder / "merged.xml") == expected, archive.name
