"""The calls we make, as methods that take and return our own values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import quote

from ci_dispatch.fleets.actions.rest.client import Call, Client
from ci_dispatch.fleets.actions.rest.errors import Refused, Unavailable
from ci_dispatch.fleets.actions.rest.models import (
    ArtifactView,
    CommentView,
    JobView,
    RunnerView,
    RunView,
    artifact_view,
    comment_view,
    job_view,
    run_view,
    runner_view,
)
from ci_dispatch.fleets.actions.rest.server import Dialect

PAGE = 100
COMMENTS = "pull-requests: write"
MAX_PAGES = 20  # a list has an end even when the server's has none

View = TypeVar("View")


class GitHub:
    """One repository. Every method raises `Refused`, `RateLimited` or `Unavailable`, and nothing else."""

    def __init__(self, client: Client, dialect: Dialect, repository: str) -> None:
        self.client = client
        self.repository = repository
        self._dialect = dialect
        self._path = f"/repos/{quote(repository)}"
        self._run_details = dialect.run_details

    # -- writes -----------------------------------------------------------------------------------------------------

    def dispatch(self, workflow: str, ref: str, inputs: Mapping[str, str]) -> int | None:
        """Start the worker workflow once; the run's id, or None when this server does not tell it.

        `Unavailable` means that no answer came and the run may have started: look for its dispatch id before sending
        again.
        """
        body: dict[str, Any] = {"ref": ref, "inputs": dict(inputs)}
        if self._run_details:
            try:
                answer = self._dispatch(workflow, body | {"return_run_details": True})
            except Refused as refused:
                if refused.status != 400 or "return_run_details" not in str(refused):
                    raise
                self._run_details = False  # an older server refused the field, so nothing was started
            else:
                known = isinstance(answer, dict) and "workflow_run_id" in answer
                return int(answer["workflow_run_id"]) if known else None
        self._dispatch(workflow, body)
        return None

    def _dispatch(self, workflow: str, body: Mapping[str, Any]) -> Any:
        what = f"The workflow {workflow} was not started on {body['ref']}"
        url = f"{self._path}/actions/workflows/{quote(workflow, safe='')}/dispatches"
        return self.client.write(Call(what=what, url=url, permission="actions: write", body=body))

    def rerun_failed(self, run: int) -> None:
        self._post(run, "rerun-failed-jobs", f"The failed jobs of run {run} were not run again")

    def cancel(self, run: int, *, force: bool = False) -> None:
        """Ask for the end of a run; one that has ended already is fine (409)."""
        try:
            self._post(run, "force-cancel" if force else "cancel", f"Run {run} was not cancelled")
        except Refused as refused:
            if refused.status != 409:
                raise

    def _post(self, run: int, part: str, what: str) -> None:
        self.client.write(Call(what=what, url=self._run_url(run, part), permission="actions: write"))

    def write_comment(self, pull: int, text: str) -> None:
        self._comment("POST", f"issues/{pull}/comments", text, f"The comment on pull request {pull} was not written")

    def edit_comment(self, comment: int, text: str) -> None:
        self._comment("PATCH", f"issues/comments/{comment}", text, f"The comment {comment} was not edited")

    def _comment(self, method: str, part: str, text: str, what: str) -> None:
        body = {"body": text}
        self.client.write(Call(what=what, url=f"{self._path}/{part}", permission=COMMENTS, body=body), method)

    # -- reads ------------------------------------------------------------------------------------------------------

    def run(self, run: int) -> RunView:
        call = Call(what=f"Run {run} could not be read", url=self._run_url(run))
        return _understood(call, run_view, self.client.read(call))

    def find_run(self, workflow: str, dispatch_id: str, since: float) -> RunView | None:
        """The run whose title carries `[dispatch_id]`, among those dispatched after `since`. Never "the newest"."""
        created = datetime.fromtimestamp(since, UTC).strftime(">=%Y-%m-%dT%H:%M:%SZ")
        call = Call(
            what=f"The runs of {workflow} could not be listed",
            url=f"{self._path}/actions/workflows/{quote(workflow, safe='')}/runs",
            parameters={"event": "workflow_dispatch", "created": created, self._dialect.page_size: PAGE},
        )
        listed = _understood(
            call, lambda body: [run_view(run) for run in body["workflow_runs"]], self.client.read(call)
        )
        return next((run for run in listed if f"[{dispatch_id}]" in run.title), None)

    def jobs(self, run: int) -> tuple[JobView, ...]:
        """The jobs of the latest attempt; those it did not run again may be missing."""
        what = f"The jobs of run {run} could not be read"
        call = Call(what=what, url=self._run_url(run, "jobs"), parameters={"filter": "latest"})
        return self._pages(call, "jobs", job_view)

    def artifacts(self, run: int) -> tuple[ArtifactView, ...]:
        call = Call(what=f"The artifacts of run {run} could not be listed", url=self._run_url(run, "artifacts"))
        return self._pages(call, "artifacts", artifact_view)

    def artifact_address(self, artifact: ArtifactView) -> str:
        """Where to fetch it within the next minute, without our token. Expired: `Refused` with status 410."""
        url = f"{self._path}/actions/artifacts/{artifact.id}/zip"
        return self.client.address(Call(what=f"The artifact {artifact.name} could not be fetched", url=url))

    def annotations(self, job: int) -> tuple[str, ...]:
        """What GitHub noted about a job; nothing when the token may not see it: it only helps to explain."""
        url = f"{self._path}/check-runs/{job}/annotations"
        call = Call(what="The annotations could not be read", url=url, permission="checks: read")
        try:
            return _understood(
                call, lambda body: tuple(str(n.get("message") or "") for n in body), self.client.read(call)
            )
        except Refused:
            return ()

    def runners(self) -> tuple[RunnerView, ...]:
        """The self-hosted runners of the repository; needs a token that GITHUB_TOKEN can never be."""
        url = f"{self._path}/actions/runners"
        call = Call(what="The runners' state could not be read", url=url, permission="administration: read")
        return self._pages(call, "runners", runner_view)

    def comments(self, pull: int) -> tuple[CommentView, ...]:
        """The comments of a pull request, oldest first; GitHub lists them without saying how many there are."""
        found: list[CommentView] = []
        for page in range(1, MAX_PAGES + 1):
            call = Call(
                what=f"The comments of pull request {pull} could not be read",
                url=f"{self._path}/issues/{pull}/comments",
                permission=COMMENTS,  # they are only read to write one
                parameters={self._dialect.page_size: PAGE, "page": page},
            )
            items = _understood(call, lambda body: [comment_view(item) for item in body], self.client.read(call))
            found += items
            if len(items) < PAGE:
                break
        return tuple(found)

    def _run_url(self, run: int, part: str = "") -> str:
        return f"{self._path}/actions/runs/{run}" + (f"/{part}" if part else "")

    def _pages(self, call: Call, key: str, view: Callable[[Mapping[str, Any]], View]) -> tuple[View, ...]:
        found: list[View] = []
        for page in range(1, MAX_PAGES + 1):
            asked = {**call.parameters, self._dialect.page_size: PAGE, **({"page": page} if page > 1 else {})}
            body = self.client.read(Call(what=call.what, url=call.url, permission=call.permission, parameters=asked))
            items, total = _understood(
                call, lambda body: ([view(i) for i in body[key]], int(body["total_count"])), body
            )
            found += items
            if not items or len(found) >= total:
                break
        return tuple(found)


def _understood(call: Call, view: Callable[[Any], View], body: Any) -> View:
    """`view(body)`; an answer that is JSON but not what was asked for counts as no answer."""
    try:
        return view(body)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Unavailable(call.what, why=f"the answer is not what GitHub describes: {error!r}") from error
