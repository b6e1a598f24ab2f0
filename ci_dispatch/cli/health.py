"""`ci-dispatch health`: ask every machine how it is, all at once."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from ci_dispatch.cli.settings import Settings, configured
from ci_dispatch.core.errors import CiDispatchError, ExitCode, UsageError
from ci_dispatch.core.model import Connection, MachineSpec
from ci_dispatch.run.health import DIMENSIONS, HealthReport, summary

if TYPE_CHECKING:
    from ci_dispatch.machines.supervised import SupervisedMachine


@click.command()
@configured()
@click.option("--json", "as_json", is_flag=True, help="For programs: one document, with --watch one line a round.")
@click.option("--watch", is_flag=True, help="Again and again, over the same connections, until Ctrl-C.")
@click.option("--only", metavar="NAME,...", default="", help=f"Only these: {', '.join(DIMENSIONS)}.")
@click.argument("names", nargs=-1, metavar="[MACHINE]...")
def health(settings: Settings, as_json: bool, watch: bool, only: str, names: tuple[str, ...]) -> int:
    """Ask every machine how it is: reachable, disk, memory, load, clock, tools. Exit code 4 when none is healthy."""
    from ci_dispatch.app.machines import health_policy
    from ci_dispatch.machines import open_machine

    wanted = _dimensions(only)
    policy = health_policy(settings.config, _tools(settings) if not wanted or "tools" in wanted else ())
    machines = [open_machine(spec, policy) for spec in _chosen(settings.config.machines, names)]
    try:
        while True:
            began = time.monotonic()
            reports = ask_all(machines, policy.connect_timeout, wanted)
            _show(reports, as_json=as_json, one_line=watch)
            if not watch:
                return ExitCode.PASSED if any(report.healthy for report in reports) else ExitCode.INCOMPLETE
            time.sleep(max(0.0, settings.config.health.interval - (time.monotonic() - began)))
    finally:
        for machine in machines:
            machine.close()


def ask_all(
    machines: Sequence[SupervisedMachine], seconds: float, only: frozenset[str] = frozenset()
) -> list[HealthReport]:
    """All at once, each within `seconds`; in the order of the machines."""
    reports: dict[int, HealthReport] = {}

    def ask(place: int, machine: SupervisedMachine) -> None:
        reports[place] = machine.examine(seconds, only)

    threads = [threading.Thread(target=ask, args=asked, daemon=True) for asked in enumerate(machines)]
    for thread in threads:
        thread.start()
    if any(machine.spec.connection is Connection.SSH for machine in machines):
        from ci_dispatch.machines.ssh import connection  # noqa: F401  # paramiko loads while the sockets connect
    for thread in threads:
        thread.join()
    return [reports[place] for place in sorted(reports)]


def _show(reports: Sequence[HealthReport], *, as_json: bool, one_line: bool) -> None:
    by_name = {report.machine: report for report in reports}
    if as_json:
        document = {
            "healthy": sum(report.healthy for report in reports),
            "machines": [report.document() for report in reports],
        }
        click.echo(json.dumps(document, ensure_ascii=False, indent=None if one_line else 1))
        return
    width = max((len(report.machine) for report in reports), default=0)
    for report in reports:
        click.echo(report.text(width))
        if report.hint:
            click.echo(f"{' ' * (width + 3)}try: {report.hint}")
    click.echo(summary(by_name))


def _dimensions(only: str) -> frozenset[str]:
    """Raises UsageError for a dimension that does not exist."""
    wanted = frozenset(word.strip() for word in only.split(",") if word.strip())
    unknown = sorted(wanted - set(DIMENSIONS))
    if unknown:
        raise UsageError(
            f"--only {only}", why=f"there is no dimension {', '.join(unknown)}", hint=f"--only {','.join(DIMENSIONS)}"
        )
    return wanted


def _tools(settings: Settings) -> tuple[str, ...]:
    """What the suite needs; nothing where there is no suite: a fleet can be asked how it is before it has one."""
    from ci_dispatch.suites import open_suite

    try:
        return open_suite(settings.config.suite, settings.root).tools()
    except CiDispatchError:
        return ()


def _chosen(machines: Sequence[MachineSpec], names: Sequence[str]) -> list[MachineSpec]:
    """The machines named, in the order of the configuration. Raises UsageError for one that is not in it."""
    from difflib import get_close_matches

    known = [str(machine.name) for machine in machines]
    for name in names:
        if name not in known:
            nearest = get_close_matches(name, known, n=1)
            hint = f"did you mean {nearest[0]}?" if nearest else f"one of {', '.join(known)}"
            raise UsageError(f"There is no machine {name}", why="it is not in the configuration", hint=hint)
    return [machine for machine in machines if not names or machine.name in names]
