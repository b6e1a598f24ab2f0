"""Runs a command and copies the JUnit file it writes to where ci-dispatch looks for it. Standard library only.

    command_launcher.py WRITTEN WANTED COMMAND ...

A file that lies at WRITTEN before is of an earlier run: it is removed, or it would be taken for this run's.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path


def main(written: Path, wanted: Path, command: list[str]) -> int:
    written.unlink(missing_ok=True)
    try:
        process = subprocess.Popen(command)
    except OSError as error:
        sys.stderr.write(f"{command[0]} cannot be started: {error}\n")
        return 127
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command gets the signal itself: we wait for what it still writes
    signal.signal(signal.SIGTERM, lambda number, _frame: process.send_signal(number))
    code = process.wait()
    if written.exists():
        shutil.copyfile(written, wanted)
    return 128 - code if code < 0 else code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
