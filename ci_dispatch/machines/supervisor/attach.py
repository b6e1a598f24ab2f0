"""Show the controller a job: its output and live file from given bytes on, then its status; bring its wishes back."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from . import channel
from .folder import OUTPUT, Folder
from .job import TICK, mark_of
from .processes import belonging, end_members

BEAT_SECONDS = 1.0


def attach(folder: Folder, *, live: str, output_offset: int, live_offset: int, lease: float) -> dict[str, Any]:
    """Stream until the job has ended; returns its status. Raises ConnectionError when the controller is gone.

    Without a sign of the controller for as long as the lease this process ends by SIGALRM, even when it is stuck in
    writing: sshd keeps it alive for minutes after a connection has died.
    """
    tails = (_Tail(folder, OUTPUT, b"o", output_offset), _Tail(folder, live, b"l", live_offset))
    patience = int(lease) + 5
    signal.alarm(patience)
    folder.renew_lease()
    last_beat = 0.0
    while True:
        supervised = folder.supervised()  # asked before the status is: it writes the status, then goes
        status = folder.status()
        more = [tail.send_piece() for tail in tails]
        if status is None and not supervised:
            bury(folder)
            continue
        if status is not None and not any(more):
            return status
        if time.monotonic() - last_beat >= BEAT_SECONDS:
            last_beat = time.monotonic()
            channel.send(b"b")
        wishes = channel.wait_for_input(0 if any(more) else TICK)  # between pieces: a backlog must not end the lease
        if wishes is None:
            raise ConnectionError("the controller is gone")
        if wishes:
            signal.alarm(patience)
            folder.renew_lease()
        if channel.KILL in wishes:
            folder.cancel(now=True)
        elif channel.CANCEL in wishes:
            folder.cancel(now=False)


def bury(folder: Folder) -> int:
    """End what is left of a job whose supervisor was killed, and say so in its status. Returns how many there were.

    Its lock is taken for that and kept by this process, for others may find the dead supervisor too.
    """
    if not folder.lock() or folder.status() is not None:
        return 0
    mark = mark_of(folder.path)
    left = belonging(mark)
    survivors = end_members(mark, terminate=1.0)
    reason = "its supervisor was killed (out of memory, or a restart of the machine?)"
    if survivors:
        reason += "; could not be killed: " + ", ".join(sorted(set(survivors.values())))
    folder.write_status({"ended": "lost", "reason": reason, "leaked": len(left)})
    folder.remove_temporary_files()
    return len(left)


class _Tail:
    """A growing file, sent from an offset on."""

    def __init__(self, folder: Folder, name: str, kind: bytes, offset: int) -> None:
        self._path, self._kind, self._offset = folder.file(name), kind, offset
        self._descriptor = -1

    def send_piece(self) -> bool:
        """Whether there was something to send."""
        if self._descriptor < 0:
            try:
                self._descriptor = os.open(self._path, os.O_RDONLY)
            except OSError:  # the live file appears when the runner's reporter begins
                return False
        data = os.pread(self._descriptor, channel.CHUNK, self._offset)
        if data:
            channel.send(self._kind, data, self._offset)
            self._offset += len(data)
        return bool(data)
