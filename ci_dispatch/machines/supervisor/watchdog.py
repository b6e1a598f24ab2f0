"""The parent of a job's supervisor: when that dies or freezes, it ends the job. It depends on no file.

On Linux the orphans of a dead supervisor become its children, so not even a daemon without an environment escapes it.
"""

from __future__ import annotations

import mmap
import os
import signal
import struct
import time

from . import abandoned
from .folder import AttemptFolder
from .processes import KILL_SECONDS, Children, signal_group
from .protocol import HEARTBEAT_SECONDS

_POLL_SECONDS = 0.1
LAST_SECONDS = 600.0  # for the status and the temporary files of a job that has ended, on whatever disk
BLIND_SECONDS = 60.0  # while the system does not say which processes there are


class Progress:
    """What a supervisor tells its watchdog, in memory that both share; everybody else sees its folder's beats."""

    _NUMBERS = struct.Struct("=QqH")  # how often it went on, the root of the job, 1 when all of it has ended
    _TEXT = slice(_NUMBERS.size, 2000)

    def __init__(self, folder: AttemptFolder) -> None:
        self._folder = folder
        self._watchdog = os.getpid()
        self._page = mmap.mmap(-1, mmap.PAGESIZE)
        self._count, self._root, self._beaten = 0, 0, 0.0

    def advance(self, root: int = 0, *, over: bool = False) -> None:
        """The supervisor goes on; with the `root` of its job once there is one, `over` when all of it has ended."""
        self._count, self._root = self._count + 1, root or self._root
        self._NUMBERS.pack_into(self._page, 0, self._count, self._root, over)
        now = time.monotonic()
        if now - self._beaten >= HEARTBEAT_SECONDS:
            self._beaten = now
            self._folder.beat()

    def wake_watchdog(self) -> None:
        """Somebody may have frozen it, and it has to see us end."""
        if os.getppid() == self._watchdog:
            os.kill(self._watchdog, signal.SIGCONT)

    def fail(self, why: str) -> None:
        text = why.encode("utf-8", "replace")[: self._TEXT.stop - self._TEXT.start]
        self._page[self._TEXT.start : self._TEXT.start + len(text)] = text

    @property
    def seen(self) -> tuple[int, int, bool]:
        """For the watchdog: a number that changes as the supervisor goes on, the root or 0, whether all has ended."""
        count, root, over = self._NUMBERS.unpack_from(self._page, 0)
        return count, root, bool(over)

    @property
    def failure(self) -> str:
        return self._page[self._TEXT].rstrip(b"\0").decode("utf-8", "replace")


def watch(supervisor: int, progress: Progress, folder: AttemptFolder, lease: float) -> None:
    """Until the supervisor has ended. Whatever it ended of, when this returns nothing of the job runs any more."""
    ended_well, frozen = _wait_for(supervisor, progress, abandoned.frozen_after(lease))
    if ended_well:
        return
    why = f"its supervisor did nothing for {frozen:.0f} s" if frozen else progress.failure or abandoned.KILLED
    children = Children(progress.seen[1])
    until = time.monotonic() + BLIND_SECONDS
    while time.monotonic() < until:
        try:
            abandoned.end_what_is_left(folder, why, children)
        except BaseException:  # noqa: BLE001  # no file descriptors, no memory: there may be some in a moment
            signal_group(children.root, signal.SIGKILL)
            time.sleep(_POLL_SECONDS)
        else:
            return


def _wait_for(supervisor: int, progress: Progress, patience: float) -> tuple[bool, float]:
    """Whether it ended all of its job, and for how long it had been frozen when it was killed for that, else 0.

    Time in which this process stood still too (a computer that slept) is nobody's.
    """
    count, still, last, killed = -1, 0.0, time.monotonic(), 0.0
    while True:
        pid, status = os.waitpid(supervisor, os.WNOHANG)
        if pid:
            return status == 0, killed
        now = time.monotonic()
        still, last = still + min(now - last, 1.0), now
        seen, _, over = progress.seen
        if seen != count:
            count, still = seen, 0.0
        if killed and still > killed + KILL_SECONDS:  # not even KILL ends it: its job does not have to wait for that
            return False, killed
        if not killed and still > (LAST_SECONDS if over else patience):
            killed = still
            os.kill(supervisor, signal.SIGKILL)
        time.sleep(_POLL_SECONDS)
