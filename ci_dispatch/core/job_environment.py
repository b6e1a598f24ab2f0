"""What a test runner gets of the environment ci-dispatch runs in: its listing here, and its jobs on every machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

HIDDEN: Mapping[str, str] = {
    "GITHUB_TOKEN": "changes the repository",
    "GH_TOKEN": "the same for gh",
    "GITHUB_ENTERPRISE_TOKEN": "the same elsewhere",
    "GH_ENTERPRISE_TOKEN": "the same elsewhere",
    "CI_RUNNERS_TOKEN": "administers self-hosted runners",
    "ACTIONS_*": "tokens of a GitHub job: its identity, caches, artifacts",
    "INPUT_*": "what an action was given, tokens among it",
    "GITHUB_ENV": "sets variables of the job's later steps",
    "GITHUB_PATH": "puts programs into their path",
    "GITHUB_OUTPUT": "forges the outputs that they and other jobs obey",
    "GITHUB_STATE": "the same for an action's own later steps",
    "GITHUB_STEP_SUMMARY": "forges the summary of the run",
    "SLACK_BOT_TOKEN": "speaks and reads in Slack",
    "SLACK_TOKEN": "the same",
    "SLACK_WEBHOOK_URL": "speaks in Slack",
    "SLACK_WEBHOOK": "the same",
    "OTEL_EXPORTER_OTLP*HEADERS": "the key of the place that spans are sent to",
    "CI_DISPATCH_*TOKEN*": "opens the dashboard",
    "SSH_AUTH_SOCK": "logs in, with the agent's keys, wherever they open",
    "SSH_AGENT_PID": "belongs to it",
}
"""Names of variables, `*` for anything, that no test runner gets, and what each of them does: tests are foreign code.

`env` and `secrets` of the section [suite] give a runner what it is to have of them after all.
"""


def is_hidden(name: str, hidden: Iterable[str] = HIDDEN) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in hidden)


def without_hidden(environ: Mapping[str, str], hidden: Iterable[str] = HIDDEN) -> dict[str, str]:
    """The environment without the variables whose names match one of the patterns."""
    patterns = tuple(hidden)
    return {name: value for name, value in environ.items() if not is_hidden(name, patterns)}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEnvironment:
    """What the jobs of a run do not get of the environments they start in, and what they get on top.

    The values of `secrets` are sent over the connection alone, and hidden in whatever comes back.
    """

    hidden: tuple[str, ...] = tuple(HIDDEN)  # patterns of names
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
