"""A request as the handlers see it, and what they answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode

from tests.github_double.entities import Artifact, Conflict, Job, Run
from tests.github_double.workflows import Workflow

if TYPE_CHECKING:
    from tests.github_double.double import GitHubDouble
    from tests.github_double.shapes import Shapes

Thing = TypeVar("Thing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request as the handlers see it."""

    double: GitHubDouble
    shapes: Shapes
    path: tuple[str, ...]  # the parts of the URL that the route leaves open
    query: Mapping[str, str]
    body: Any

    def run(self) -> Run:
        return found(self.double.hub.runs.get(int(self.path[0])))

    def job(self) -> Job:
        jobs = (job for run in self.double.hub.runs.values() for job in run.jobs)
        return found(next((job for job in jobs if job.id == int(self.path[0])), None))

    def artifact(self) -> Artifact:
        return found(next((a for a in self.double.hub.artifacts if a.id == int(self.path[0])), None))

    def workflow(self) -> Workflow:
        wanted = self.path[0]
        known = self.double.hub.workflows.values()
        return found(next((w for w in known if wanted in (w.file, str(w.id))), None))

    def page(self, name: str, items: list[Any], url: str) -> Answer:
        """One page of a list; `name` is its key beside `total_count`, empty for a bare list, which has no count."""
        size, number = _number(self.query.get("per_page"), 30), _number(self.query.get("page"), 1)
        headers = {}
        if number * size < len(items):
            more = urlencode({**self.query, "per_page": size, "page": number + 1})
            headers["Link"] = f'<{url}?{more}>; rel="next"'
        shown = items[(number - 1) * size : number * size]
        return Answer(body={"total_count": len(items), name: shown} if name else shown, headers=headers)


def found(thing: Thing | None) -> Thing:
    if thing is None:
        raise Conflict(404, "Not Found")
    return thing


def _number(text: str | None, default: int) -> int:
    return int(text) if text and text.isdecimal() else default
