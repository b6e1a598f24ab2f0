"""The calls we make, as methods that take and return our own values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from typing import TypeVar

from ci_dispatch.fleets.actions.rest.client import PAGE, Repository, RestClient, RestRequest
from ci_dispatch.fleets.actions.rest.errors import RequestRefused
from ci_dispatch.fleets.actions.rest.models import (
    AnnotationView,
    ArtifactPage,
    ArtifactView,
    CommentView,
    JobPage,
    JobView,
    RunnerView,
    RunView,
    view,
)
from ci_dispatch.fleets.actions.rest.server import Capability

READ, WRITE, COMMENT = "actions: read", "actions: write", "pull-requests: write"
MAX_PAGES = 20  # a list has an end even when the server's has none
CALLED_PAGES = 5  # of a name that every run uses again

Page = TypeVar("Page", JobPage, ArtifactPage)


class GitHubApi:
    """One repository. Every method raises `RequestRefused`, `RateLimited` or `Unavailable`, and nothing else."""

    def __init__(self, client: RestClient) -> None:
        self.client = client
        self._run_details = client.server.can(Capability.RUN_DETAILS)

    # -- writes -----------------------------------------------------------------------------------------------------

    def dispatch(self, workflow: str, ref: str, inputs: Mapping[str, str]) -> int | None:
        """Start the worker workflow once; the run's id, or None when this server does not name it.

        `Unavailable` means that no answer came and the run may have started: look for its dispatch id before sending
        again.
        """
        try:
            return self._dispatch(workflow, ref, inputs)
        except RequestRefused as refused:
            if not self._run_details or refused.status != 400 or "return_run_details" not in str(refused):
                raise
        self._run_details = False  # an older server refused the field, so nothing was started
        return self._dispatch(workflow, ref, inputs)

    def _dispatch(self, workflow: str, ref: str, inputs: Mapping[str, str]) -> int | None:
        def start(repository: Repository) -> int | None:
            worker = repository.get_workflow(workflow)
            if not self._run_details:
                worker.create_dispatch(ref, dict(inputs), throw=True)
                return None
            started: object = worker.create_dispatch(ref, dict(inputs), throw=True, return_run_details=True)
            accepted_without_id = started is True
            return None if accepted_without_id else view(int, getattr(started, "id", None))

        return self.client.send(f"The workflow {workflow} was not started on {ref}", WRITE, start)

    def rerun_failed(self, run: int) -> None:
        self._post(run, "rerun-failed-jobs", f"The failed jobs of run {run} were not run again")

    def cancel(self, run: int, *, force: bool = False) -> None:
        """Ask for the end of a run; one that has ended already is fine (409)."""
        try:
            self._post(run, "force-cancel" if force else "cancel", f"Run {run} was not cancelled")
        except RequestRefused as refused:
            if refused.status != 409:
                raise

    def _post(self, run: int, part: str, what: str) -> None:
        self.client.post(RestRequest(what=what, path=f"/actions/runs/{run}/{part}", permission=WRITE))

    def keep_comment(self, pull: int, text: str) -> None:
        """Edit the comment that begins with the first line of `text`, a hidden marker; write it when there is none.

        Somebody else's copy of the marker is left alone.
        """
        marker = text.partition("\n")[0]
        ours = (said for said in self.comments(pull) if said.trusted and said.text.startswith(marker))
        if (comment := next(ours, None)) is None:
            what = f"The comment on pull request {pull} was not written"
            self.client.send(what, COMMENT, lambda repository: repository.get_issue(pull).create_comment(text))
        elif comment.text != text:
            what, known = f"The comment {comment.id} was not edited", comment.id
            self.client.send(what, COMMENT, lambda repository: repository.get_issue(pull).get_comment(known).edit(text))

    # -- reads ------------------------------------------------------------------------------------------------------

    def in_progress(self) -> tuple[int, ...]:
        """The workflow runs of the repository that are in progress, newest first."""
        return self.client.ask(
            "The runs in progress could not be listed",
            READ,
            lambda repository: tuple(
                view(int, run.id) for run in islice(repository.get_workflow_runs(status="in_progress"), PAGE)
            ),
        )

    def default_branch(self) -> str:
        what = "The repository could not be read"
        return self.client.ask(what, "metadata: read", lambda repository: view(str, repository.default_branch))

    def run(self, run: int) -> RunView:
        return self.client.read(RestRequest(what=f"Run {run} could not be read", path=f"/actions/runs/{run}"), RunView)

    def find_run(self, workflow: str, dispatch_id: str, since: float) -> int | None:
        """The run whose title carries `[dispatch_id]`, among those dispatched after `since`. Never "the newest"."""
        return next((run.id for run in self.titled(workflow, f"[{dispatch_id}]", since, at_most=1)), None)

    def titled(
        self, workflow: str | int, text: str, since: float, *, at_most: int | None = None
    ) -> tuple[RunView, ...]:
        """The runs with `text` in their title, among those dispatched after `since`, newest first: ids and titles."""
        created = datetime.fromtimestamp(since, UTC).strftime(">=%Y-%m-%dT%H:%M:%SZ")

        def find(repository: Repository) -> tuple[RunView, ...]:
            runs = repository.get_workflow(workflow).get_runs(event="workflow_dispatch", created=created)
            named = (run for run in islice(runs, MAX_PAGES * PAGE) if text in (run.display_title or ""))
            return tuple(
                view(RunView, {"id": run.id, "display_title": run.display_title}) for run in islice(named, at_most)
            )

        return self.client.ask(f"The runs of {workflow} could not be listed", READ, find)

    def jobs(self, run: int) -> tuple[JobView, ...]:
        """The jobs of the latest attempt; those it did not run again may be missing."""
        what = f"The jobs of run {run} could not be read"
        request = RestRequest(what=what, path=f"/actions/runs/{run}/jobs", parameters={"filter": "latest"})
        return tuple(job for page in self._pages(request, JobPage) for job in page.items)

    def artifacts(self, run: int) -> tuple[ArtifactView, ...]:
        request = RestRequest(
            what=f"The artifacts of run {run} could not be listed", path=f"/actions/runs/{run}/artifacts"
        )
        return tuple(artifact for page in self._pages(request, ArtifactPage) for artifact in page.items)

    def artifacts_called(self, name: str) -> tuple[ArtifactView, ...]:
        """Of all runs of the repository, the newest first; at most `CALLED_PAGES` pages, expired ones included."""
        request = RestRequest(
            what=f"The artifacts called {name} could not be listed",
            path="/actions/artifacts",
            parameters={"name": name},
        )
        pages = self._pages(request, ArtifactPage, at_most=CALLED_PAGES)
        return tuple(artifact for page in pages for artifact in page.items)

    def artifact_address(self, artifact: ArtifactView) -> str:
        """Where to fetch it within the next minute, without our token. Expired: `RequestRefused` with status 410."""
        what = f"The artifact {artifact.name} could not be fetched"
        return self.client.redirect(RestRequest(what=what, path=f"/actions/artifacts/{artifact.id}/zip"))

    def annotations(self, job: int) -> tuple[str, ...]:
        """What GitHub noted about a job; nothing when the token may not see it: it only helps to explain."""
        if not self.client.server.can(Capability.ANNOTATIONS):
            return ()
        try:
            return self.client.ask(
                "The annotations could not be read",
                "checks: read",
                lambda repository: tuple(
                    view(AnnotationView, {"path": note.path, "message": note.message}).message
                    for note in islice(repository.get_check_run(job).get_annotations(), PAGE)
                ),
            )
        except RequestRefused:
            return ()

    def runners(self) -> tuple[RunnerView, ...]:
        """The self-hosted runners of the repository; needs a token that GITHUB_TOKEN can never be."""
        return self.client.ask(
            "The runners' state could not be read",
            "administration: read",
            lambda repository: tuple(
                view(
                    RunnerView,
                    {
                        "name": runner.name,
                        "online": runner.status == "online",
                        "labels": [label["name"] for label in runner.labels or ()],
                    },
                )
                for runner in islice(repository.get_self_hosted_runners(), MAX_PAGES * PAGE)
            ),
        )

    def comments(self, pull: int) -> tuple[CommentView, ...]:
        """The comments of a pull request, oldest first.

        Apps comment as bots, people by their standing: https://docs.github.com/graphql/reference/enums.
        """
        return self.client.ask(
            f"The comments of pull request {pull} could not be read",
            COMMENT,  # they are only read to write one
            lambda repository: tuple(
                view(
                    CommentView,
                    {
                        "id": said.id,
                        "text": said.body,
                        "trusted": said.author_association in ("OWNER", "MEMBER", "COLLABORATOR")
                        or getattr(said.user, "type", "") == "Bot",  # no user: the account is gone
                    },
                )
                for said in islice(repository.get_issue(pull).get_comments(), MAX_PAGES * PAGE)
            ),
        )

    def _pages(self, request: RestRequest, kind: type[Page], at_most: int = MAX_PAGES) -> list[Page]:
        found: list[Page] = []
        size = {self.client.server.page_size: PAGE}
        for number in range(1, at_most + 1):
            asked = {**request.parameters, **size, **({"page": number} if number > 1 else {})}
            found.append(self.client.read(replace(request, parameters=asked), kind))
            if not found[-1].items or sum(len(page.items) for page in found) >= found[-1].total_count:
                break
        return found
