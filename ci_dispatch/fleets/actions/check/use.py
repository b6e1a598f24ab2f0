"""Which jobs give commands to ci-dispatch, and what the repository is set up for beside its workflows. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ci_dispatch.fleets.actions.check.workflow_file import FOLDER, SUITE, WorkflowFile, WorkflowJob, WorkflowStep
from ci_dispatch.fleets.actions.rest.server import ActionsMode, Server


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What the repository is set up for, beside its workflows."""

    server: Server
    worker: str = ""  # file name of the worker workflow (github.workflow)
    comment: bool = False
    suite_secrets: tuple[str, ...] = ()  # variables that the tests get (suite.secrets)
    own: bool = False  # this is ci-dispatch's own repository: `./` is the action
    configuration: str = ""  # path of ci-dispatch.toml in the repository; empty: none is there
    tracked: frozenset[str] | None = None  # paths that git has; None: it cannot be told
    default_branch: str = "main"
    over_ssh: bool = False  # a machine of the fleet is reached over SSH
    skips_health: bool = False


@dataclass(frozen=True, slots=True)
class Use:
    """A job that gives a command to ci-dispatch."""

    file: WorkflowFile
    job: WorkflowJob
    command: str
    step: WorkflowStep

    @property
    def where(self) -> str:
        return f"{self.file.path}, job {self.job.id}"


def uses_of(files: Iterable[WorkflowFile], setup: Setup) -> list[Use]:
    """Every job that uses ci-dispatch. A `plan` without shards, here or in a called file, begins nothing."""
    found: list[Use] = []
    for file in files:
        commands = file.commands(own=setup.own)
        shards = any(command == "shard" for _, command, _ in commands) or any(job.uses for job in file.jobs)
        found += (Use(file, *use) for use in commands if shards or use[1] != "plan")
    return found


def workers_of(uses: Iterable[Use], setup: Setup) -> list[str]:
    """The paths of the workflows that `dispatch` starts: as a step names them, else as the configuration does."""
    named = (use.step.inputs.get("workflow", "") for use in uses if use.command == "dispatch")
    files = dict.fromkeys(name if name and "${{" not in name else setup.worker for name in named)
    return [f"{FOLDER}/{name}" for name in files if not name.isdecimal()]  # not a workflow's id


def modes_of(uses: Iterable[Use]) -> set[ActionsMode]:
    found = {use.command for use in uses}
    modes = {ActionsMode.DISPATCH} if "dispatch" in found else set()
    return modes | ({ActionsMode.ONE_WORKFLOW} if found & {"plan", SUITE} else set())
