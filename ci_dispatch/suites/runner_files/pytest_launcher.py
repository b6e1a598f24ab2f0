"""Becomes the suite's own Python and runs pytest in it, with the plugin beside this file. Standard library only.

In this very process: signals reach pytest. Exit code 127 and one line say that this machine has no pytest to run.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

HERE = str(Path(__file__).resolve().parent)


def own_python() -> str:
    """CI_DISPATCH_PYTHON, or a virtual environment beside the tests or at the root, or an active one, or this one."""
    root = os.environ.get("CI_DISPATCH_TREE", ".")
    folders = [Path(folder, name) for folder in (".", root) for name in (".venv", "venv")]
    if "VIRTUAL_ENV" in os.environ:
        folders.append(Path(os.environ["VIRTUAL_ENV"]))
    found = [str(folder.absolute() / "bin" / "python") for folder in folders if (folder / "bin" / "python").exists()]
    return os.environ.get("CI_DISPATCH_PYTHON") or (found[0] if found else sys.executable)


def options() -> list[str]:
    """What depends on the packages this machine has."""
    given = ["-p", "pytest_plugin"]
    if find_spec("xdist") and "CI_DISPATCH_WORKERS" in os.environ:
        workers = int(os.environ["CI_DISPATCH_WORKERS"])
        # When a worker crashes, some xdist schedulers wait for ever: github.com/pytest-dev/pytest-xdist/issues/1327.
        # Without restarts the invocation ends instead, and the tests without a result run again elsewhere.
        given += ["-n", str(workers if workers > 1 else 0), "--max-worker-restart=0"]
    if find_spec("pytest_cov"):
        given += ["--cov-fail-under=0"]  # a part of a suite never covers everything
    return given


def fail(why: str) -> int:
    sys.stderr.write(f"{why}\n")
    return 127


def main(arguments: list[str]) -> int:
    python = own_python()
    if python != sys.executable and "CI_DISPATCH_LAUNCHED" not in os.environ:
        os.environ["CI_DISPATCH_LAUNCHED"] = "1"
        try:
            os.execv(python, [python, __file__, *arguments])  # noqa: S606  no shell is what we want
        except OSError as error:
            return fail(f"{python} cannot be started: {error}")
    if find_spec("pytest") is None:
        return fail(f"pytest is not installed for {python}")
    import pytest  # noqa: PLC0415  only now is it known to be there

    sys.path[:] = [HERE, *(entry for entry in sys.path if entry != HERE)]
    sys.path.append(str(Path.cwd()))  # as `python -m pytest` would, but behind everything that is installed
    return int(pytest.main([*options(), *arguments]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
