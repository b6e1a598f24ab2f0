"""The files of one attempt on the machine: who holds its lock supervises it, and its status is written once."""

from __future__ import annotations

import fcntl
import gzip
import json
import os
import shutil
import tarfile
import tempfile
import time
from typing import IO, Any
from urllib.parse import quote

UNLOCKED_PREFIX = ".new-"  # how the name of a folder begins until its supervisor holds the lock
OUTPUT_FILE = "out.log"

_RESERVED = ".space"  # the end of a name that a file has until it is needed: a full disk has no room for another one
_INTERNAL = frozenset(
    name + end
    for name in (OUTPUT_FILE, "lock", "lease", "beat", "cancel", "cancel.now", "begin", "refused", "status", "tmp")
    for end in ("", _RESERVED)
)
_STATUS_BYTES = 4096  # reserved on disk at the start, so that a status can be written on a full one
_REASON_BYTES = 2000


class AttemptFolder:
    """One attempt's folder. Paths are computed anew each time: it is renamed once, when its supervisor is ready."""

    def __init__(self, path: str) -> None:
        self.path = path

    @property
    def mark(self) -> str:
        """What its processes carry in their environment; without blanks, for macOS shows environments as one line."""
        return quote(self.path)

    def file(self, name: str) -> str:
        return os.path.join(self.path, name)

    def age(self, name: str = "") -> float:
        """Seconds since it, or a file of it, was last changed; 0 when there is none."""
        try:
            return time.time() - os.stat(self.file(name)).st_mtime
        except OSError:
            return 0.0

    @staticmethod
    def of(jobs: str, name: str) -> AttemptFolder:
        """That of the job `name` in the folder `jobs`: another's, when it took that one over."""
        path = os.path.join(jobs, name)
        return AttemptFolder(os.path.join(jobs, os.readlink(path)) if os.path.islink(path) else path)

    @staticmethod
    def create(beside: str, files: dict[str, bytes], *, waits: bool) -> AttemptFolder:
        """A new folder under a name of its own next to `beside`, with `files` in it. Raises OSError.

        `waits`: its job begins when it is told to.
        """
        parent = os.path.dirname(beside)
        os.makedirs(parent, mode=0o700, exist_ok=True)
        folder = AttemptFolder(tempfile.mkdtemp(prefix=UNLOCKED_PREFIX, dir=parent))
        try:
            for name, data in files.items():
                folder.add(name, data)
            if waits:
                _write(folder.file("begin" + _RESERVED), b"")
            for name in (OUTPUT_FILE, "lease", "beat", "cancel" + _RESERVED, "cancel.now" + _RESERVED):
                _write(folder.file(name), b"")
            _write(folder.file("lock"), b"beat\n")  # its supervisor beats: an earlier version's does not
            _write(folder.file("status" + _RESERVED), b" " * _STATUS_BYTES)
            os.symlink(tempfile.mkdtemp(prefix="ci-"), folder.file("tmp"))  # short: sockets in it have 108 bytes
        except OSError:
            folder.remove()
            raise
        return folder

    def add(self, name: str, data: bytes) -> None:
        """A file of the job's own, whole or not at all. Raises OSError."""
        path = self.file(name)
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        _write(path + _RESERVED, data)
        os.rename(path + _RESERVED, path)

    def remove(self) -> None:
        self.remove_temporary_files()
        shutil.rmtree(self.path, ignore_errors=True)

    def remove_temporary_files(self) -> None:
        try:
            temporary = os.readlink(self.file("tmp"))
        except OSError:
            return
        if os.path.basename(temporary).startswith("ci-"):
            shutil.rmtree(temporary, ignore_errors=True)

    # The lock

    def lock(self) -> bool:
        """Become the supervisor, until this process and all it forks have ended. False: somebody else is."""
        descriptor = os.open(self.file("lock"), os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        return True  # the descriptor stays open on purpose

    def supervised(self) -> bool:
        """Whether somebody holds the lock; where that cannot be found out, somebody may."""
        try:
            descriptor = os.open(self.file("lock"), os.O_RDWR)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(descriptor)
        return False

    # What the supervisor says: that it goes on

    def beat(self) -> None:
        try:
            os.utime(self.file("beat"))
        except OSError:  # then nobody hears it, and its job ends with the lease
            return

    def beats(self) -> int | None:
        """A number that changes with every beat; None when there are none (an earlier version's). Raises OSError."""
        try:
            return os.stat(self.file("beat")).st_mtime_ns
        except FileNotFoundError:
            if os.stat(self.file("lock")).st_size:
                raise
            return None

    # What the controller wants: the lease renewed, the job cancelled

    def renew_lease(self) -> None:
        os.utime(self.file("lease"))

    def lease_renewals(self) -> int:
        """A number that changes with every renewal; not compared with any clock, for those are set back and forth.

        0 when it cannot be read: what nobody can read nobody has renewed.
        """
        try:
            return os.stat(self.file("lease")).st_mtime_ns
        except OSError:
            return 0

    def cancel(self, *, now: bool) -> None:
        """Raises OSError."""
        wanted = self.file("cancel.now" if now else "cancel")
        try:
            os.rename(wanted + _RESERVED, wanted)
        except FileNotFoundError:  # it is cancelled already, or was started by an earlier version
            os.close(os.open(wanted, os.O_WRONLY | os.O_CREAT, 0o600))

    def cancelled(self) -> bool:
        return os.path.exists(self.file("cancel")) or self.cancelled_now()

    def cancelled_now(self) -> bool:
        return os.path.exists(self.file("cancel.now"))

    # Whether a job that waits is to begin: one name has one file, so that it is either taken over or ends

    def begin(self) -> bool:
        """Let it begin, unless it has ended or is about to. Raises OSError."""
        return self._move("begin" + _RESERVED, "begin") or self.begun()

    def begun(self) -> bool:
        return os.path.exists(self.file("begin"))

    def refuse(self) -> bool:
        """It begins no more. False: it has begun."""
        return self._move("begin" + _RESERVED, "refused" + _RESERVED) or not self.begun()

    def _move(self, old: str, new: str) -> bool:
        try:
            os.rename(self.file(old), self.file(new))
        except FileNotFoundError:
            return False
        return True

    # The status

    def write_status(self, status: dict[str, Any]) -> None:
        """Once and whole: into space taken beforehand, on disk before it gets its name. The first one counts."""
        if self.status() is not None:
            return
        status["reason"] = str(status.get("reason", ""))[:_REASON_BYTES]
        text = json.dumps(status).encode()
        descriptor = os.open(self.file("status" + _RESERVED), os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, text + b" " * max(0, _STATUS_BYTES - len(text)))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(self.file("status" + _RESERVED), self.file("status"))

    def status(self) -> dict[str, Any] | None:
        try:
            with open(self.file("status"), "rb") as file:
                status = json.loads(file.read().decode())
        except (OSError, ValueError):
            return None
        return status if isinstance(status, dict) else None

    def disk_problem(self) -> str:
        """What is full, or ""; a full disk is the usual reason for a job that fails without a message."""
        try:
            disk = os.statvfs(self.path)
        except OSError:
            return ""
        if disk.f_blocks and disk.f_bavail * disk.f_frsize < 64 * 1024:
            return "the disk is full"
        if disk.f_files and disk.f_favail == 0:
            return "the disk has no inodes left"
        return ""

    def lines_of(self, name: str) -> int:
        """Whole lines of a file, 0 without it."""
        try:
            with open(self.file(name), "rb") as file:
                return sum(piece.count(b"\n") for piece in iter(lambda: file.read(1 << 20), b""))
        except OSError:
            return 0

    def collect(self, archive: IO[bytes], limit: int) -> dict[str, Any]:
        """The job's files as tar.gz, small ones first, up to `limit` bytes; names those left out for it."""
        sizes = {}
        for directory, _, names in os.walk(self.path):
            for name in names:
                path = os.path.join(directory, name)
                relative = os.path.relpath(path, self.path)
                if relative.split(os.sep)[0] not in _INTERNAL and os.path.isfile(path) and not os.path.islink(path):
                    sizes[relative] = os.path.getsize(path)
        left_out, total = [], 0
        packed = gzip.GzipFile(fileobj=archive, mode="wb", compresslevel=1)
        with packed, tarfile.open(fileobj=packed, mode="w|") as tar:
            for relative, size in sorted(sizes.items(), key=lambda item: (item[1], item[0])):
                total += size
                if total > limit:
                    left_out.append(relative)
                else:
                    tar.add(self.file(relative), arcname=relative, recursive=False)
        return {"files": len(sizes) - len(left_out), "left_out": left_out}


def _write(path: str, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
