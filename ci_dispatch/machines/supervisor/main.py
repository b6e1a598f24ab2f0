"""The commands of docs/supervisor-protocol.md. Arguments are plain words, data comes on stdin."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import tarfile
import time
from typing import Any

from . import abandoned, processes, protocol, trees
from .folder import OUTPUT_FILE, AttemptFolder
from .job import POLL_SECONDS, start
from .private_folder import NotPrivate, make_private
from .standby import take_over

REQUEST_SECONDS = 60  # for the whole command, until the request has said how long it may take
PATIENCE_SECONDS = 5  # beyond the controller's own deadline
_WATCHED_SECONDS = 1.5  # longer than between two beats, shorter than the controller's silence

_login: list[int] = []  # the umask that the login gave us: a job has it, our own files do not
_UNKNOWN_JOB = "the machine does not know this job any more: was its disk cleared?"


def main(arguments: list[str], sent: bytes = b"") -> int:
    """NONCE COMMAND ROOT NAME; exits 0 whenever it could say what happened.

    `sent` is the packed supervisor itself, when it has just come over the connection: the next one finds it here.
    """
    _login.append(os.umask(0o077))  # what we write is ours alone
    processes.reset_signals()  # SIGALRM among them: this process must end whatever it has inherited
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # an error of the write, not the end of us
    nonce, command, root, name = arguments
    root = os.path.abspath(root)
    signal.alarm(REQUEST_SECONDS)
    protocol.greet(nonce)
    try:
        make_private(root)
        if sent:
            _keep(os.path.join(root, "bin"), sent)
        request = protocol.receive_json()
        if request is not None:
            signal.alarm(int(request["seconds"]) + PATIENCE_SECONDS)
            protocol.send_result(COMMANDS[command](root, name, request))
    except ConnectionError:  # the controller is gone: nobody to answer
        return 0
    except (OSError, EOFError, ValueError, tarfile.TarError, NotPrivate) as error:
        _send_error(error)
    return 0


def _keep(folder: str, program: bytes) -> None:
    """Under the hash of its content. Where it cannot be written it is sent again the next time."""
    path = os.path.join(folder, hashlib.sha256(program).hexdigest() + ".pyz")
    new = f"{path}.{os.getpid()}"
    try:
        os.makedirs(folder, exist_ok=True)
        with open(new, "wb") as file:
            file.write(program)
        os.replace(new, path)
    except OSError:
        _remove(new)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        return


def _send_error(error: Exception) -> None:
    try:
        if isinstance(error, NotPrivate):
            protocol.send_error(str(error), error.why, error.hint)
        elif isinstance(error, OSError) and error.strerror:
            where = f": {error.filename}" if error.filename else ""
            protocol.send_error(f"{error.strerror}{where}")
        else:
            protocol.send_error(str(error) or type(error).__name__)
    except OSError:
        return


def _run(root: str, name: str, request: dict[str, Any]) -> dict[str, Any]:
    jobs = os.path.join(root, "jobs")
    path = os.path.join(jobs, name)
    new = not os.path.isdir(path)
    if request.get("spec") and not take_over(jobs, name, request["standby"], request["spec"]["files"]):
        problem = start(path, request["spec"], _login[0])
        if problem:
            return {"ended": "not started", "reason": problem}
    folder = AttemptFolder.of(jobs, name)
    if not os.path.isdir(path):
        return _end_lost(folder, _UNKNOWN_JOB)
    output = _Tail(folder.file(OUTPUT_FILE), protocol.OUTPUT, request["output_offset"])
    live = _Tail(folder.file(request["live"]), protocol.LIVE, request["live_offset"])
    try:
        own = folder.path == path
        return _attach(folder, (output, live), _Pulse(folder, new=new), request["lease"], waits=own)
    except ConnectionError:
        raise
    except OSError as error:
        return _end_lost(folder, f"its files on the machine cannot be used: {error.strerror or error}")


def _end_lost(folder: AttemptFolder, why: str) -> dict[str, Any]:
    """Nobody may call a job lost as long as it runs."""
    processes.end_members(folder.mark, terminate=1.0)
    abandoned.end_supervisors(folder)
    return {"ended": "lost", "reason": why}


def _attach(
    folder: AttemptFolder, tails: tuple[_Tail, ...], pulse: _Pulse, lease: float, *, waits: bool
) -> dict[str, Any]:
    """Stream until the job has ended; returns its status. Raises ConnectionError when the controller is gone, else
    OSError: then nobody can renew the lease, or cancel it.

    A job that `waits` is its own no longer when another has taken it over.

    Without a sign of the controller for as long as the lease this process ends by SIGALRM, even when it is stuck in
    writing: sshd keeps it alive for minutes after a connection has died.
    """
    patience = int(lease) + PATIENCE_SECONDS
    signal.alarm(patience)
    folder.renew_lease()
    while True:
        if waits and folder.begun():
            return {"ended": "cancelled", "reason": "another job took it over"}
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
            abandoned.end_supervisors(folder)
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
        self._beats: int | None = 0 if new else -1  # -1: there is nothing yet to compare the next with
        self._since = self._sent = time.monotonic() - protocol.HEARTBEAT_SECONDS

    def goes_on(self, *, ended: bool) -> bool:
        """Whether a heartbeat is due: by the beats, or by time when it has ended or beats none. Raises OSError."""
        now = time.monotonic()
        beats = None if ended else self._folder.beats()
        if beats is None:
            due = now - self._sent >= protocol.HEARTBEAT_SECONDS
        else:
            due = self._beats not in (beats, -1)
            if beats != self._beats:
                self._beats, self._since = beats, now
        if due:
            self._sent = now
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
    folder = AttemptFolder.of(os.path.join(root, "jobs"), name)
    if not os.path.isdir(folder.path):
        raise OSError(_UNKNOWN_JOB)
    with io.BufferedWriter(_ArchiveFrames(), protocol.CHUNK) as archive:
        return folder.collect(archive, request["limit"])


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
