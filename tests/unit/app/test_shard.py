"""Where a worker keeps its job's files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ci_dispatch.app import shard


def test_files_of_a_job_lie_in_the_runner_s_folder_unless_that_is_another_user_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job in a container is root, and RUNNER_TEMP is its host's: nothing is run from a folder of somebody else."""
    environ = {"RUNNER_TEMP": str(tmp_path)}
    assert shard._temporary(environ, tmp_path / "output") == tmp_path
    assert shard._temporary({}, tmp_path / "output") == tmp_path / "output"
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert shard._temporary(environ, tmp_path / "output").name == "ci-dispatch-12345"
