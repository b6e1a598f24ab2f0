"""The floors of docs/architecture.md hold: a module imports only from lower floors, wings never from each other."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WINGS = ("fleets", "history", "machines", "suites", "reporters")

# Longest prefix wins. A module may import from its own floor only inside its own room.
FLOORS = {
    "report_merge": -1,
    "ci_dispatch": 0,  # the package itself: the version
    "ci_dispatch.core": 0,
    "ci_dispatch.planning": 1,
    "ci_dispatch.config": 1,
    "ci_dispatch.run": 2,
    **{f"ci_dispatch.{wing}": 3 for wing in WINGS},
    "ci_dispatch.demo": 3,
    "ci_dispatch.app": 4,
    "ci_dispatch.cli": 5,
    "ci_dispatch.__main__": 6,
}
PURE_REPORT_MERGE = (
    "report_merge.baseline",
    "report_merge.model",
    "report_merge.failures",
    "report_merge.sanitize",
)  # what floors 0 to 2 may use
THIRD_PARTY_FILES = {  # one library behind one file or folder
    "click": "ci_dispatch/cli",
    "paramiko": "ci_dispatch/machines/ssh",
    "ruamel": "ci_dispatch/fleets/actions/check/workflow_file.py",
    "github": "ci_dispatch/fleets/actions/rest/client.py",
    "slack_sdk": "ci_dispatch/reporters/slack",
    "rich": "ci_dispatch/reporters/terminal",
    "starlette": "ci_dispatch/reporters/dashboard",
    "uvicorn": "ci_dispatch/reporters/dashboard",
    "opentelemetry": "ci_dispatch/reporters",
    "sqlite3": "ci_dispatch/history/store.py",
}


def modules(package: str) -> Iterator[tuple[str, Path]]:
    for path in sorted((ROOT / package).rglob("*.py")):
        relative = path.relative_to(ROOT)
        if not {"suite", "runner_files", "node_modules"} & set(relative.parts[1:-1]):  # what test runners load
            yield ".".join(relative.with_suffix("").parts).removesuffix(".__init__"), path


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports(path: Path) -> tuple[str, ...]:
    found: list[str] = []
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            found += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found += (
                f"{node.module}.{alias.name}" if module_exists(f"{node.module}.{alias.name}") else node.module
                for alias in node.names
            )
    return tuple(found)


@cache
def module_exists(name: str) -> bool:
    path = ROOT / Path(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def floor(module: str) -> int:
    return max(((len(prefix), level) for prefix, level in FLOORS.items() if f"{module}.".startswith(f"{prefix}.")))[1]


ALL = [pytest.param(name, path, id=name) for name, path in modules("ci_dispatch")]


@pytest.mark.parametrize(("name", "path"), ALL)
def test_a_module_imports_only_from_lower_floors(name: str, path: Path) -> None:
    own = 5 if name == "ci_dispatch" else floor(name)  # the package's own face is a door: it imports what is asked for
    for imported in imports(path):
        if not imported.startswith("ci_dispatch"):
            continue
        same_room = imported.split(".")[:2] == name.split(".")[:2]
        level = floor(imported)
        assert level < own or (level == own and same_room), f"{name} imports {imported}"


@pytest.mark.parametrize(("name", "path"), ALL)
def test_below_the_wings_there_is_no_third_party_library_and_only_pure_report_merge(name: str, path: Path) -> None:
    if floor(name) >= 3 or name == "ci_dispatch.core.codec":
        return
    for imported in imports(path):
        top = imported.partition(".")[0]
        assert top in sys.stdlib_module_names or top in ("ci_dispatch", "report_merge"), f"{name} imports {imported}"
        if top == "report_merge":
            assert imported.startswith(PURE_REPORT_MERGE), f"{name} imports {imported}"


def test_each_library_lives_behind_one_file() -> None:
    for name, path in modules("ci_dispatch"):
        for imported in imports(path):
            home = THIRD_PARTY_FILES.get(imported.partition(".")[0])
            at_home = home is None or str(path.relative_to(ROOT)).startswith(home)
            assert at_home, f"{name} imports {imported}, which belongs to {home}"


def test_report_merge_stands_alone() -> None:
    for name, path in modules("report_merge"):
        assert not any(imported.startswith("ci_dispatch") for imported in imports(path)), name


def test_no_file_has_outgrown_its_room() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for package in ("ci_dispatch", "report_merge")
        for _, path in modules(package)
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert not long


def test_no_room_for_everything() -> None:
    vague = {"utils", "util", "helpers", "helper", "manager", "common", "misc"}
    for package in ("ci_dispatch", "report_merge", "tests", "benchmarks"):
        for path in (ROOT / package).rglob("*.py"):
            if "node_modules" not in path.parts:
                assert path.stem not in vague, path


def test_no_two_public_classes_share_a_name() -> None:
    names: dict[str, list[str]] = {}
    for package in ("ci_dispatch", "report_merge"):
        for path in sorted((ROOT / package).rglob("*.py")):  # what test runners load too
            for node in parsed(path).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    names.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert {name: where for name, where in names.items() if len(where) > 1} == {}
