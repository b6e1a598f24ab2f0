"""What GitHub shows, as frozen values decoded by their types. Words that we do not know survive as they are. Pure.

GitHub writes null for "not yet" and "none"; here such a field has its default.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeVar

from ci_dispatch.core import codec
from ci_dispatch.core.codec import Value, field, replace
from ci_dispatch.core.events import MachineChecked
from ci_dispatch.core.model import MachineSpec

View = TypeVar("View")


class RunView(Value):
    id: int
    status: str = ""  # queued, in_progress, completed, ... or a word that GitHub invents later
    conclusion: str = ""  # empty while it runs
    attempt: int = field(name="run_attempt", default=1)
    title: str = field(name="display_title", default="")
    url: str = field(name="html_url", default="")  # for people
    workflow: int = field(name="workflow_id", default=0)
    created: datetime | None = field(name="created_at", default=None)

    @property
    def completed(self) -> bool:
        return self.status == "completed"


class StepView(Value):
    name: str = ""
    status: str = ""
    conclusion: str = ""


class JobView(Value):
    id: int
    name: str = ""
    status: str = ""
    conclusion: str = ""
    attempt: int = field(name="run_attempt", default=1)
    runner: str = field(name="runner_name", default="")  # empty while no runner has taken it
    group: str = field(name="runner_group_name", default="")
    steps: tuple[StepView, ...] = ()
    url: str = field(name="html_url", default="")

    @property
    def completed(self) -> bool:
        return self.status == "completed" or self.conclusion != ""

    @property
    def taken(self) -> bool:
        return self.runner != ""

    @property
    def hosted(self) -> bool:
        """It runs on GitHub's own machines."""
        return self.group == "GitHub Actions"


class JobPage(Value):
    items: tuple[JobView, ...] = field(name="jobs")
    total_count: int


class ArtifactOrigin(Value):
    """The run that uploaded an artifact."""

    branch: str = field(name="head_branch", default="")
    repository: int = field(name="repository_id", default=0)
    head_repository: int = field(name="head_repository_id", default=0)  # another one: a fork's pull request

    @property
    def own(self) -> bool:
        """The code that ran was the repository's own; False also where the server does not say."""
        return self.repository != 0 and self.repository == self.head_repository


class ArtifactView(Value):
    id: int
    name: str
    digest: str = ""  # "sha256:..." or empty on servers that do not say
    expired: bool = False
    created: datetime | None = field(name="created_at", default=None)
    origin: ArtifactOrigin = field(name="workflow_run", default=ArtifactOrigin())


class ArtifactPage(Value):
    items: tuple[ArtifactView, ...] = field(name="artifacts")
    total_count: int


class AnnotationView(Value):
    path: str
    message: str = ""


class CommentView(Value):
    id: int
    trusted: bool  # written by an app, or by somebody who may write here: an outsider can copy any marker
    text: str = ""


class RunnerView(Value):
    name: str
    online: bool
    labels: tuple[str, ...] = ()


def view(kind: type[View], data: Any) -> View:
    """A body that GitHub sent, as a `kind`.

    Raises:
        ValueError: when it is none.
    """
    return codec.from_data(kind, _without_nulls(data))


def _without_nulls(data: Any) -> Any:
    if isinstance(data, dict):
        return {name: _without_nulls(value) for name, value in data.items() if value is not None}
    return [_without_nulls(item) for item in data] if isinstance(data, list) else data


# -- a machine's runners ----------------------------------------------------------------------------------------------


def runner_is(runner: str, machine: str) -> bool:
    """Whether a runner's name says that it is a service on this machine: `moruk`, `moruk-2`, `moruk_e2e`."""
    return runner == machine or (runner.startswith(machine) and not runner[len(machine)].isalnum())


def runners_of(spec: MachineSpec, runners: Sequence[RunnerView]) -> list[RunnerView]:
    """The services that run on this machine: by name, or by having every one of its labels."""
    named = [runner for runner in runners if runner_is(runner.name, spec.name)]
    if named or not spec.labels:
        return named
    wanted = {label.lower() for label in spec.labels}  # labels are compared without case
    return [runner for runner in runners if wanted <= {label.lower() for label in runner.labels}]


def with_runners(checked: MachineChecked, spec: MachineSpec, runners: Sequence[RunnerView]) -> MachineChecked:
    """The health check with what GitHub sees: a healthy machine whose runners are all offline gets no work."""
    mine = runners_of(spec, runners)
    if not mine:
        problem = "GitHub has no runner of it"
    elif not any(runner.online for runner in mine):
        problem = f"its GitHub runner{'s are' if len(mine) > 1 else ' is'} offline: {', '.join(r.name for r in mine)}"
    else:
        return checked
    problems = (*checked.problems, problem)
    return replace(checked, healthy=False, problems=problems, text=f"{checked.text}; {problem}".lstrip("; "))
