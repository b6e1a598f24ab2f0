"""A workflow file as far as the checks look at it: triggers, permissions, concurrency, jobs and their steps.

The one file that knows ruamel.yaml. Whatever a file holds becomes a `WorkflowFile`, or a `BadWorkflow` with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

FOLDER = ".github/workflows"
LARGEST = 1 << 20  # characters; GitHub takes less
_ACTION = re.compile(r"(?P<owner>[\w.-]+)/ci-dispatch@\S+")
_SUITE = re.compile(r"(?:\./|(?P<owner>[\w.-]+)/ci-dispatch/)\.github/workflows/suite\.yml(?:@\S+)?")
_SECRET = re.compile(r"secrets(?:\.|\[\s*')([A-Za-z_][A-Za-z0-9_]*)")
_ALL = {"read-all": "read", "write-all": "write"}
OWNER = "OWNER"  # what the examples have where the user's own belongs

SUITE = "suite"  # the command of a job that calls the reusable workflow


class BadWorkflow(ValueError):
    """The text is no workflow; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Concurrency:
    group: str
    cancels: bool = False
    queue: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowStep:
    uses: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowJob:
    id: str
    name: str  # as the file has it; the id when it has none
    condition: str = ""
    runs_on: tuple[str, ...] = ()  # labels, or one expression
    uses: str = ""  # the workflow it calls
    hands_on_secrets: bool = False  # to the workflow it calls
    permissions: Mapping[str, str] | None = None
    concurrency: Concurrency | None = None
    strategy: bool = False
    fail_fast: bool = True
    steps: tuple[WorkflowStep, ...] = ()

    @property
    def hosted(self) -> bool:
        """It runs on a machine of GitHub's: one of its own images, without `self-hosted`."""
        return len(self.runs_on) == 1 and re.match(r"(ubuntu|windows|macos)-", self.runs_on[0]) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowFile:
    """`path` is relative to the repository's root."""

    path: str
    run_name: str = ""
    triggers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    permissions: Mapping[str, str] | None = None
    concurrency: Concurrency | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    jobs: tuple[WorkflowJob, ...] = ()
    secrets: frozenset[str] = frozenset()  # names that its expressions use

    def commands(self, *, own: bool) -> list[tuple[WorkflowJob, str, WorkflowStep]]:
        """The jobs that use ci-dispatch: each with the command it gives, and the step. `own`: `./` is ci-dispatch."""
        found: list[tuple[WorkflowJob, str, WorkflowStep]] = []
        for job in self.jobs:
            if called := _SUITE.fullmatch(job.uses):
                if called["owner"] or own:
                    found.append((job, SUITE, WorkflowStep(uses=job.uses)))
                continue
            found += (
                (job, step.inputs.get("command", "dispatch"), step)
                for step in job.steps
                if _ACTION.fullmatch(step.uses) or (own and step.uses in ("./", "$/"))
            )
        return found

    def permissions_of(self, job: WorkflowJob) -> Mapping[str, str] | None:
        """What the job's token may do; None: the repository's default decides."""
        return job.permissions if job.permissions is not None else self.permissions


def is_placeholder(uses: str) -> bool:
    """Whether `uses` still has the word of the examples in the place of an owner."""
    found = _ACTION.fullmatch(uses) or _SUITE.fullmatch(uses)
    return found is not None and found["owner"] == OWNER


def action_of(uses: str) -> tuple[str, str, str] | None:
    """The repository, file and ref that `uses` names; None for a path in this repository, and for a placeholder."""
    found = re.fullmatch(r"([\w.-]+/ci-dispatch)(?:/(\.github/workflows/suite\.yml))?@(\S+)", uses)
    return None if found is None or is_placeholder(uses) else (found[1], found[2] or "action.yml", found[3])


def read_workflow(path: str, text: str) -> WorkflowFile:
    """Raises BadWorkflow when `text` is no workflow."""
    document = _parsed(text)
    triggers = document.get("on")
    if isinstance(triggers, str):
        triggers = {triggers: None}
    elif isinstance(triggers, list):
        triggers = dict.fromkeys(str(event) for event in triggers)
    jobs = document.get("jobs")
    if not isinstance(triggers, dict) or not triggers:
        raise BadWorkflow("it has no `on:`")
    if not isinstance(jobs, dict) or not jobs:
        raise BadWorkflow("it has no `jobs:`")
    return WorkflowFile(
        path=path,
        run_name=_text(document.get("run-name")),
        triggers={str(event): _table(more) for event, more in triggers.items()},
        permissions=_permissions(document.get("permissions")),
        concurrency=_concurrency(document.get("concurrency")),
        env=_texts(document.get("env")),
        jobs=tuple(_job(str(name), _table(job)) for name, job in jobs.items()),
        secrets=frozenset(_SECRET.findall(text)),
    )


def _parsed(text: str) -> dict[str, Any]:
    from ruamel.yaml import YAML  # noqa: PLC0415  # only a check of workflows needs it
    from ruamel.yaml.error import YAMLError  # noqa: PLC0415

    if len(text) > LARGEST:
        raise BadWorkflow("it is larger than 1 MB")
    try:
        document = YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError, TypeError, LookupError, RecursionError, ArithmeticError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        at = "" if line is None else f"line {line + 1}: "
        said = " ".join(str(getattr(error, "problem", None) or error).split())[:200]
        raise BadWorkflow(f"it is no YAML: {at}{said}") from None
    if not isinstance(document, dict):
        raise BadWorkflow("it is no table")
    return document


def _job(name: str, job: Mapping[str, Any]) -> WorkflowJob:
    strategy = _table(job.get("strategy"))
    steps = job.get("steps")
    return WorkflowJob(
        id=name,
        name=_text(job.get("name")) or name,
        condition=_text(job.get("if")),
        runs_on=_labels(job.get("runs-on")),
        uses=_text(job.get("uses")),
        hands_on_secrets=bool(job.get("secrets")),
        permissions=_permissions(job.get("permissions")),
        concurrency=_concurrency(job.get("concurrency")),
        strategy=bool(strategy),
        fail_fast=strategy.get("fail-fast") is not False,
        steps=tuple(_step(step) for step in steps if isinstance(step, dict)) if isinstance(steps, list) else (),
    )


def _step(step: Mapping[str, Any]) -> WorkflowStep:
    return WorkflowStep(uses=_text(step.get("uses")), inputs=_texts(step.get("with")), env=_texts(step.get("env")))


def _labels(value: Any) -> tuple[str, ...]:
    if isinstance(value, dict):
        value = value.get("labels")
    if isinstance(value, list):
        return tuple(_text(label) for label in value)
    return (_text(value),) if value else ()


def _permissions(value: Any) -> Mapping[str, str] | None:
    """`*` stands for every permission that is not named."""
    if value is None:
        return None
    if isinstance(value, str):
        return {"*": _ALL.get(value, "none")}
    return {str(name): _text(level) for name, level in _table(value).items()}


def _concurrency(value: Any) -> Concurrency | None:
    if isinstance(value, str):
        return Concurrency(group=value)
    if not isinstance(value, dict):
        return None
    return Concurrency(
        group=_text(value.get("group")),
        cancels=value.get("cancel-in-progress") not in (None, False),
        queue=_text(value.get("queue")),
    )


def _table(value: Any) -> Mapping[str, Any]:
    return {str(name): more for name, more in value.items()} if isinstance(value, dict) else {}


def _texts(value: Any) -> Mapping[str, str]:
    return {name: _text(more) for name, more in _table(value).items()}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) else ""
