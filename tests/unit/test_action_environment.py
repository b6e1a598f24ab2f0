"""The action's own Python environment: kept between jobs, and never used when it is not as it was made."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).parents[2] / "scripts" / "action_environment.py"


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("action_environment", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def make(_requirements: Path, home: Path) -> None:
        made.append(home)
        (home / "lib").mkdir(parents=True)
        (home / "lib" / "click.py").write_text("VERSION = 8\n")
        (home / "private").mkdir()
        (home / module.PYTHON).symlink_to("/bin/sh")

    made: list[Path] = []
    monkeypatch.setattr(module, "make", make)
    module.made = made  # type: ignore[attr-defined]
    return module


@pytest.fixture
def requirements(tmp_path: Path) -> Path:
    file = tmp_path / "runtime.txt"
    file.write_text("click==8.5.1\n")
    return file


def test_it_is_made_once_for_all_jobs_of_a_machine(environment: ModuleType, requirements: Path, tmp_path: Path) -> None:
    first = environment.ensure(requirements, tmp_path / "tools")
    assert environment.ensure(requirements, tmp_path / "tools") == first
    assert len(environment.made) == 1
    assert [path.name for path in (tmp_path / "tools").iterdir()] == [first.parent.parent.name]


@pytest.mark.parametrize("damage", ["changed", "missing", "added", "link", "cut short"])
def test_a_damaged_one_is_made_anew(environment: ModuleType, requirements: Path, tmp_path: Path, damage: str) -> None:
    python = environment.ensure(requirements, tmp_path / "tools")
    home = python.parent.parent
    match damage:
        case "changed":
            (home / "lib" / "click.py").write_text("import os\n")
        case "missing":
            (home / "lib" / "click.py").unlink()
        case "added":
            (home / "lib" / "sitecustomize.py").write_text("import os\n")
        case "link":
            python.unlink()
            python.symlink_to("/bin/false")
        case "cut short":
            (home / environment.LIST).unlink()
    assert environment.ensure(requirements, tmp_path / "tools") == python
    assert len(environment.made) == 2
    assert environment.sound(home)
    assert len(list((tmp_path / "tools").iterdir())) == 1


def test_other_requirements_and_another_python_have_their_own(
    environment: ModuleType, requirements: Path, tmp_path: Path
) -> None:
    homes = {environment.ensure(requirements, tmp_path / "tools", version) for version in ("3.11", "3.12")}
    requirements.write_text("click==8.6.0\n")
    homes.add(environment.ensure(requirements, tmp_path / "tools", "3.11"))
    assert len(homes) == 3


def test_who_was_slower_uses_what_is_there(
    environment: ModuleType, requirements: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = environment.make

    def slow(given: Path, home: Path) -> None:
        monkeypatch.setattr(environment, "make", make)
        environment.ensure(given, tmp_path / "tools")  # another job, meanwhile
        make(given, home)

    monkeypatch.setattr(environment, "make", slow)
    python = environment.ensure(requirements, tmp_path / "tools")
    assert environment.sound(python.parent.parent)
    assert len(list((tmp_path / "tools").iterdir())) == 1


def test_nothing_is_called_that_a_mac_has_not() -> None:
    action = (FILE.parents[1] / "action.yml").read_text(encoding="utf-8")
    for word in ("mv -T", "readlink", "sha256sum", "realpath", "date -d", "sed -i", "grep -P"):
        assert word not in action, word
