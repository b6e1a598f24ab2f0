"""docs/supervisor-protocol.md and the code say the same: kinds of frames, commands, bytes, states, seconds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ci_dispatch.core.model import Ended
from ci_dispatch.machines import job_follower
from ci_dispatch.machines.supervisor import (
    abandoned,
    folder,
    job,
    main,
    processes,
    protocol,
    tree_copy,
    trees,
    watchdog,
)
from ci_dispatch.run.ports import JobEnd

DOCUMENT = (Path(__file__).parents[3] / "docs" / "supervisor-protocol.md").read_text(encoding="utf-8")
SUPERVISOR = {module.__name__: Path(module.__file__ or "").read_text() for module in (main, processes, folder, trees)}


def table(heading: str, header: str) -> list[list[str]]:
    """The rows of a table by the first words of its header, without code marks."""
    section = DOCUMENT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = section[section.index(f"| {header} |") :].split("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [[re.sub(r"^`([^`]*)`$", r"\1", cell) for cell in row] for row in rows]


def constants(module: object, suffix: str = "") -> dict[str, object]:
    return {name: value for name, value in vars(module).items() if name.isupper() and name.endswith(suffix)}


def test_frames_and_bytes() -> None:
    frames = {name: kind for kind, name, _ in table("Frames", "kind")}
    sent = {name: byte for byte, name, _ in table("While a job runs", "byte")}
    one_byte = {
        name: value.decode()
        for name, value in constants(protocol).items()
        if isinstance(value, bytes) and len(value) == 1
    }
    assert one_byte == {**frames, **sent}
    assert len(set(frames.values())) == len(frames)
    assert len(set(sent.values())) == len(sent)


def test_commands() -> None:
    assert [row[0] for row in table("Commands", "command")] == list(main.COMMANDS)


def test_fields_of_requests_and_specifications() -> None:
    requests = " ".join(row[1] for row in table("Commands", "command"))
    used = {name for text in SUPERVISOR.values() for name in re.findall(r'request(?:\.get\(|\[)"(\w+)"', text)}
    assert used - {"seconds"} == set(re.findall(r"`(\w+)`", requests))
    specification = re.search(r"- `spec` has (.*?)\n- ", DOCUMENT, re.DOTALL)
    assert specification
    read = set(re.findall(r'spec(?:\.get\(|\[)"(\w+)"', Path(job.__file__).read_text()))
    assert read == set(re.findall(r"`(\w+)`", specification[1]))


def test_states_and_the_fields_of_a_status() -> None:
    assert {row[0] for row in table("States of an attempt", "ended")} == {ended.value for ended in Ended}
    fields = re.search(r"The status has (.*)\.", DOCUMENT)
    assert fields
    assert re.findall(r"`(\w+)`", fields[1]) == list(JobEnd.__dataclass_fields__)


def test_deadlines() -> None:
    written = {name: float(seconds) for name, seconds, _ in table("Leases and deadlines", "name")}
    coded: dict[str, object] = {}
    for module in (job_follower, protocol, main, processes, abandoned, watchdog, trees, tree_copy):
        coded |= {name: value for name, value in constants(module, "_SECONDS").items() if not name.startswith("_")}
    del coded["POLL_SECONDS"]
    assert written == coded


@pytest.mark.parametrize("name", ["out.log", "lock", "lease", "beat", "cancel", "cancel.now", "status", ".new-"])
def test_names_of_files(name: str) -> None:
    assert f"`{name}`" in DOCUMENT
    assert f'"{name}"' in SUPERVISOR[folder.__name__]


def test_both_ends_and_the_guide_point_to_the_document() -> None:
    root = Path(__file__).parents[3]
    for path in (
        "ci_dispatch/machines/supervisor/__init__.py",
        "ci_dispatch/machines/supervisor/protocol.py",
        "ci_dispatch/machines/supervisor/main.py",
        "ci_dispatch/machines/supervisor_client.py",
        "ci_dispatch/machines/command_lines.py",
        "docs/machines.md",
    ):
        assert "supervisor-protocol.md" in (root / path).read_text(encoding="utf-8"), path
