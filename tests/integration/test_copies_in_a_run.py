"""A machine that hangs at the end of a real run: another one runs the last test too, and nothing is left of either."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.fleet.recorder import marked
from tests.integration.whole_run import IMPATIENT, Whole, ci_dispatch, repository

pytestmark = pytest.mark.slow

SOURCE = """
import os, time
import pytest

@pytest.mark.parametrize("n", range(4))
def test_quick(n): pass

{mark}
def test_last():
    with open("../ran-" + os.environ["NAME"], "a") as file: file.write("x")
    if os.environ["NAME"] == "stuck": time.sleep(300)
"""


def run_with(folder: Path, mark: str = "", rest: str = "") -> Whole:
    """Two machines, of which one hangs in the test that it is given."""
    machines = "".join(
        f'[[machine]]\nname = "{name}"\nconnection = "local"\ncores = 1\nspeed = {speed}\nworkdir = "{folder}/{name}"\n'
        f'env = {{ NAME = "{name}" }}\n'
        for name, speed in (("stuck", 2.0), ("well", 1.0))
    )
    suite = f'runner = "pytest"\nenv = {{ CI_DISPATCH_PYTHON = "{sys.executable}" }}\nsplit = "test"'
    tree = repository(folder / "tree", suite, rest=IMPATIENT + rest, machines=machines)
    (tree / "pytest.ini").write_text("[pytest]\n")
    (tree / "test_it.py").write_text(SOURCE.format(mark=mark))
    return ci_dispatch("run", cwd=tree)


def test_a_test_that_hangs_on_one_machine_passes_on_another(tmp_path: Path) -> None:
    ran = run_with(tmp_path)
    assert ran.code == 0, ran.out + ran.err
    assert set(ran.verdicts().values()) == {"passed"}
    kinds = {attempt["kind"]: attempt for attempt in ran.run["attempts"]}
    assert kinds["copy"]["machine"] == "well"
    assert (tmp_path / "ran-stuck").read_text() == (tmp_path / "ran-well").read_text() == "x"
    assert ran.run["machines"][0]["condition"] == "idle"
    assert not marked(tmp_path)


def test_a_test_with_side_effects_does_not(tmp_path: Path) -> None:
    mark = "@pytest.mark.ci_dispatch(side_effects=True)"
    ran = run_with(tmp_path, mark, 'shard_timeout = "25s"\n')
    assert (tmp_path / "ran-stuck").exists()
    assert "copy" not in {attempt["kind"] for attempt in ran.run["attempts"]}
    assert not marked(tmp_path)
