"""A repository made by `ci-dispatch github init`: from nothing, over its first push, to a verdict. Executed by act."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.components import ROOT
from tests.integration.cli_process import ci_dispatch
from tests.one_run.stage import MACHINES, Stage

TOOLS = ROOT / ".tools" / "action-environment"  # as tests/integration/test_one_run_act.py: kept as on a machine


@pytest.mark.needs("act")
@pytest.mark.timeout(600)
def test_from_nothing_over_the_first_push_to_a_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No secret, no SSH configuration, nothing on GitHub yet; what init wrote is pushed as it is."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")  # it has pytest
    stage = Stage(tmp_path, TOOLS, owner="acme")
    for left in ("ci-dispatch.toml", "run.py"):
        (stage.origin / left).unlink()
    stage.file("pytest.ini", "[pytest]\n")
    stage.file("test_shop.py", "def test_buys():\n    pass\n\n\ndef test_pays():\n    pass\n")
    machines = [word for name in MACHINES for word in ("--machine", f"{name}:1={name}")]
    made = ci_dispatch("github", "init", "--action", "acme", "--prepare", "true", *machines, cwd=stage.origin)
    assert made.code == 0, made.err
    stage.git("add", "-A")
    checked = ci_dispatch("github", "check", cwd=stage.origin)
    assert checked.code == 0, checked.out

    stage.git("-c", "user.name=test", "-c", "user.email=test@example.org", "commit", "-q", "-m", "first")
    jobs = stage.run("push")
    verdict = jobs["Verdict"]
    assert verdict.conclusion == "success", verdict.log
    told = verdict.outputs
    assert (told["verdict"], told["tests"], told["passed"], told["not-run"]) == ("passed", "2", "2", "0")
    assert "neither a key nor an SSH configuration" in jobs["Plan"].log
