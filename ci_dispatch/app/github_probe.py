"""`github check --probe`: a job of a minute on each machine that says what its runner has."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from ci_dispatch.app.run_spec import new_id
from ci_dispatch.core.errors import ExitCode, GitHubRefused
from ci_dispatch.fleets.actions.check import probe
from ci_dispatch.fleets.actions.check.finding import CheckFinding, Topic, failure, unknown
from ci_dispatch.fleets.actions.check.github_rules import MachineLabels
from ci_dispatch.fleets.actions.rest.api import GitHubApi
from ci_dispatch.fleets.actions.rest.artifacts import ArtifactLimits, download
from ci_dispatch.fleets.actions.rest.client import RestRequest
from ci_dispatch.fleets.actions.rest.models import JobView
from report_merge.render.wording import count

SECONDS = 240.0  # for a job of a minute, and for a runner that is busy now
LOOK = 4.0  # seconds between two looks
LARGEST_LOG = 1 << 20


def probe_machines(
    github: GitHubApi,
    branch: str,
    wanted: Sequence[MachineLabels],
    *,
    tools: Sequence[str],
    python: str,
    needs_node: bool,
    say: Callable[[str], None],
) -> Iterator[CheckFinding]:
    """Start the probe on `branch`, wait for at most `SECONDS`, and tell what each machine has.

    Whatever happens, no job of it stays queued. Raises RequestRefused, RateLimited or Unavailable.
    """
    asked = wanted[: probe.MOST]
    name, began = f"probe-{new_id()}", time.time()
    inputs = {"matrix": probe.matrix_of(asked, tools, python), "dispatch_id": name}
    run = github.dispatch(probe.WORKFLOW, branch, inputs)
    deadline = time.monotonic() + SECONDS
    say(f"The probe runs on {count(len(asked), 'machine')}, for at most {SECONDS / 60:.0f} minutes.")
    jobs: tuple[JobView, ...] = ()
    complete = False
    try:
        while not complete and time.monotonic() < deadline:
            time.sleep(LOOK)
            if run is None:
                run = github.find_run(probe.WORKFLOW, name, began - 60)
            else:
                jobs = github.jobs(run)
                complete = len(jobs) >= len(asked) and all(job.completed for job in jobs)
    finally:
        if run is not None and not complete:
            with suppress(GitHubRefused):
                github.cancel(run)
    for entry in asked:
        job = next((job for job in jobs if job.name == f"probe {entry.machine}" and job.completed), None)
        if job is None:
            minutes = f"{SECONDS / 60:.0f} minutes"
            what = f"no runner took the probe's job within {minutes}: it is offline, busy, or has other labels"
            remedy = "look at Settings, Actions, Runners; ask again when it is idle"
            yield failure(Topic.TOOLS, what, remedy, where=entry.machine, exit_code=ExitCode.INCOMPLETE)
            continue
        try:
            answered = probe.read_log(_log(github, job))
        except GitHubRefused as refused:
            yield unknown(Topic.TOOLS, refused.without_hint, refused.hint or "look at it on GitHub")
        else:
            yield from probe.check_answer(entry.machine, answered, python=python, needs_node=needs_node)
    if more := len(wanted) - len(asked):
        yield unknown(Topic.TOOLS, f"{more} machines more were not probed", "--machine NAME for each of them")


def _log(github: GitHubApi, job: JobView) -> str:
    what = f"The log of {job.name} could not be read"
    address = github.client.redirect(RestRequest(what=what, path=f"/actions/jobs/{job.id}/logs"))
    limits = ArtifactLimits(download=LARGEST_LOG)
    return download(what, address, limits).decode("utf-8", errors="replace")
