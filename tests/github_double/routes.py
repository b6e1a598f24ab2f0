"""Which URL means what. Every route names the permission GitHub asks for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode

from tests.github_double.entities import Artifact, Comment, Conflict, Job, Run
from tests.github_double.shapes import Shapes, stamp
from tests.github_double.workflows import Refused, Workflow

if TYPE_CHECKING:
    from tests.github_double.double import GitHubDouble

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
    version: str = ""  # X-GitHub-Api-Version

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
        size, number = min(100, _number(self.query.get("per_page"), 30)), _number(self.query.get("page"), 1)
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


Handler = Callable[[Asked], Answer]


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    pattern: re.Pattern[str]
    permission: str
    handler: Handler


ROUTES: list[Route] = []


def route(method: str, path: str, permission: str) -> Callable[[Handler], Handler]:
    def register(handler: Handler) -> Handler:
        ROUTES.append(Route(method, re.compile(path), permission, handler))
        return handler

    return register


@route("GET", "/actions/workflows", "actions:read")
def workflows(asked: Asked) -> Answer:
    shown = [asked.shapes.workflow(w) for w in asked.double.hub.workflows.values()]
    return asked.page("workflows", shown, f"{asked.shapes.url}/actions/workflows")


@route("POST", "/actions/workflows/([^/]+)/dispatches", "actions:write")
def dispatch(asked: Asked) -> Answer:
    body = asked.body
    always_told = asked.version == "2026-03-10"  # the field is gone there, and its answer is the only one
    if "return_run_details" in body and (always_told or not asked.double.returns_run_details):
        raise Conflict(400, 'Invalid request. "return_run_details" is not a permitted key.')
    if len(body.get("inputs", {})) > asked.double.most_inputs:
        raise Conflict(422, "inputs are too many.")
    if "ref" not in body:
        raise Conflict(422, 'Invalid request.\n\n"ref" wasn\'t supplied.')
    workflow = asked.workflow()
    if asked.double.settings.default_branch not in workflow.exists_on:
        raise Conflict(404, "Not Found")  # the event is delivered to files on the default branch only
    try:
        run = asked.double.hub.dispatch(workflow, body["ref"], body.get("inputs", {}))
    except Refused as refused:
        raise Conflict(422, str(refused)) from None
    if not always_told and not body.get("return_run_details"):
        return Answer(status=204)
    shown = asked.shapes.run(run)
    return Answer(body={"workflow_run_id": run.id, "run_url": shown["url"], "html_url": shown["html_url"]})


def listed(asked: Asked, runs: list[Run]) -> list[Any]:
    now, lag = asked.double.hub.clock(), asked.double.hub.lag.listing
    since, status = asked.query.get("created", "").removeprefix(">=").replace("+00:00", "Z"), asked.query.get("status")
    shown = [run for run in runs if run.created + lag <= now and stamp(run.created) >= since]
    shown = [run for run in shown if status in (None, run.status, run.conclusion)]
    return [asked.shapes.run(run) for run in reversed(shown)]


@route("GET", "/actions/runs", "actions:read")
def runs(asked: Asked) -> Answer:
    return asked.page(
        "workflow_runs", listed(asked, list(asked.double.hub.runs.values())), f"{asked.shapes.url}/actions/runs"
    )


@route("GET", "/actions/workflows/([^/]+)/runs", "actions:read")
def runs_of_workflow(asked: Asked) -> Answer:
    chosen = asked.workflow()
    mine = [run for run in asked.double.hub.runs.values() if run.workflow.id == chosen.id]
    return asked.page("workflow_runs", listed(asked, mine), f"{asked.shapes.url}/actions/workflows/{chosen.id}/runs")


@route("GET", r"/actions/runs/(\d+)", "actions:read")
def run(asked: Asked) -> Answer:
    run, hub = asked.run(), asked.double.hub
    shown = asked.shapes.run(run)
    if run.rerun_at is not None and hub.clock() < run.rerun_at + hub.lag.rerun:  # the old attempt, still on show
        shown |= {"run_attempt": run.attempt - 1, "status": "completed", "conclusion": "failure"}
    return Answer(body=shown)


def jobs_page(asked: Asked, jobs: list[Job], run: Run) -> Answer:
    hub = asked.double.hub
    if hub.clock() < run.started + hub.lag.jobs:
        jobs = []
    return asked.page("jobs", [asked.shapes.job(job) for job in jobs], f"{asked.shapes.url}/actions/runs/{run.id}/jobs")


@route("GET", r"/actions/runs/(\d+)/jobs", "actions:read")
def jobs(asked: Asked) -> Answer:
    """`latest` lists what the latest attempt ran, without the jobs it left alone (seen since about May 2025)."""
    run = asked.run()
    return jobs_page(asked, run.jobs if asked.query.get("filter") == "all" else run.current, run)


@route("GET", r"/actions/runs/(\d+)/attempts/(\d+)", "actions:read")
def attempt(asked: Asked) -> Answer:
    run = asked.run()
    if not 1 <= int(asked.path[1]) <= run.attempt:
        raise Conflict(404, "Not Found")
    return Answer(body=asked.shapes.run(run) | {"run_attempt": int(asked.path[1])})


@route("GET", r"/actions/runs/(\d+)/attempts/(\d+)/jobs", "actions:read")
def attempt_jobs(asked: Asked) -> Answer:
    run = asked.run()
    return jobs_page(asked, [job for job in run.jobs if job.attempt == int(asked.path[1])], run)


@route("POST", r"/actions/runs/(\d+)/rerun", "actions:write")
def rerun(asked: Asked) -> Answer:
    run, hub = asked.run(), asked.double.hub
    hub.rerun(run, lambda _job: True)
    hub.artifacts = [a for a in hub.artifacts if a.run != run.id]  # a full re-run hides what was there
    return Answer(status=201, body={})


@route("POST", r"/actions/runs/(\d+)/rerun-failed-jobs", "actions:write")
def rerun_failed(asked: Asked) -> Answer:
    asked.double.hub.rerun(asked.run(), lambda job: job.conclusion != "success")
    return Answer(status=201, body={})


@route("POST", r"/actions/jobs/(\d+)/rerun", "actions:write")
def rerun_job(asked: Asked) -> Answer:
    wanted, hub = asked.job(), asked.double.hub
    run = hub.runs[wanted.run]
    if wanted.attempt != run.attempt:
        raise Conflict(403, "Only jobs from the current attempt can be re-run")
    hub.rerun(run, lambda job: job.id == wanted.id)
    return Answer(status=201, body={})


@route("POST", r"/actions/runs/(\d+)/cancel", "actions:write")
def cancel(asked: Asked) -> Answer:
    asked.double.hub.cancel(asked.run())
    return Answer(status=202, body={})


@route("POST", r"/actions/runs/(\d+)/force-cancel", "actions:write")
def force_cancel(asked: Asked) -> Answer:
    asked.double.hub.cancel(asked.run(), force=True)
    return Answer(status=202, body={})


@route("GET", r"/check-runs/(\d+)/annotations", "checks:read")
def job_annotations(asked: Asked) -> Answer:
    job = asked.job()
    shown = [asked.shapes.annotation(level, text) for level, text in job.annotations]
    return asked.page("", shown, f"{asked.shapes.url}/check-runs/{job.id}/annotations")


@route("GET", r"/actions/jobs/(\d+)", "actions:read")
def job(asked: Asked) -> Answer:
    return Answer(body=asked.shapes.job(asked.job()))


@route("GET", r"/actions/jobs/(\d+)/logs", "actions:read")
def job_logs(asked: Asked) -> Answer:
    job = asked.job()
    if job.runner_died is not None:
        raise Conflict(404, "Not Found")  # the log of a lost job was never uploaded
    return Answer(status=302, headers={"Location": asked.double.signed(f"job-{job.id}.txt", job.log)})


@route("GET", r"/actions/runs/(\d+)/artifacts", "actions:read")
def artifacts(asked: Asked) -> Answer:
    run, name = asked.run(), asked.query.get("name")
    mine = [a for a in asked.double.hub.artifacts if a.run == run.id and name in (None, a.name)]
    shown = [asked.shapes.artifact(a) for a in mine]
    return asked.page("artifacts", shown, f"{asked.shapes.url}/actions/runs/{run.id}/artifacts")


@route("GET", r"/actions/artifacts", "actions:read")
def all_artifacts(asked: Asked) -> Answer:
    name = asked.query.get("name")
    shown = [asked.shapes.artifact(a) for a in reversed(asked.double.hub.artifacts) if name in (None, a.name)]
    return asked.page("artifacts", shown, f"{asked.shapes.url}/actions/artifacts")


@route("GET", r"/actions/artifacts/(\d+)/zip", "actions:read")
def artifact_zip(asked: Asked) -> Answer:
    artifact = asked.artifact()
    if artifact.expired:
        raise Conflict(410, "Artifact has expired")
    return Answer(status=302, headers={"Location": asked.double.signed(f"{artifact.id}.zip", artifact.data)})


@route("GET", "/actions/runners", "administration:read")
def runners(asked: Asked) -> Answer:
    shown = [asked.shapes.runner(r) for r in asked.double.hub.runners]
    return asked.page("runners", shown, f"{asked.shapes.url}/actions/runners")


@route("GET", r"/issues/(\d+)/comments", "pull-requests:read")
def comments(asked: Asked) -> Answer:
    """A bare list, without `total_count` (https://docs.github.com/rest/issues/comments)."""
    mine = [asked.shapes.comment(comment) for comment in asked.double.comments if comment.pull == int(asked.path[0])]
    return asked.page("", mine, f"{asked.shapes.url}/issues/{asked.path[0]}/comments")


@route("POST", r"/issues/(\d+)/comments", "pull-requests:write")
def create_comment(asked: Asked) -> Answer:
    comment = Comment(asked.double.hub.next_id(), int(asked.path[0]), asked.body["body"])
    asked.double.comments.append(comment)
    return Answer(status=201, body=asked.shapes.comment(comment))


@route("PATCH", r"/issues/comments/(\d+)", "pull-requests:write")
def update_comment(asked: Asked) -> Answer:
    comment = found(next((c for c in asked.double.comments if c.id == int(asked.path[0])), None))
    comment.body = asked.body["body"]
    return Answer(body=asked.shapes.comment(comment))
