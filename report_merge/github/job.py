"""Where a run is in GitHub Actions, and what its step tells the others.

https://docs.github.com/actions/reference/workflows-and-actions/variables
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from report_merge.files.atomic import append_text
from report_merge.model import RunContext
from report_merge.render import escape


def run_context(title: str, environ: Mapping[str, str]) -> RunContext:
    """Where we are, as GitHub Actions tells it; empty elsewhere."""
    repository, run_id = environ.get("GITHUB_REPOSITORY", ""), environ.get("GITHUB_RUN_ID", "")
    attempt, sha = environ.get("GITHUB_RUN_ATTEMPT", "1"), environ.get("GITHUB_SHA", "")
    server = environ.get("GITHUB_SERVER_URL", "https://github.com")
    return RunContext(
        title=title or environ.get("GITHUB_WORKFLOW", ""),
        repository=repository,
        branch=environ.get("GITHUB_HEAD_REF") or environ.get("GITHUB_REF_NAME", ""),
        sha=sha,
        run_id=run_id,
        attempt=int(attempt) if attempt.isdigit() else 1,
        url=f"{server}/{repository}/actions/runs/{run_id}" if repository and run_id else "",
        files_url=f"{server}/{repository}/blob/{sha}/" if repository and sha else "",
    )


def pull_request(environ: Mapping[str, str]) -> int | None:
    """The number of the pull request this run is about; None when it is about none."""
    if not environ.get("GITHUB_EVENT_NAME", "").startswith("pull_request"):
        return None
    try:
        event = json.loads(Path(environ.get("GITHUB_EVENT_PATH", "")).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        event = {}
    number = _at(event, "pull_request", "number")
    if isinstance(number, int):
        return number
    found = re.fullmatch(r"refs/pull/(\d+)/\w+", environ.get("GITHUB_REF", ""))
    return int(found[1]) if found else None


def _at(value: Any, *names: str) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def append_outputs(path: Path, outputs: Mapping[str, str]) -> None:
    """Outputs of the step, in the form of the GITHUB_OUTPUT file; values may be anything."""
    delimiter = f"ghadelimiter_{secrets.token_hex(16)}"
    append_text(path, "".join(escape.github_output(name, value, delimiter) for name, value in outputs.items()))
