"""One copy of a work tree on this machine, and what is known about it."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import time
from typing import Any, Iterable

TREE_LEASE_SECONDS = 1800.0  # how long a run may still need a tree it has asked for; jobs hold its lock besides


class TreeCopy:
    """The folder `PATH`, private, and beside it:

    - `PATH.lock`: held by every job that runs in it (shared), and by whoever changes it (exclusively)
    - `PATH.state`: what identifies its content, nothing while it is being changed; then every file that we have put
      there or have begun to. A file is listed before it is written and until it is deleted, so whatever interrupts a
      copy, the next one finds what is stale. Its time is that of the last use
    - `PATH.files`: how each file was when the content was whole, to see what tests have changed since
    - `PATH.owner`: the run that may still need it; its time is when that last asked
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._lock = -1

    def __enter__(self) -> TreeCopy:  # noqa: PYI034  # Python 3.8 has no Self
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def lock(self, *, shared: bool = False) -> bool:
        """Nobody else may change it, nor use it unless `shared`, until the context is left; False: somebody does."""
        while True:
            descriptor = os.open(self.path + ".lock", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
                if os.fstat(descriptor).st_ino == os.stat(self.path + ".lock").st_ino:
                    self._lock = descriptor
                    return True
            except FileNotFoundError:  # somebody has removed the tree, and its lock, since we opened it
                pass
            except BlockingIOError:
                os.close(descriptor)
                return False
            os.close(descriptor)

    # Who owns it

    def give_to(self, owner: str) -> None:
        """Owned from now on, or for longer."""
        _write_whole(self.path + ".owner", owner)
        os.utime(self.path + ".state")

    def release(self, owner: str) -> None:
        if self.owner() == owner:
            os.unlink(self.path + ".owner")
            os.utime(self.path + ".state")

    def owner(self) -> str:
        """The last one, whose lease may have ended; "" when it was released, or changed since."""
        try:
            with open(self.path + ".owner", encoding="utf-8") as file:
                return file.read()
        except OSError:
            return ""

    def is_leased(self) -> bool:
        """Whether the owner may still need it. A time far in the future is none: the clock has been set back."""
        return abs(time.time() - _time_of(self.path + ".owner")) < TREE_LEASE_SECONDS

    def last_use(self) -> float:
        return _time_of(self.path + ".state")

    # Its content

    def begin(self) -> None:
        """It is going to be changed: its content and its owner are nothing any more."""
        os.makedirs(self.path, mode=0o700, exist_ok=True)
        os.chmod(self.path, 0o700)
        self._unlink_beside(".owner")
        self.record("", self.files())

    def finish(self, state: str, files: Iterable[str]) -> None:
        """It has this content now. All files get one time that none of them had before.

        Caches of compiled sources (`__pycache__`) are kept from run to run, and go by size and second.
        """
        last = self._finished().get("time", 0)
        now = max(int(time.time()), last + 1)
        found = {}
        for name in files:
            path = os.path.join(self.path, name)
            if not os.path.islink(path):
                os.utime(path, (now, now))
            found[name] = _fingerprint(path)
        _write_whole(self.path + ".files", json.dumps({"time": now, "files": found}))
        self.record(state, files)

    def is_intact(self) -> bool:
        """No file of ours has been changed or deleted since, by tests that write into the tree."""
        found = self._finished().get("files", {})
        return bool(found) and all(_fingerprint(os.path.join(self.path, name)) == was for name, was in found.items())

    def generation(self) -> str:
        """Another one for each time that its content was made."""
        return f"{os.path.basename(self.path)}.{self._finished().get('time', 0)}"

    def _finished(self) -> dict[str, Any]:
        try:
            with open(self.path + ".files", encoding="utf-8") as file:
                found = json.load(file)
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def state(self) -> str:
        """What identifies its content; "" when that is unknown."""
        return self._record()[0]

    def files(self) -> set[str]:
        """All that we may have put there, whole or in part."""
        return set(map(_from_line, filter(None, self._record()[1:])))

    def _record(self) -> list[str]:
        try:
            with open(self.path + ".state", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
                return file.read().split("\n")
        except OSError:
            return [""]

    def record(self, state: str, files: Iterable[str]) -> None:
        """Whole or not at all. Raises OSError, and the earlier record stays."""
        _write_whole(self.path + ".state", "\n".join([state, *map(_to_line, sorted(files))]) + "\n")

    def add_to_record(self, name: str) -> None:
        """A file that is about to be written."""
        with open(self.path + ".state", "ab", buffering=0) as file:
            file.write(os.fsencode(_to_line(name)) + b"\n")

    def delete(self, names: Iterable[str]) -> None:
        """Delete these files of ours. What lies behind a symbolic link is another file, or somebody else's.

        Raises OSError for one that cannot be deleted: it would stay for ever.
        """
        real = os.path.realpath(self.path)
        for name in names:
            parent, base = os.path.split(name)
            folder = os.path.normpath(os.path.join(real, parent))
            if os.path.realpath(folder) != folder or not (folder + os.sep).startswith(real + os.sep):
                continue
            try:
                _unlink(folder, base)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):  # it is gone already
                continue

    def forget(self) -> None:
        """The tree itself is gone; the lock goes last."""
        self._unlink_beside(".state", ".files", ".owner", ".lock")

    def _unlink_beside(self, *suffixes: str) -> None:
        for suffix in suffixes:
            if os.path.lexists(self.path + suffix):
                os.unlink(self.path + suffix)


def _unlink(folder: str, base: str) -> None:
    path = os.path.join(folder, base)
    try:
        os.unlink(path)
    except PermissionError:
        if stat.S_ISDIR(os.lstat(path).st_mode):  # macOS says so instead of IsADirectoryError
            return
        os.chmod(folder, 0o755)  # noqa: S103  # tests have made it read-only
        os.unlink(path)


def _fingerprint(path: str) -> list[int]:
    """What shows that a file was changed, without reading it; nothing for one that is gone."""
    try:
        status = os.lstat(path)
    except OSError:
        return []
    return [status.st_mode, status.st_size, status.st_mtime_ns]


def _write_whole(path: str, text: str) -> None:
    with open(path + ".new", "w", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".new", path)


def _to_line(name: str) -> str:
    return name.replace("%", "%25").replace("\n", "%0A")


def _from_line(line: str) -> str:
    return line.replace("%0A", "\n").replace("%25", "%")


def _time_of(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0
