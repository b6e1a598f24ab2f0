"""What `ci-dispatch machines` does: show the fleet as it is configured and as earlier runs have shown it to be."""

from __future__ import annotations

from typing import Any

from ci_dispatch.app.run_history import RunHistory
from ci_dispatch.app.settings import Settings
from ci_dispatch.planning.machine_record import MachineRecord, machine_records
from report_merge.render.escape import terminal_name
from report_merge.render.wording import count

_HEADER = ("machine", "cores", "configured", "learnt speed", "workers", "busy", "own failures")


def records(settings: Settings) -> dict[str, Any]:
    """The machines with what is known of them, JSON-able; `notes` say what of the history could not be used."""
    notes: list[str] = []
    samples = RunHistory(settings.runs_folder, settings.config, notes.append).samples(())
    found = machine_records(samples, settings.config.fleet)
    return {"v": 1, "machines": [_as_data(record) for record in found], "notes": notes}


def _as_data(record: MachineRecord) -> dict[str, Any]:
    learnt, spec = record.learnt, record.machine
    return {
        "name": spec.name,
        "cores": spec.cores,
        "configured_speed": spec.speed,
        "learnt_speed": round(learnt.speed, 3) if learnt.tests else None,
        "error": round(learnt.error, 3) if learnt.tests else None,
        "compared_tests": learnt.tests,
        "attempts": record.attempts,
        "workers": record.workers or None,
        "busy": None if record.busy is None else round(record.busy, 3),
        "own_failures": record.own_failures,
    }


def as_text(data: dict[str, Any]) -> str:
    """A line for each machine, and what the figures are made from."""
    rows = [_HEADER, *(_row(machine) for machine in data["machines"])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    if not any(machine["attempts"] for machine in data["machines"]):
        lines.append("Nothing is known of earlier runs yet.")
    return "\n".join([*lines, *(f"note: {terminal_name(note)}" for note in data["notes"])])


def _row(machine: dict[str, Any]) -> tuple[str, ...]:
    learnt = "-"
    if machine["learnt_speed"] is not None:
        tests = count(machine["compared_tests"], "test")
        learnt = f"{machine['learnt_speed']:.2f} ±{100 * machine['error']:.0f} % ({tests})"
    busy = "-" if machine["busy"] is None else f"{machine['busy']:.0%}"
    return (
        terminal_name(machine["name"]), str(machine["cores"] or "?"), f"{machine['configured_speed']:g}", learnt,
        str(machine["workers"] or "?"), busy, str(machine["own_failures"]),
    )  # fmt: skip
