"""`ci-dispatch logs`, `explain`, `metrics` and `notify` as processes, over a run folder made from a recording."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.recorded_runs import journal_bytes
from tests.slack_double import Refuse, SlackDouble

ROOT = Path(__file__).parents[2]
RUN = "20270115-080000-a1b2"
OUTPUT = {
    1: b"running \x1b[32mlocal\x1b[0m\r\n::error::not ours\nno end",
    2: b"moruk one\nmoruk two\n",
    5: "moruk again ✓ \xff\n".encode("latin-1", "replace"),
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / ".ci-dispatch" / "runs" / RUN
    (folder / "attempts").mkdir(parents=True)
    (folder / "events.jsonl").write_bytes(journal_bytes("troubled"))
    for lease, output in OUTPUT.items():
        (folder / "attempts" / str(lease)).mkdir()
        (folder / "attempts" / str(lease) / "output.log").write_bytes(output)
    return tmp_path


def environ(**more: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "HOME": "/nonexistent", **more}


def run(project: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ci_dispatch", *arguments], cwd=project, env=environ(**more), capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip


def test_all_output_says_whose_it_is(project: Path) -> None:
    shown = run(project, "logs")
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert lines[:4] == [
        "== attempt 1: head-1 on local, 8 tests, exited with code 1 after 0:09 ==",
        "running local",
        ":\u200b:error::not ours",
        "no end",
    ]
    assert "== attempt 2: head-2 on moruk, 7 tests, exited with code 0 after 0:10 ==" in lines
    assert "\x1b" not in shown.stdout


def test_a_machine_and_a_test_are_explained(project: Path) -> None:
    pi = run(project, "explain", "pi")
    assert pi.returncode == 0, pi.stderr
    assert "gets no more work: every attempt on it fails to start" in pi.stdout
    one = run(project, "explain", "product 8", RUN)
    assert one.returncode == 0, one.stderr
    assert "0:10  not run on ilko2" in one.stdout
    assert "\x1b" not in run(project, "explain", "chromium-[/foo]").stdout


@pytest.mark.parametrize(
    ("what", "says"),
    [("product", ("may be any of", "more of the name")), ("nobody", ("No test of this run is called nobody",))],
)
def test_what_cannot_be_explained_is_said(project: Path, what: str, says: tuple[str, ...]) -> None:
    shown = run(project, "explain", what)
    assert (shown.returncode, shown.stdout) == (2, "")
    assert all(word in shown.stderr for word in says), shown.stderr


def test_one_machine_and_one_test(project: Path) -> None:
    moruk = run(project, "logs", RUN[:8], "--machine", "moruk").stdout
    assert "moruk one" in moruk
    assert "running local" not in moruk
    one = run(project, "logs", "--test", "product 8", "--machine", "moruk").stdout
    assert "moruk again" in one
    assert "moruk one" not in one


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("logs", "--machine", "nobody"),
            "No machine of this run is called nobody\n  try: one of: local, moruk, ilko2, pi",
        ),
        (("logs", "--test", "shop.spec.ts › shop › product 1 can bebought [desktop]"), "did you mean shop.spec.ts"),
        (("logs", "2031"), "There is no run 2031"),
        (("logs", "--machine", "pi", "--test", "product 1"), "no attempt of this run fits"),
        (("metrics", "2031"), "There is no run 2031"),
        (("notify",), "Nothing was sent"),
        (("notify", "--test"), "no channel is configured"),
    ],
)
def test_what_does_not_exist_is_said_with_a_way_out(project: Path, arguments: tuple[str, ...], words: str) -> None:
    refused = run(project, *arguments)
    assert refused.returncode == 2
    assert words in refused.stderr.replace(" — ", "\n  ")
    assert "Traceback" not in refused.stderr


def test_following_shows_what_comes_until_the_run_is_over(project: Path) -> None:
    folder = project / ".ci-dispatch" / "runs" / RUN
    journal = (folder / "events.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "events.jsonl").write_bytes(b"".join(journal[:20]) + journal[20][:30])  # a line that is being written
    (folder / "attempts" / "2" / "output.log").write_bytes(b"moruk one\nhalf a li")
    following = subprocess.Popen(
        [sys.executable, "-m", "ci_dispatch", "logs", "--machine", "moruk", "--follow"], cwd=project, env=environ(),
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert following.stdout is not None
        assert following.stdout.readline().startswith("== attempt 2")
        assert following.stdout.readline() == "moruk one\n"
        with (folder / "attempts" / "2" / "output.log").open("ab") as output:
            output.write(b"ne\n")
        assert following.stdout.readline() == "half a line\n"
        (folder / "events.jsonl").write_bytes(b"".join(journal))
        rest, _ = following.communicate(timeout=30)
    finally:
        following.kill()
        following.wait(timeout=10)
    assert "moruk again" in rest
    assert following.returncode == 0


def test_metrics_as_prometheus_and_as_json(project: Path) -> None:
    prom = run(project, "metrics")
    assert prom.returncode == 0, prom.stderr
    assert {family.name for family in text_string_to_metric_families(prom.stdout)} > {"ci_dispatch_tests"}
    data = json.loads(run(project, "metrics", RUN, "--json").stdout)
    assert (data["v"], data["run"]) == (1, RUN)
    assert {"result": "not_run", "value": 1.0} in data["tests"]


def test_notify_tells_each_channel_and_why_one_was_not_told(project: Path) -> None:
    with SlackDouble() as slack:
        (project / "ci-dispatch.toml").write_text('[[slack.channel]]\nid = "#ci"\n[[slack.channel]]\nid = "C0NONE"\n')
        here = {"CI_DISPATCH_SLACK_API_URL": slack.api_url}
        told = run(project, "notify", "--test", SLACK_BOT_TOKEN="xoxb-good", **here)
        assert told.returncode == 2
        assert told.stdout == "#ci: delivered\n"
        assert told.stderr.startswith("C0NONE: channel_not_found: give the channel's id (C...), and invite the app")
        (message,) = slack.workspace.messages
        assert message.header == "ci-dispatch can post to this channel"
        wrong = run(project, "notify", "--test", SLACK_BOT_TOKEN="xoxb-wrong", **here)
        assert wrong.stderr.count("invalid_auth: the token is not valid") == 2
        assert "xoxb" not in wrong.stderr + wrong.stdout
        half = run(project, "notify", "--test")
        assert "neither SLACK_BOT_TOKEN nor SLACK_WEBHOOK_URL is set" in half.stderr


@pytest.mark.parametrize("url", ["http://hooks.example.com/x", "hooks.slack.com/x"])
def test_a_webhook_that_is_no_https_address_gets_nothing(project: Path, url: str) -> None:
    told = run(project, "notify", "--test", SLACK_WEBHOOK_URL=url)
    assert told.returncode == 2
    assert "SLACK_WEBHOOK_URL holds no address that begins with https://" in told.stderr
    assert url not in told.stderr


def test_notify_through_a_webhook(project: Path) -> None:
    with SlackDouble() as slack:
        told = run(project, "notify", "--test", SLACK_WEBHOOK_URL=slack.webhook_url)
        assert (told.returncode, told.stdout) == (0, "webhook: delivered\n")
        time.sleep(1.0)  # Slack's own pace
        slack.faults.append(Refuse("no_service"))
        gone = run(project, "notify", "--test", SLACK_WEBHOOK_URL=slack.webhook_url)
        assert gone.stderr == "webhook: no_service: the webhook was removed: make a new one\n"
