"""report-merge as processes: what becomes of workers and of outputs when somebody ends one of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from report_merge.merge.workers import FORKS

DEADLINE = 30  # seconds
WORKING = """
import os, time
from report_merge.merge.workers import on_each

def work(number):
    os.write(1, b"works\\n")
    return number

for number in on_each(work, range(8), 2):
    time.sleep(600)
"""


@pytest.mark.skipif(not FORKS, reason="there are no workers")
def test_workers_end_with_the_process_that_forked_them() -> None:
    """They hold its output open: that it ends says that they have."""
    with subprocess.Popen([sys.executable, "-c", WORKING], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"works\n"
        process.kill()
        process.communicate(timeout=DEADLINE)


def test_one_that_is_terminated_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text('<testsuite name="s"><testcase name="t"/></testsuite>', encoding="utf-8")
    os.mkfifo(tmp_path / "pipe")  # it waits for a reader
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    command = [sys.executable, "-m", "report_merge", str(tmp_path / "a.xml"), "-o", str(tmp_path / "pipe")]
    with subprocess.Popen(
        command, env=os.environ | {"TMPDIR": str(temporary)}, stderr=subprocess.PIPE, text=True
    ) as process:
        end = time.monotonic() + DEADLINE
        while not any(temporary.iterdir()) and time.monotonic() < end:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=DEADLINE)
    assert (process.returncode, told.strip()) == (
        130,
        "report-merge: interrupted; each output is whole, or as it was",
    )
    assert list(temporary.iterdir()) == []
