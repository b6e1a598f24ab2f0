"""What the tokens of the jobs that use ci-dispatch have to be allowed, and whether they are. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ci_dispatch.core.errors import ExitCode
from ci_dispatch.fleets.actions.check.finding import CheckFinding, Topic, failure, fine, warning
from ci_dispatch.fleets.actions.check.use import Setup, Use
from ci_dispatch.fleets.actions.check.workflow_file import SUITE, WorkflowFile

_PERMISSIONS: Mapping[str, Mapping[str, str]] = {
    "dispatch": {"contents": "read", "actions": "write"},
    "watch": {"contents": "read", "actions": "write"},
    "cancel": {"actions": "write"},
    "plan": {"contents": "read"},
    "again": {"contents": "read"},
    "shard": {"contents": "read"},
    "merge": {"contents": "read"},
    SUITE: {"contents": "read", "actions": "read"},  # what its jobs ask for: with less it does not start
}
"""What a job's token needs, by the command that it gives; see `needed_permissions`."""

_LOST = "a lost machine is told from a failed test later, and less surely"
_FORGOTTEN = "the history of earlier runs is not fetched: durations are guessed, and nothing is compared"
HELPFUL = {
    "dispatch": ("checks", _LOST),
    "watch": ("checks", _LOST),
    "plan": ("actions", _FORGOTTEN),
    "merge": ("actions", _FORGOTTEN),
}
"""What else a job's token should be allowed to read, and what is lost without."""

COMMENTS = ("dispatch", "watch", "merge")
_LEVELS = ("none", "read", "write")


def needed_permissions(use: Use, setup: Setup) -> dict[str, str]:
    """What the token of this job has to be allowed. Inside one run, artifacts come without it; from another, not."""
    needed = dict(_PERMISSIONS.get(use.command, {}))
    inputs = use.step.inputs
    if (use.command == "shard" and "dispatch-id" in inputs) or (use.command == "merge" and "plan" not in inputs):
        needed["actions"] = "read"
    if setup.comment and use.command in COMMENTS:
        needed["pull-requests"] = "write"
    return needed


def check_permissions(_files: Sequence[WorkflowFile], uses: Sequence[Use], setup: Setup) -> Iterator[CheckFinding]:
    """What each job's token needs against what it is granted."""
    for use in uses:
        granted = use.file.permissions_of(use.job)
        needed = needed_permissions(use, setup)
        if granted is None:
            if needed:
                what = f"it has no `permissions:`, so the repository's default decides; needed: {_words(needed)}"
                yield warning(Topic.PERMISSIONS, what, f"permissions: {{{_words(needed)}}}", where=use.where)
            continue
        lacking = {name: level for name, level in needed.items() if not _has(granted, name, level)}
        if lacking:
            what = f"its token lacks {_words(lacking)}, which `{use.command}` needs"
            remedy = f"permissions: {{{_words(lacking)}}} beside the others of this job"
            yield failure(Topic.PERMISSIONS, what, remedy, where=use.where, exit_code=ExitCode.GITHUB_REFUSED)
        elif needed:
            yield fine(Topic.PERMISSIONS, f"{use.command}: {_words(needed)}", where=use.where)
        helpful, without = HELPFUL.get(use.command, ("", ""))
        if helpful and helpful not in lacking and not _has(granted, helpful, "read"):
            what = f"without {helpful}: read {without}"
            yield warning(Topic.PERMISSIONS, what, f"permissions: {{{helpful}: read}}", where=use.where)


def check_calls(files: Sequence[WorkflowFile], uses: Sequence[Use], _setup: Setup) -> Iterator[CheckFinding]:
    """A called workflow never gets more than its caller may: GitHub refuses the run before its first job."""
    by_path = {f"./{file.path}": file for file in files}
    ours = {use.file.path for use in uses}
    for file in files:
        for job in file.jobs:
            called = by_path.get(job.uses)
            granted = file.permissions_of(job)
            if called is None or granted is None or not {file.path, called.path} & ours:
                continue
            wanted = [asked for inner in called.jobs if (asked := called.permissions_of(inner))]
            lacking = {
                name: level
                for asked in wanted
                for name, level in asked.items()
                if name != "*" and level != "none" and not _has(granted, name, level)
            }
            if lacking:
                what = (
                    f"{called.path} asks for {_words(lacking)}, which this job does not grant: the run does not start"
                )
                yield failure(
                    Topic.PERMISSIONS,
                    what,
                    f"permissions: {{{_words(lacking)}}}",
                    where=f"{file.path}, job {job.id}",
                    exit_code=ExitCode.GITHUB_REFUSED,
                )


def _has(granted: Mapping[str, str], name: str, level: str) -> bool:
    given = granted.get(name, granted.get("*", "none"))
    return given in _LEVELS and _LEVELS.index(given) >= _LEVELS.index(level)


def _words(permissions: Mapping[str, str]) -> str:
    return ", ".join(f"{name}: {level}" for name, level in permissions.items())
