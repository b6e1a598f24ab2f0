"""Jobs whose supervisor is dead or frozen: whoever notices ends what is left of them, and says so in their status."""

from __future__ import annotations

import os
import shutil
import signal
from typing import Any
from urllib.parse import quote

from .folder import UNLOCKED_PREFIX, AttemptFolder
from .processes import Children, belonging, count_of, end_members, names_of, processes, started_with

KILLED = "its supervisor was killed (out of memory, or a restart of the machine?)"
UNLOCKED_SECONDS = 600.0  # far longer than any supervisor needs from making its folder to locking it
FROZEN_SECONDS = 2.0  # the least time without progress that means anything
SURELY_FROZEN_SECONDS = 60.0  # however long the lease is: somebody may wait for it to obey
FORGOTTEN_SECONDS = 2 * 3600.0  # longer than any lease: nobody attaches to a job whose supervisor froze so long ago
KEEP_SECONDS = 3 * 24 * 3600.0  # an attempt's files, for a person who looks for them


def frozen_after(lease: float) -> float:
    """Seconds without any progress after which a supervisor counts as frozen: so early that the lease is still kept."""
    return min(SURELY_FROZEN_SECONDS, max(FROZEN_SECONDS, lease * 2 / 3))


def end_abandoned(folder: AttemptFolder) -> tuple[int, dict[str, Any] | None]:
    """End what is left of a job that nobody supervises. Returns how many there were, and the job's status.

    Its lock is taken for that and kept by this process, for others may find the dead supervisor too: 0 and None when
    one of them was faster. A folder that is gone keeps nothing of its job alive. Raises OSError.
    """
    try:
        if not folder.lock():
            return 0, None
    except (FileNotFoundError, NotADirectoryError):
        ended = end_what_is_left(folder, "its files are gone")
        end_supervisors(folder)  # last: until then they keep the lease
        return ended
    status = folder.status()
    return (0, status) if status is not None else end_what_is_left(folder, KILLED)


def end_what_is_left(folder: AttemptFolder, why: str, children: Children | None = None) -> tuple[int, dict[str, Any]]:
    """The same for who holds the lock. Raises OSError when it cannot be seen what runs."""
    left = belonging(folder.mark, children)
    survivors = end_members(folder.mark, children, terminate=1.0)
    reasons = [why]
    if left:
        reasons.append(f"ended {count_of(left)} that it had left running: {names_of(left)}")
    if survivors:
        reasons.append(f"could not be killed: {names_of(survivors)}")
    status = {"ended": "lost", "reason": "; ".join(reasons)}
    try:
        folder.write_status(status)
    except OSError as error:
        status["reason"] += f"; its status could not be written: {error.strerror}"
    folder.remove_temporary_files()
    return len(left), status if left else folder.status() or status  # who was ended by us did not exit by itself


def end_supervisors(folder: AttemptFolder) -> None:
    """Kill those who should supervise a job and do nothing, found by their arguments: its files may be gone.

    What streams it elsewhere has the same arguments, and is ended too: its controller comes back.
    """
    jobs, name = os.path.split(folder.path)
    for pid in started_with("run", os.path.dirname(jobs), name):
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            continue


def sweep(root: str) -> dict[str, Any]:
    """Jobs under `root` whose supervisor is dead are ended; those with a living one belong to a run or end by lease.

    Clears away what nobody will ask for any more. Returns {"ended": processes ended}.
    """
    jobs = os.path.join(root, "jobs")
    ended = 0
    for name in _entries(jobs):
        folder = AttemptFolder(os.path.join(jobs, name))
        if os.path.islink(folder.path):  # a job that took another over: that one's files are its own
            if not os.path.exists(folder.path):
                os.unlink(folder.path)
        elif name.startswith(UNLOCKED_PREFIX):  # its lock is not ours to try: a supervisor may be about to take it
            if folder.age() > UNLOCKED_SECONDS:
                folder.remove()
        elif folder.supervised():
            if folder.age("beat") > FORGOTTEN_SECONDS:
                end_supervisors(folder)  # what is left of it is the next sweep's
        elif folder.status() is None:
            ended += end_abandoned(folder)[0]
        elif folder.age("status") > KEEP_SECONDS:
            shutil.rmtree(folder.path, ignore_errors=True)
    return {"ended": ended + _end_escaped(jobs)}


def _end_escaped(jobs: str) -> int:
    """End processes that carry the mark of a job which is over."""
    ours = quote(jobs) + "/"
    marks: dict[str, int] = {}
    for process in processes().values():
        if process.mark.startswith(ours):
            marks[process.mark] = marks.get(process.mark, 0) + 1
    ended = 0
    for mark, count in marks.items():
        folder = AttemptFolder(os.path.join(jobs, mark[len(ours) :]))
        if not folder.supervised():
            end_members(mark, terminate=1.0)
            ended += count
    return ended


def _entries(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []
