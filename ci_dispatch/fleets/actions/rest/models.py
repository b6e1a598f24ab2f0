"""What GitHub shows, as frozen values of our own. Words we do not know survive as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    id: int
    status: str  # queued, in_progress, completed, ... or a word of tomorrow
    conclusion: str = ""  # empty while it runs
    attempt: int = 1
    title: str = ""
    url: str = ""  # for people

    @property
    def completed(self) -> bool:
        return self.status == "completed"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepView:
    name: str
    status: str
    conclusion: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    id: int
    name: str
    status: str
    conclusion: str = ""
    attempt: int = 1
    runner: str = ""  # empty while nobody took it
    labels: tuple[str, ...] = ()
    steps: tuple[StepView, ...] = ()
    created: float | None = None
    started: float | None = None
    completed_at: float | None = None
    url: str = ""

    @property
    def completed(self) -> bool:
        return self.status == "completed" or self.conclusion != ""

    @property
    def taken(self) -> bool:
        return self.runner != ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommentView:
    id: int
    text: str
    trusted: bool  # written by an app, or by somebody who may write here: an outsider can copy any marker


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactView:
    id: int
    name: str
    size: int
    digest: str = ""  # "sha256:..." or empty on servers that do not say
    expired: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerView:
    name: str
    online: bool
    busy: bool
    labels: tuple[str, ...] = ()
    version: str = ""


def run_view(body: Mapping[str, Any]) -> RunView:
    return RunView(
        id=int(body["id"]),
        status=_word(body.get("status")),
        conclusion=_word(body.get("conclusion")),
        attempt=int(body.get("run_attempt") or 1),
        title=_word(body.get("display_title")),
        url=_word(body.get("html_url")),
    )


def comment_view(data: Mapping[str, Any]) -> CommentView:
    """Apps comment as bots; people by their standing: https://docs.github.com/graphql/reference/enums."""
    author = data.get("user") or {}  # None: the account is gone
    known = data.get("author_association") in ("OWNER", "MEMBER", "COLLABORATOR")
    return CommentView(
        id=int(data["id"]), text=str(data.get("body") or ""), trusted=known or author.get("type") == "Bot"
    )


def job_view(body: Mapping[str, Any]) -> JobView:
    return JobView(
        id=int(body["id"]),
        name=_word(body.get("name")),
        status=_word(body.get("status")),
        conclusion=_word(body.get("conclusion")),
        attempt=int(body.get("run_attempt") or 1),
        runner=_word(body.get("runner_name")) if body.get("runner_id") else "",  # null or 0 while nobody took it
        labels=tuple(map(_word, body.get("labels") or ())),
        steps=tuple(
            StepView(name=_word(s.get("name")), status=_word(s.get("status")), conclusion=_word(s.get("conclusion")))
            for s in body.get("steps") or ()
        ),
        created=_moment(body.get("created_at")),
        started=_moment(body.get("started_at")),
        completed_at=_moment(body.get("completed_at")),
        url=_word(body.get("html_url")),
    )


def artifact_view(body: Mapping[str, Any]) -> ArtifactView:
    return ArtifactView(
        id=int(body["id"]),
        name=_word(body.get("name")),
        size=int(body.get("size_in_bytes") or 0),
        digest=_word(body.get("digest")),
        expired=bool(body.get("expired")),
    )


def runner_view(body: Mapping[str, Any]) -> RunnerView:
    return RunnerView(
        name=_word(body.get("name")),
        online=body.get("status") == "online",
        busy=bool(body.get("busy")),
        labels=tuple(_word(label.get("name")) for label in body.get("labels") or ()),
        version=_word(body.get("version")),
    )


def runner_is(runner: str, machine: str) -> bool:
    """Whether a runner's name says that it is a service on this machine: `moruk`, `moruk-2`, `moruk_e2e`."""
    return runner == machine or (runner.startswith(machine) and not runner[len(machine)].isalnum())


def _word(value: Any) -> str:
    return "" if value is None else str(value)


def _moment(value: Any) -> float | None:
    return datetime.fromisoformat(str(value)).timestamp() if value else None
