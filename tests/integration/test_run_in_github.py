"""A direct run inside a GitHub job tells the job what it came to; elsewhere it writes nothing of the kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.whole_run import ci_dispatch, sleepers


@pytest.mark.parametrize("inside", [True, False])
def test_outputs_and_summary_are_written_inside_a_job_only(tmp_path: Path, inside: bool) -> None:
    tree = sleepers(tmp_path / "tree", 3)
    outputs, summary = tmp_path / "outputs", tmp_path / "summary"
    for file in (outputs, summary):
        file.touch()
    environ = {
        "GITHUB_OUTPUT": str(outputs),
        "GITHUB_STEP_SUMMARY": str(summary),
        "GITHUB_ACTIONS": str(inside).lower(),
    }
    whole = ci_dispatch("run", cwd=tree, environ=environ)
    assert whole.code == 0, whole.err
    assert ("verdict<<" in outputs.read_text()) is inside
    assert summary.read_text().startswith("## ✅") is inside
