"""End what earlier controllers left behind, and clear away what nobody will ask for any more."""

from __future__ import annotations

import os
import shutil
import time
from typing import Any
from urllib.parse import quote

from .attach import bury
from .folder import NEWBORN, Folder
from .processes import end_members, processes

NEWBORN_SECONDS = 600.0  # far longer than any supervisor needs from making its folder to locking it
KEEP_SECONDS = 3 * 24 * 3600.0  # an attempt's files, for a person who looks for them


def sweep(root: str) -> dict[str, Any]:
    """Jobs under `root` whose supervisor is dead are ended; those with a living one belong to a run or end by lease.

    Returns {"ended": processes ended, "running": jobs that another controller holds}.
    """
    jobs = os.path.join(root, "jobs")
    ended = running = 0
    for name in _entries(jobs):
        folder = Folder(os.path.join(jobs, name))
        if name.startswith(NEWBORN):  # its lock is not ours to try: a supervisor may be about to take it
            if _age(folder.path) > NEWBORN_SECONDS:
                folder.remove()
        elif folder.supervised():
            running += 1
        elif folder.status() is None:
            ended += bury(folder)
        elif _age(folder.file("status")) > KEEP_SECONDS:
            shutil.rmtree(folder.path, ignore_errors=True)
    ended += _end_escaped(jobs)
    return {"ended": ended, "running": running}


def _end_escaped(jobs: str) -> int:
    """Processes that carry the mark of a job which is over."""
    ours = quote(jobs) + "/"
    marks: dict[str, int] = {}
    for process in processes().values():
        if process.mark.startswith(ours):
            marks[process.mark] = marks.get(process.mark, 0) + 1
    ended = 0
    for mark, count in marks.items():
        folder = Folder(os.path.join(jobs, mark[len(ours) :]))
        if not folder.supervised():
            end_members(mark, terminate=1.0)
            ended += count
    return ended


def _entries(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []


def _age(path: str) -> float:
    try:
        return time.time() - os.stat(path).st_mtime
    except OSError:
        return 0.0
