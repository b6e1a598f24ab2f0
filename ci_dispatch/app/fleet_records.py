"""What `ci-dispatch machines` does: show the fleet as it is configured and as earlier runs have shown it to be."""

from __future__ import annotations

from typing import Any

from ci_dispatch.app.run_history import file_in
from ci_dispatch.app.settings import Settings
from ci_dispatch.app.table import table
from ci_dispatch.core.model import Test, UnitId
from ci_dispatch.history.store import HistoryStore
from ci_dispatch.planning.durations import learn_durations
from ci_dispatch.planning.machine_record import MachineRecord, machine_records
from ci_dispatch.planning.samples import DurationSample
from ci_dispatch.planning.speeds import learn_speeds
from ci_dispatch.planning.workers import REMEMBERED, tuned_workers
from report_merge.render.escape import terminal_name
from report_merge.render.wording import count

_HEADER = ("machine", "cores", "configured", "learnt speed", "start-up", "workers", "busy", "own failures")


def records(settings: Settings) -> dict[str, Any]:
    """The machines with what is known of them, JSON-able. Raises what `HistoryStore` does."""
    file, fleet = file_in(settings.runs_folder), settings.config.fleet
    samples = more = list[DurationSample]()
    if file.exists():
        with HistoryStore(file) as store:
            samples = store.samples()
            more = store.samples(REMEMBERED) if any(machine.tune_workers for machine in fleet) else samples
    tests = {one.test: Test(id=one.test, unit=UnitId(one.test), file=one.file, project=one.project) for one in more}
    durations = learn_durations(tests.values(), more, learn_speeds(more, fleet))
    found = machine_records(samples, fleet, tuned_workers(more, durations, fleet))
    return {"v": 1, "machines": [_as_data(record) for record in found]}


def _as_data(record: MachineRecord) -> dict[str, Any]:
    learnt, spec = record.learnt, record.machine
    return {
        "name": spec.name,
        "cores": spec.cores,
        "configured_speed": spec.speed,
        "learnt_speed": round(learnt.speed, 3) if record.attempts else None,
        "error": round(learnt.error, 3) if record.attempts else None,
        "compared_tests": learnt.tests,
        "attempts": record.attempts,
        "start_up": record.start_up if record.start_up is None else round(record.start_up, 2),
        "workers": record.workers or None,
        "next_workers": record.next_workers or None,
        "busy": None if record.busy is None else round(record.busy, 3),
        "own_failures": record.own_failures,
    }


def as_text(data: dict[str, Any]) -> str:
    """A line for each machine, and what the figures are made from."""
    lines = list(table([_HEADER, *map(_row, data["machines"])], left=1))
    if not any(machine["attempts"] for machine in data["machines"]):
        lines.append("Nothing is known of earlier runs yet.")
    return "\n".join(lines)


def _row(machine: dict[str, Any]) -> tuple[str, ...]:
    learnt = "-"
    if machine["learnt_speed"] is not None:
        tests = count(machine["compared_tests"], "test")
        learnt = f"{machine['learnt_speed']:.2f} ±{100 * machine['error']:.0f} % ({tests})"
    workers = str(machine["workers"] or "?")
    if machine["next_workers"] and machine["next_workers"] != machine["workers"]:
        workers += f", next {machine['next_workers']}"
    start_up = "-" if machine["start_up"] is None else f"{machine['start_up']:.1f} s"
    busy = "-" if machine["busy"] is None else f"{machine['busy']:.0%}"
    return (
        terminal_name(machine["name"]), str(machine["cores"] or "?"), f"{machine['configured_speed']:g}", learnt,
        start_up, workers, busy, str(machine["own_failures"]),
    )  # fmt: skip
