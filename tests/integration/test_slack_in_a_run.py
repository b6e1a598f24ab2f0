"""`ci-dispatch run` as a process, telling a Slack over HTTP: the verdict, the summary, the exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.slack_double import Refuse, SlackDouble

ROOT = Path(__file__).parents[2]
SUITE = "def test_one():\n    pass\n\n\ndef test_two():\n    assert {}\n"


def run(project: Path, slack: SlackDouble, *, passes: bool, required: bool = False) -> subprocess.CompletedProcess[str]:
    (project / ".git").mkdir(exist_ok=True)
    (project / "pytest.ini").write_text("[pytest]\n")
    (project / "test_shop.py").write_text(SUITE.format(passes))
    (project / "ci-dispatch.toml").write_text(
        f'[retry]\nmax_retries = 0\n[slack]\nrequired = {str(required).lower()}\n[[slack.channel]]\nid = "C0CI"\n'
    )
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environ = {"PATH": path, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "SLACK_BOT_TOKEN": "xoxb-good"}
    environ |= {"CI_DISPATCH_SLACK_API_URL": slack.api_url}
    return subprocess.run(
        [sys.executable, "-m", "ci_dispatch", "run"], cwd=project, env={**environ, "HOME": str(project)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def summary(project: Path) -> str:
    (found,) = project.glob(".ci-dispatch/runs/*/summary.md")
    return found.read_text(encoding="utf-8")


def test_a_run_is_told(tmp_path: Path) -> None:
    with SlackDouble() as slack:
        ended = run(tmp_path, slack, passes=False)
    assert ended.returncode == 1, ended.stderr
    (message,) = slack.workspace.parents()
    assert message.header == "🔴 Broken: 1 of 2 tests failed"
    assert message.edits
    assert [reply.text.split(":")[0] for reply in slack.workspace.thread(message)] == ["product"]
    assert (tmp_path / ".ci-dispatch" / "history.db").exists()
    assert "slack" not in summary(tmp_path)


@pytest.mark.parametrize(("required", "code"), [(False, 0), (True, 2)])
def test_what_could_not_be_told_stands_in_the_summary(tmp_path: Path, required: bool, code: int) -> None:
    with SlackDouble() as slack:
        slack.always = Refuse("not_in_channel")
        ended = run(tmp_path, slack, passes=True, required=required)
    assert ended.returncode == code, ended.stderr
    assert "ci-dispatch: PASSED 2 tests" in ended.stdout.splitlines()[-1]
    assert "not_in_channel: invite the app to it" in summary(tmp_path)
    assert "xoxb" not in ended.stdout + ended.stderr + summary(tmp_path)
