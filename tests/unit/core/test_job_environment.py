"""What no test runner gets of our environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from ci_dispatch.core.job_environment import HIDDEN, JobEnvironment, is_hidden, without_hidden


@pytest.mark.parametrize(
    "name",
    [
        "GITHUB_TOKEN", "GH_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "ACTIONS_RUNTIME_TOKEN", "INPUT_TOKEN",
        "GITHUB_ENV", "GITHUB_OUTPUT", "GITHUB_PATH", "GITHUB_STATE", "GITHUB_STEP_SUMMARY", "SLACK_BOT_TOKEN",
        "SLACK_WEBHOOK_URL", "CI_RUNNERS_TOKEN", "CI_DISPATCH_DASHBOARD_TOKEN", "SSH_AUTH_SOCK",
        "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    ],
)  # fmt: skip
def test_tokens_and_what_steers_later_steps_are_hidden(name: str) -> None:
    assert is_hidden(name)


@pytest.mark.parametrize(
    "name", ["PATH", "HOME", "CI", "GITHUB_ACTIONS", "GITHUB_SHA", "CI_DISPATCH_PYTHON", "CI_DISPATCH_JOB", "API_TOKEN"]
)
def test_what_tests_may_need_is_not(name: str) -> None:
    assert not is_hidden(name)


def test_the_documentation_has_each_with_its_reason() -> None:
    text = (Path(__file__).parents[3] / "docs" / "suites.md").read_text(encoding="utf-8")
    table = text.partition("| hidden | because it |\n|---|---|\n")[2].partition("\n\n")[0]
    assert table.splitlines() == [f"| `{name}` | {reason} |" for name, reason in HIDDEN.items()]


def test_the_rest_stays() -> None:
    environ = {"PATH": "/bin", "GITHUB_TOKEN": "t", "MY_GH": "t"}
    assert without_hidden(environ, (*HIDDEN, "MY_GH")) == {"PATH": "/bin"}


def test_a_secret_is_not_in_its_representation() -> None:
    assert "hush" not in repr(JobEnvironment(secrets={"KEY": "hush"}))
