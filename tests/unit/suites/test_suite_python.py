"""Which Python a suite has: its own before anybody else's, and none that cannot run pytest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from ci_dispatch.suites.runner_files import suite_python
from ci_dispatch.suites.runner_files.suite_python import NoSuitePython, find

Asked = Callable[..., list[str]]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A work tree with its tests in `e2e`, and an empty environment."""
    (tmp_path / "tree" / "e2e").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "tree" / "e2e")
    for name in ("CI_DISPATCH_PYTHON", "VIRTUAL_ENV", "CONDA_PREFIX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    return tmp_path / "tree"


@pytest.fixture
def pythons(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Those that have pytest."""
    having: set[str] = set()
    monkeypatch.setattr(suite_python, "has_pytest", lambda python: python in having)
    return having


def environment(folder: Path, name: str = "bin/python") -> str:
    python = folder / name
    python.parent.mkdir(parents=True, exist_ok=True)
    python.touch(0o755)
    return str(python)


def test_the_places_are_looked_at_in_their_order(
    tree: Path, pythons: set[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def told(command: Sequence[str], folder: Path) -> list[str]:
        return [f"/of/{command[0]}"] if folder == tree else []

    monkeypatch.setattr(suite_python, "told", told)
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path / "active"))
    monkeypatch.setenv("CONDA_PREFIX", str(tmp_path / "conda"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'one' / 'bin'}:{tmp_path / 'two' / 'bin'}")
    (tree / "uv.lock").touch()
    (tree / "poetry.lock").touch()
    places = [
        (environment(tree / "e2e" / ".venv"), ""),
        (environment(tree / ".venv"), ""),
        (environment(tree / "venv"), ""),
        ("/of/uv", "as uv.lock says"),
        ("/of/poetry", "as poetry.lock says"),
        (environment(tmp_path / "active"), ""),
        (environment(tmp_path / "conda"), ""),
        (environment(tree / ".tox" / "py313"), "of .tox/py313"),
        (environment(tree / ".tox" / "py312"), "of .tox/py312"),
        (environment(tmp_path / "one", "bin/python3"), ""),
        (environment(tmp_path / "two"), ""),
    ]
    for python, origin in reversed(places):
        pythons.add(python)
        assert find(tree) == (python, origin)
    monkeypatch.setenv("CI_DISPATCH_PYTHON", "/whatever/python")
    assert find(tree) == ("/whatever/python", "")


def test_an_environment_without_pytest_is_passed_over(tree: Path, pythons: set[str]) -> None:
    environment(tree / ".venv")
    pythons.add(environment(tree / ".nox" / "tests"))
    assert find(tree) == (str(tree / ".nox" / "tests" / "bin" / "python"), "of .nox/tests")


def test_the_environment_of_ci_dispatch_itself_is_said(
    tree: Path, pythons: set[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pythons.add(environment(tmp_path / "own"))
    (tmp_path / "own" / "lib" / "python3.12" / "site-packages" / "ci_dispatch-1.0.dist-info").mkdir(parents=True)
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path / "own"))
    assert find(tree) == (str(tmp_path / "own" / "bin" / "python"), "in ci-dispatch's own environment")


def test_where_none_can_run_pytest_all_are_named_and_what_to_do(tree: Path, pythons: set[str]) -> None:
    python = environment(tree / ".venv")
    with pytest.raises(NoSuitePython, match=rf"not installed for {python} or .*; CI_DISPATCH_PYTHON, in `env` of"):
        find(tree)
