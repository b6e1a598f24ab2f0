"""GitHub's own view of a machine's runner services, as a second source beside its health check. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ci_dispatch.core.codec import replace
from ci_dispatch.core.events import MachineChecked
from ci_dispatch.core.model import MachineSpec
from ci_dispatch.fleets.actions.rest.models import RunnerView, runner_is


def of_machine(spec: MachineSpec, runners: Sequence[RunnerView]) -> list[RunnerView]:
    """The services that run on this machine: by name, or by having every one of its labels."""
    named = [runner for runner in runners if runner_is(runner.name, spec.name)]
    if named or not spec.labels:
        return named
    wanted = {label.lower() for label in spec.labels}  # labels are compared without case
    return [runner for runner in runners if wanted <= {label.lower() for label in runner.labels}]


def with_runners(checked: MachineChecked, spec: MachineSpec, runners: Sequence[RunnerView]) -> MachineChecked:
    """The health check with what GitHub sees: a healthy machine whose runners are all offline gets no work."""
    mine = of_machine(spec, runners)
    if not mine:
        problem = "GitHub has no runner of it"
    elif not any(runner.online for runner in mine):
        problem = f"its GitHub runner{'s are' if len(mine) > 1 else ' is'} offline: {', '.join(r.name for r in mine)}"
    else:
        return checked
    problems = (*checked.problems, problem)
    return replace(checked, healthy=False, problems=problems, text=f"{checked.text}; {problem}".lstrip("; "))
