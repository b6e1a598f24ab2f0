"""Reports that shards have uploaded to GitHub: of all dispatches of a run, or of the earlier attempts of a shard."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from ci_dispatch.app.github_target import connect, repository_of
from ci_dispatch.app.say import say
from ci_dispatch.app.settings import Settings
from ci_dispatch.core.errors import CiDispatchError, UnreadableReport
from ci_dispatch.core.model import AttemptResult, ShardId
from ci_dispatch.fleets.actions import shard_report
from ci_dispatch.fleets.actions.environment import ActionsEnvironment
from ci_dispatch.fleets.actions.rest.api import GitHubApi
from ci_dispatch.fleets.actions.rest.artifacts import ArtifactLimits, fetch
from ci_dispatch.fleets.actions.rest.models import ArtifactView
from ci_dispatch.fleets.actions.shard_report import ShardReport
from report_merge.render.escape import terminal

ONE_RUN = 86_400.0  # seconds; how much earlier than one of its dispatches a run may have begun
_OURS = re.compile(re.escape(shard_report.PREFIX) + r"-.+-a\d+")


def listed(github: GitHubApi, runs: Iterable[int]) -> list[ArtifactView]:
    """The shards' artifacts; should two share a name, the later one."""
    ours = [artifact for run in runs for artifact in github.artifacts(run) if _OURS.fullmatch(artifact.name)]
    return list({artifact.name: artifact for artifact in sorted(ours, key=lambda artifact: artifact.id)}.values())


def fetched(github: GitHubApi, artifact: ArtifactView, into: Path) -> ShardReport:
    """The report in an artifact, which is unpacked into a new folder; when it cannot be used nothing is left of that.

    Raises CiDispatchError.
    """
    try:
        fetch(github, artifact, into, ArtifactLimits())
        report = shard_report.read(into)
        if shard_report.artifact_name(report.dispatch, report.shard, report.attempt) != artifact.name:
            raise UnreadableReport(f"The artifact {artifact.name} was not used", why="its report is of another job")
    except CiDispatchError:
        shutil.rmtree(into, ignore_errors=True)
        raise
    return report


def all_of_its_run(github: GitHubApi, number: int) -> list[int]:
    """The worker runs of all dispatches of the run that this one belongs to, by their titles."""
    view = github.run(number)
    found = re.search(r"\[([\w-]+)\.\d[\d.]*\]", view.title)
    if found is None or view.created is None:
        return [number]
    since = view.created.timestamp() - ONE_RUN
    return sorted({number, *(run.id for run in github.titled(view.workflow, f"[{found[1]}.", since))})


def earlier_attempts(
    settings: Settings, here: ActionsEnvironment, dispatch: str, shard: ShardId
) -> list[AttemptResult]:
    """What earlier attempts of this shard said, oldest first; without permission, or when they are gone, nothing."""
    found: list[tuple[int, AttemptResult]] = []
    try:
        github = connect(settings.config, settings.environ, repository_of(settings))
        with closing(github.client), tempfile.TemporaryDirectory() as scratch:
            for artifact in github.artifacts(here.run or 0):
                attempt = shard_report.attempt_of(artifact.name, dispatch, shard)
                if attempt is not None and attempt < here.attempt:
                    found.append((attempt, fetched(github, artifact, Path(scratch) / str(artifact.id)).result))
    except CiDispatchError as error:
        why = error.without_hint
        say(terminal(f"note: the earlier attempts cannot be seen, so the whole shard is run: {why}"), err=True)
        return []
    return [result for _, result in sorted(found, key=lambda pair: pair[0])]
