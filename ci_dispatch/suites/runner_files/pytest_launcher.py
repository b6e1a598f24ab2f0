"""Becomes the suite's own Python and runs pytest in it, with the plugin beside this file. Standard library only.

In this very process: signals reach pytest. Exit code 127 and one line say that this machine has no pytest to run.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

HERE = str(Path(__file__).resolve().parent)


def fail(why: str) -> int:
    sys.stderr.write(f"{why}\n")
    return 127


def become_suite_python(arguments: list[str]) -> int:
    """Run this file again in the suite's Python; returns only when that cannot be done."""
    from suite_python import NoSuitePython, find  # noqa: PLC0415  it lies beside this file

    try:
        python, origin = find(Path(os.environ.get("CI_DISPATCH_TREE", ".")))
        os.environ["CI_DISPATCH_LAUNCHED"] = f"the tests run with {python}, {origin}" if origin else ""
        os.execvp(python, [python, __file__, *arguments])  # noqa: S606  no shell is what we want
    except NoSuitePython as error:
        return fail(str(error))
    except OSError as error:
        return fail(f"{python} cannot be started: {error}")


def main(arguments: list[str]) -> int:
    if "CI_DISPATCH_LAUNCHED" not in os.environ:
        return become_suite_python(arguments)
    if find_spec("pytest") is None:
        return fail(f"pytest is not installed for {sys.executable}, which CI_DISPATCH_PYTHON names")
    for name in [name for name in os.environ if name.startswith("PYTEST_XDIST_")]:
        del os.environ[name]  # of a pytest around us
    sys.path[:] = [HERE, *(entry for entry in sys.path if entry != HERE)]
    sys.path.append(str(Path.cwd()))  # as `python -m pytest` would, but behind everything that is installed
    import pytest  # noqa: PLC0415  only now is it known to be there
    from pytest_reports import write_event  # noqa: PLC0415

    note = os.environ.pop("CI_DISPATCH_LAUNCHED")  # a test that calls ci-dispatch starts from the beginning
    if note and "CI_DISPATCH_TESTS" not in os.environ:
        write_event("note", message=note)
    return int(pytest.main(["-p", "pytest_plugin", *arguments]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
