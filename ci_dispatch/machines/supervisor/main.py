"""The commands of docs/supervisor-protocol.md. Arguments are plain words, data comes on stdin."""

from __future__ import annotations

import io
import os
import signal
import tarfile
import time
from typing import Any

from . import abandoned, processes, protocol, trees
from .folder import OUTPUT_FILE, AttemptFolder
from .job import POLL_SECONDS, start

REQUEST_SECONDS = 60  # for the whole command, until the request has said how long it may take
PATIENCE_SECONDS = 5  # beyond the controller's own deadline
_WATCHED_SECONDS = 1.5  # longer than between two beats, shorter than the controller's silence

_login: list[int] = []  # the umask that the login gave us: a job has it, our own files do not
_UNKNOWN_JOB = "the machine does not know this job any more: was its disk cleared?"


def main(arguments: list[str]) -> int:
    """NONCE COMMAND ROOT NAME; exits 0 whenever it could say what happened."""
    _login.append(os.umask(0o077))  # what we write is ours alone
    processes.reset_signals()  # SIGALRM among them: this process must end whatever it has inherited
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # an error of the write, not the end of us
    nonce, command, root, name = arguments
    signal.alarm(REQUEST_SECONDS)
    protocol.greet(nonce)
    try:
        os.makedirs(root, mode=0o700, exist_ok=True)
        request = protocol.receive_json()
        if request is not None:
            signal.alarm(int(request["seconds"]) + PATIENCE_SECONDS)
            protocol.send_result(COMMANDS[command](root, name, request))
    except ConnectionError:  # the controller is gone: nobody to answer
        return 0
    except (OSError, EOFError, ValueError, tarfile.TarError) as error:
        _send_error(error)
    return 0


def _send_error(error: Exception) -> None:
    try:
        if isinstance(error, OSError) and error.strerror:
            where = f": {error.filename}" if error.filename else ""
            protocol.send_error(f"{error.strerror}{where}")
        else:
            protocol.send_error(str(error) or type(error).__name__)
    except OSError:
        return


def _run(root: str, name: str, request: dict[str, Any]) -> dict[str, Any]:
    path = os.path.join(root, "jobs", name)
    folder = AttemptFolder(path)
    new = not os.path.isdir(path)
    if request.get("spec"):
        problem = start(path, request["spec"], _login[0])
        if problem:
            return {"ended": "not started", "reason": problem}
    if not os.path.isdir(path):
        return _end_lost(folder, _UNKNOWN_JOB)
    output = _Tail(folder.file(OUTPUT_FILE), protocol.OUTPUT, request["output_offset"])
    live = _Tail(folder.file(request["live"]), protocol.LIVE, request["live_offset"])
    try:
        return _attach(folder, (output, live), _Pulse(folder, new=new), request["lease"])
    except ConnectionError:
        raise
    except OSError as error:
        return _end_lost(folder, f"its files on the machine cannot be used: {error.strerror}: {error.filename}")


def _end_lost(folder: AttemptFolder, why: str) -> dict[str, Any]:
    """Nobody may call a job lost as long as it runs."""
    processes.end_members(folder.mark, terminate=1.0)
    return {"ended": "lost", "reason": why}


def _attach(folder: AttemptFolder, tails: tuple[_Tail, ...], pulse: _Pulse, lease: float) -> dict[str, Any]:
    """Stream until the job has ended; returns its status. Raises ConnectionError when the controller is gone, else
    OSError: then nobody can renew the lease, or cancel it.

    Without a sign of the controller for as long as the lease this process ends by SIGALRM, even when it is stuck in
    writing: sshd keeps it alive for minutes after a connection has died.
    """
    patience = int(lease) + PATIENCE_SECONDS
    signal.alarm(patience)
    folder.renew_lease()
    while True:
        supervised = folder.supervised()  # asked before the status is: it writes the status, then goes
        status = folder.status()
        more = [tail.send_piece() for tail in tails]
        if status is None and not supervised:
            status = abandoned.end_abandoned(folder)[1]
        if status is not None and not any(more):
            return status
        if pulse.goes_on(ended=status is not None):
            protocol.send(protocol.HEARTBEAT)
        elif status is None and pulse.frozen(lease):
            abandoned.end_holders(folder)
        # also between the pieces of a backlog, which must not end the lease
        received = protocol.wait_for_input(0 if any(more) else POLL_SECONDS)
        if received is None:
            raise ConnectionError("the controller is gone")
        if received:
            signal.alarm(patience)
            folder.renew_lease()
        if protocol.KILL in received:
            folder.cancel(now=True)
        elif protocol.CANCEL in received:
            folder.cancel(now=False)


class _Pulse:
    """Whether a job's supervisor goes on: a heartbeat is its beat passed on, never a sign of this process alone."""

    def __init__(self, folder: AttemptFolder, *, new: bool) -> None:
        self._folder = folder
        self._beats, self._since = None if new else folder.beats(), time.monotonic()
        self._sent = 0.0

    def goes_on(self, *, ended: bool) -> bool:
        """Whether a heartbeat is due. A job that has ended needs none; an earlier version's supervisor gives none."""
        now, beats = time.monotonic(), self._folder.beats()
        by_time = beats is None or ended
        due = now - self._sent >= protocol.HEARTBEAT_SECONDS if by_time else beats != self._beats
        if due:
            self._beats, self._since, self._sent = beats, now, now
        return due

    def frozen(self, lease: float) -> bool:
        """Its watchdog should have ended it by now, and is frozen too."""
        watched = time.monotonic() - self._since
        return watched > _WATCHED_SECONDS and self._folder.age("beat") > abandoned.frozen_after(lease)


class _Tail:
    """A growing file, sent from an offset on."""

    def __init__(self, path: str, kind: bytes, offset: int) -> None:
        self._path, self._kind, self._offset = path, kind, offset
        self._descriptor = -1

    def send_piece(self) -> bool:
        """Whether there was something to send."""
        if self._descriptor < 0:
            try:
                self._descriptor = os.open(self._path, os.O_RDONLY)
            except OSError:  # the live file appears when the runner's reporter begins
                return False
        data = os.pread(self._descriptor, protocol.CHUNK, self._offset)
        if data:
            protocol.send(self._kind, data, self._offset)
            self._offset += len(data)
        return bool(data)


def _sync(root: str, name: str, request: dict[str, Any]) -> dict[str, Any]:
    return trees.sync(root, name, request, io.BufferedReader(io.FileIO(0, closefd=False)))


def _collect(root: str, name: str, request: dict[str, Any]) -> dict[str, Any]:
    path = os.path.join(root, "jobs", name)
    if not os.path.isdir(path):
        raise OSError(_UNKNOWN_JOB)
    with io.BufferedWriter(_ArchiveFrames(), protocol.CHUNK) as archive:
        return AttemptFolder(path).collect(archive, request["limit"])


def _sweep(root: str, _name: str, _request: dict[str, Any]) -> dict[str, Any]:
    return abandoned.sweep(root)


COMMANDS = {"run": _run, "sync": _sync, "release": trees.release, "collect": _collect, "sweep": _sweep}


class _ArchiveFrames(io.RawIOBase):
    """An archive written as frames."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        protocol.send(protocol.ARCHIVE, bytes(data))
        return len(data)
