"""Which Python a suite has: the first of the places below that can run pytest. Standard library only.

1. CI_DISPATCH_PYTHON, whatever it is
2. a virtual environment `.venv` or `venv`, beside the tests or at the root of the work tree
3. what the project's lock file says (`uv.lock`, `poetry.lock`, `pdm.lock`, `Pipfile.lock`)
4. the active environment (VIRTUAL_ENV, CONDA_PREFIX)
5. environments of tox and nox
6. any `python3` or `python` of the PATH

ci-dispatch's own environment is none of the suite's unless pytest is in it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ENVIRONMENTS = (".venv", "venv")
LOCK_SECONDS = 600.0  # uv makes the environment where there is none
ASK_SECONDS = 60.0
TELL = "import sys; print(sys.executable)"
LOCKS = {
    "uv.lock": ("uv", "run", "--frozen", "python", "-c", TELL),
    "poetry.lock": ("poetry", "run", "python", "-c", TELL),
    "pdm.lock": ("pdm", "run", "python", "-c", TELL),
    "Pipfile.lock": ("pipenv", "run", "python", "-c", TELL),
}
HAS_PYTEST = "import sys, importlib.util; sys.exit(importlib.util.find_spec('pytest') is None)"


class NoSuitePython(Exception):
    """No Python here can run pytest; the text says which were asked and what to do."""


def find(root: Path) -> tuple[str, str]:
    """A Python, and where it is from; that is empty where nobody could expect another.

    Raises NoSuitePython.
    """
    if os.environ.get("CI_DISPATCH_PYTHON"):
        return os.environ["CI_DISPATCH_PYTHON"], ""
    asked = []
    for python, origin in candidates(root):
        if python in asked:
            continue
        if has_pytest(python):
            return python, origin or ("in ci-dispatch's own environment" if has_ci_dispatch(python) else "")
        asked.append(python)
    raise NoSuitePython(
        f"pytest is not installed for {' or '.join(asked)}; CI_DISPATCH_PYTHON, in `env` of the suite or of a machine, "
        "names the suite's Python where it is another"
    )


def candidates(root: Path) -> Iterator[tuple[str, str]]:
    """Pythons to be asked, each with where it is from where nobody could expect it."""
    folders = [Path.cwd(), root.absolute()]
    environments = [folder / name for folder in folders for name in ENVIRONMENTS]
    yield from (found for environment in environments for found in existing(environment))
    locked = [folder / lock for folder in folders for lock in LOCKS]
    yield from (
        (line, f"as {lock.name} says")
        for lock in locked
        if lock.is_file()
        for line in told(LOCKS[lock.name], lock.parent)
    )
    active = [Path(os.environ[name]) for name in ("VIRTUAL_ENV", "CONDA_PREFIX") if os.environ.get(name)]
    yield from (found for environment in active for found in existing(environment))
    kept = [folder / name for folder in folders for name in (".tox", ".nox")]
    tests = [environment for folder in kept for environment in sorted(folder.glob("*"), reverse=True)]  # newest first
    yield from (found for each in tests for found in existing(each, f"of {each.parent.name}/{each.name}"))
    on_path = [str(Path(folder, name)) for folder in os.get_exec_path() for name in ("python3", "python")]
    yield from ((python, "") for python in [*on_path, sys.executable] if os.access(python, os.X_OK))


def existing(environment: Path, origin: str = "") -> Iterator[tuple[str, str]]:
    python = environment / "bin" / "python"
    if python.exists():
        yield str(python), origin


def told(command: Sequence[str], folder: Path) -> list[str]:
    """What a project's own tool says its Python is; nothing when the tool is not here or knows none."""
    try:
        ran = subprocess.run(
            command, cwd=str(folder), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=LOCK_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return ran.stdout.decode(errors="replace").split("\n")[-2:-1]


def has_pytest(python: str) -> bool:
    try:
        asked = subprocess.run([python, "-c", HAS_PYTEST], check=False, stdin=subprocess.DEVNULL, timeout=ASK_SECONDS)
    except (OSError, subprocess.SubprocessError):
        return False
    return asked.returncode == 0


def has_ci_dispatch(python: str) -> bool:
    return any(Path(python).parent.parent.glob("lib/python*/site-packages/ci_dispatch*"))
