"""What `ci-dispatch health` does: ask every machine how it is, all at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from typing import Any

from ci_dispatch.app.machines import health_policy
from ci_dispatch.app.say import say, say_json
from ci_dispatch.app.settings import Settings
from ci_dispatch.core.codec import replace
from ci_dispatch.core.errors import CiDispatchError, ControllerError, ExitCode, UsageError, did_you_mean
from ci_dispatch.core.model import Connection, MachineSpec
from ci_dispatch.machines import open_machine
from ci_dispatch.machines.supervised import SupervisedMachine
from ci_dispatch.run.health import DIMENSIONS, HealthReport, summary
from ci_dispatch.suites import open_suite


def check(settings: Settings, *, names: Sequence[str], only: str, as_json: bool, watch: bool) -> ExitCode:
    """Check the machines called `names` (all without any) in the dimensions `only` ("ssh,disk"), and print the reports.

    Where this computer is the whole fleet a run uses it at any load, so a high one is a warning here too.

    With `watch` again and again, over the same connections, until it is interrupted.
    Raises UsageError for a machine or a dimension that does not exist.
    """
    wanted = _dimensions(only)
    policy = health_policy(settings.config, tools_of(settings) if not wanted or "tools" in wanted else ())
    alone = [machine.connection for machine in settings.config.fleet] == [Connection.LOCAL]
    policy = replace(policy, load_decides=not alone)
    with ExitStack() as stack:
        machines = [open_machine(spec, policy) for spec in _chosen(settings.config.fleet, names)]
        for machine in machines:
            stack.enter_context(closing(machine))
        while True:
            began = time.monotonic()
            reports = examine_all(machines, policy.connect_timeout, wanted)
            if as_json:
                say_json(_document(reports), indent=None if watch else 1)
            else:
                say(_text(reports))
            if not watch:
                return ExitCode.PASSED if any(report.healthy for report in reports) else ExitCode.INCOMPLETE
            time.sleep(max(0.0, settings.config.health.interval - (time.monotonic() - began)))


def examine_all(
    machines: Sequence[SupervisedMachine], seconds: float, only: frozenset[str] = frozenset()
) -> list[HealthReport]:
    """All at once, each within `seconds`; in the order of the machines. Raises ControllerError."""
    reports: dict[int, HealthReport] = {}
    failed: list[ControllerError] = []

    def examine(place: int, machine: SupervisedMachine) -> None:
        try:
            reports[place] = machine.examine(seconds, only)
        except ControllerError as error:
            failed.append(error)

    threads = [threading.Thread(target=examine, args=given, daemon=True) for given in enumerate(machines)]
    for thread in threads:
        thread.start()
    if any(machine.spec.connection is Connection.SSH for machine in machines):
        from ci_dispatch.machines.ssh import connection  # noqa: F401  # paramiko loads while the sockets connect
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return [reports[place] for place in sorted(reports)]


def _document(reports: Sequence[HealthReport]) -> dict[str, Any]:
    return {
        "healthy": sum(report.healthy for report in reports),
        "machines": [report.document() for report in reports],
    }


def _text(reports: Sequence[HealthReport]) -> str:
    width = max((len(report.machine) for report in reports), default=0)
    lines = []
    for report in reports:
        lines.append(report.text(width))
        lines += [f"{' ' * (width + 3)}try: {hint}" for hint in report.hints]
    return "\n".join([*lines, summary({report.machine: report for report in reports})])


def _dimensions(only: str) -> frozenset[str]:
    wanted = frozenset(word.strip() for word in only.split(",") if word.strip())
    unknown = sorted(wanted - set(DIMENSIONS))
    if unknown:
        raise UsageError(
            f"--only {only}", why=f"there is no dimension {', '.join(unknown)}", hint=f"--only {','.join(DIMENSIONS)}"
        )
    return wanted


def tools_of(settings: Settings) -> tuple[str, ...]:
    """What the suite needs; nothing where there is no suite: a fleet can be checked before it has one."""
    try:
        return open_suite(settings.config.suite, settings.root).tools()
    except CiDispatchError:
        return ()


def _chosen(machines: Sequence[MachineSpec], names: Sequence[str]) -> list[MachineSpec]:
    """The machines named, in the order of the configuration."""
    known = [str(machine.name) for machine in machines]
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known) or f"one of {', '.join(known)}"
            raise UsageError(f"There is no machine {name}", why="it is not in the configuration", hint=hint)
    return [machine for machine in machines if not names or machine.name in names]
