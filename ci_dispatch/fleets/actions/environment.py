"""A job's environment in GitHub Actions: its variables and event; its outputs, step summary, annotations and safe log.

https://docs.github.com/actions/reference/workflows-and-actions/variables and .../workflow-commands. Outside GitHub
Actions nothing is written but the log.
"""

from __future__ import annotations

import json
import re
import secrets
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TextIO

from report_merge.render import escape

DEPENDABOT = "dependabot[bot]"


@dataclass(frozen=True, slots=True)
class ActionsEnvironment:
    """The environment of one step."""

    environ: Mapping[str, str]

    @property
    def on_github(self) -> bool:
        return self.environ.get("GITHUB_ACTIONS") == "true"

    @property
    def repository(self) -> str:
        return self.environ.get("GITHUB_REPOSITORY", "")

    @property
    def api_url(self) -> str:
        return self.environ.get("GITHUB_API_URL", "")

    @property
    def attempt(self) -> int:
        number = self.environ.get("GITHUB_RUN_ATTEMPT", "1")
        return int(number) if number.isdecimal() and int(number) else 1

    @property
    def run(self) -> int | None:
        number = self.environ.get("GITHUB_RUN_ID", "")
        return int(number) if number.isdecimal() else None

    @property
    def ref(self) -> str:
        """The branch or tag a worker workflow can be dispatched on; for a pull request its head branch."""
        return self.environ.get("GITHUB_HEAD_REF") or self.environ.get("GITHUB_REF_NAME", "")

    @property
    def default_branch(self) -> str:
        """As the event names it; a schedule's is where it runs; empty: nobody says."""
        repository = self.event().get("repository")
        name = repository.get("default_branch") if isinstance(repository, dict) else None
        scheduled = self.environ.get("GITHUB_EVENT_NAME") == "schedule"
        return str(name) if name else self.ref if scheduled else ""

    @property
    def commit(self) -> str:
        """The commit that started the workflow; for a pull request its merge with the base branch."""
        return self.environ.get("GITHUB_SHA", "")

    def event(self) -> Mapping[str, Any]:
        """The event that started the workflow; empty when it cannot be read."""
        try:
            event = json.loads(Path(self.environ.get("GITHUB_EVENT_PATH", "")).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return event if isinstance(event, dict) else {}

    def fork(self) -> str:
        """The repository a pull request comes from when it is not ours; else empty."""
        if not self.environ.get("GITHUB_EVENT_NAME", "").startswith("pull_request"):
            return ""
        pull = self.event().get("pull_request")
        head = pull.get("head") if isinstance(pull, dict) else None
        repo = head.get("repo") if isinstance(head, dict) else None
        name = str(repo.get("full_name", "")) if isinstance(repo, dict) else "a repository that is gone"
        return "" if name == self.repository else name

    def dependabot(self) -> bool:
        """Whether Dependabot wrote the pull request, or pushed: from this repository, and yet nobody here read it."""
        pull = self.event().get("pull_request")
        user = pull.get("user") if isinstance(pull, dict) else None
        author = user.get("login") if isinstance(user, dict) else None
        return DEPENDABOT in (author, self.environ.get("GITHUB_ACTOR"))

    def pull_request(self) -> int | None:
        """The number of the pull request this is about, when it comes from this repository; else None."""
        if not self.environ.get("GITHUB_EVENT_NAME", "").startswith("pull_request") or self.fork():
            return None
        pull = self.event().get("pull_request")
        number = pull.get("number") if isinstance(pull, dict) else None
        if isinstance(number, int):
            return number
        found = re.fullmatch(r"refs/pull/(\d+)/\w+", self.environ.get("GITHUB_REF", ""))
        return int(found[1]) if found else None

    # -- what a job writes ------------------------------------------------------------------------------------------

    @property
    def takes_outputs(self) -> bool:
        return bool(self.environ.get("GITHUB_OUTPUT"))

    def set_outputs(self, outputs: Mapping[str, str]) -> None:
        """Outputs of the step; values may be anything, several lines included."""
        entries = (
            escape.github_output(name, value, f"ghadelimiter_{secrets.token_hex(16)}")
            for name, value in outputs.items()
        )
        self._append("GITHUB_OUTPUT", "".join(entries))

    def summary_used(self) -> int:
        """Bytes that are in the step's summary already: they count against its limit."""
        path = self.environ.get("GITHUB_STEP_SUMMARY", "")
        return Path(path).stat().st_size if path and Path(path).is_file() else 0

    def add_summary(self, text: str) -> None:
        """Add to the step's summary; `text` must keep within its limit (`job_summary`)."""
        self._append("GITHUB_STEP_SUMMARY", text + "\n")

    def annotate(self, commands: Iterable[str], stream: TextIO | None = None) -> None:
        """Print annotations (`annotations_of`); nothing outside GitHub Actions, where they would only be noise."""
        if self.on_github:
            print(*commands, sep="\n", end="\n", file=stream or sys.stderr, flush=True)

    def _append(self, variable: str, text: str) -> None:
        if path := self.environ.get(variable, ""):
            with Path(path).open("a", encoding="utf-8") as file:
                file.write(text)


class StoppedCommands:
    """Foreign output in a job's log, between `::stop-commands::` lines: the runner takes no command from it.

    https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands#stopping-and-starting-workflow-commands
    """

    def __init__(self, stream: TextIO, *, on_github: bool) -> None:
        self._stream, self._token = stream, secrets.token_hex(16) if on_github else ""

    def __enter__(self) -> Self:
        self._line("::stop-commands::{}")
        return self

    def write(self, text: str) -> None:
        self._stream.write(text.replace(f"::{self._token}::", "") if self._token else text)
        self._stream.flush()

    def __exit__(self, *_: object) -> None:
        self._line("\n::{}::")

    def _line(self, form: str) -> None:
        if self._token:
            self._stream.write(form.format(self._token) + "\n")
            self._stream.flush()
