"""The work tree on the machine, brought up to date in place.

A tree `trees/NAME` stays where it is from run to run, so that installed dependencies (which git ignores and nobody
sends) stay too. Next to it: `NAME.lock`, held shared by every job that runs in it, and `NAME.state`: what identifies
its content (nothing while it is being changed), then every file that we have put there or have begun to. A file is
listed before it is written and until it is deleted, so whatever interrupts a copy, the next one finds what is stale.
A tree that jobs of another run are using is not touched: the next name is taken.
"""

from __future__ import annotations

import fcntl
import gzip
import os
import shutil
import subprocess
import tarfile
import time
from typing import IO, Any, Iterable

from . import protocol

_COPIES = 8  # of one tree, for runs side by side


class TreeCopy:
    """One copy of a work tree on this machine, with its lock and the list of our files in it."""

    def __init__(self, path: str) -> None:
        self.path = path
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        self._lock = os.open(path + ".lock", os.O_RDWR | os.O_CREAT, 0o600)

    def lock(self) -> bool:
        """Nobody else may use or change it from now on; False when somebody does."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def unlock(self) -> None:
        os.close(self._lock)

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
        text = "\n".join([state, *map(_to_line, sorted(files))]) + "\n"
        with open(self.path + ".state.new", "w", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(self.path + ".state.new", self.path + ".state")

    def add_to_record(self, name: str) -> None:
        """A file that is about to be written."""
        with open(self.path + ".state", "ab", buffering=0) as file:
            file.write(os.fsencode(_to_line(name)) + b"\n")

    def delete(self, names: Iterable[str]) -> None:
        """Delete these files of ours. What lies behind a symbolic link is another file, or somebody else's."""
        real = os.path.realpath(self.path)
        for name in names:
            parent, base = os.path.split(name)
            folder = os.path.normpath(os.path.join(real, parent))
            if os.path.realpath(folder) != folder or not _is_inside(real, folder):
                continue
            try:
                os.unlink(os.path.join(folder, base))
            except OSError:
                continue


def _to_line(name: str) -> str:
    return name.replace("%", "%25").replace("\n", "%0A")


def _from_line(line: str) -> str:
    return line.replace("%0A", "\n").replace("%25", "%")


def sync(root: str, name: str, request: dict[str, Any], archive: IO[bytes]) -> dict[str, Any]:
    """A tree with the content `request["state"]`, from here, from git or from the controller, in this order."""
    for copy in range(_COPIES):
        tree = TreeCopy(os.path.join(root, "trees", name + (f"-{copy}" if copy else "")))
        try:
            if tree.state() == request["state"]:
                return {"tree": tree.path, "root": root}
            if tree.lock():
                _renew(tree, request, archive)
                return {"tree": tree.path, "root": root}
        finally:
            tree.unlock()
    raise OSError(f"{_COPIES} other runs use this work tree here at the moment")


def _renew(tree: TreeCopy, request: dict[str, Any], archive: IO[bytes]) -> None:
    os.makedirs(tree.path, mode=0o700, exist_ok=True)
    tree.record("", tree.files())  # from here on its content is nothing anybody may rely on
    files = None
    if request.get("sha"):
        files = _checkout(tree, request["remote_url"], request["sha"], request["seconds"])
    if files is None:
        protocol.send(protocol.COPY_WANTED)
        files = extract(archive, tree)
    tree.delete(tree.files() - files)
    tree.record(request["state"], files)


def _checkout(tree: TreeCopy, url: str, sha: str, seconds: float) -> set[str] | None:
    """The files of a commit, or None when this machine cannot get it: the controller sends a copy then."""
    deadline = time.monotonic() + seconds
    for step in (["init", "--quiet"], ["fetch", "--quiet", "--depth=1", "--no-tags", "--", url, sha]):
        if _git(tree, step, deadline) is None:
            return None
    listed = _git(tree, ["ls-tree", "-r", "-z", "--name-only", "FETCH_HEAD"], deadline)
    if listed is None:
        return None
    files = {os.fsdecode(name) for name in listed.split(b"\0") if name}
    tree.record("", tree.files() | files)
    if _git(tree, ["checkout", "--quiet", "--force", "--detach", "FETCH_HEAD"], deadline) is None:
        return None
    return files


def _git(tree: TreeCopy, words: list[str], deadline: float) -> bytes | None:
    """What git prints, None when it fails or is not done at the deadline."""
    try:
        done = subprocess.run(
            ["git", *words],
            cwd=tree.path,
            env=dict(os.environ, GIT_TERMINAL_PROMPT="0", GIT_SSH_COMMAND="ssh -o BatchMode=yes"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=max(0.1, deadline - time.monotonic()),
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if done.returncode else done.stdout


def extract(archive: IO[bytes], tree: TreeCopy) -> set[str]:
    """The files of a tar.gz stream, by name. Nothing leaves the tree. Raises OSError, EOFError, tarfile.TarError."""
    recorded = tree.files()
    names = set()
    # gzip by itself: tarfile's own takes a stream that was cut at a block for the end of the archive
    plain = gzip.GzipFile(fileobj=archive, mode="rb")
    with tarfile.open(fileobj=plain, mode="r|") as tar:
        for member in tar:
            if not (member.issym() or member.isfile()):
                continue
            path = _make_room(tree.path, member.name)
            if member.name not in recorded:
                tree.add_to_record(member.name)
            if member.issym():
                os.symlink(member.linkname, path)
            else:
                source = tar.extractfile(member)
                assert source is not None  # it is a regular file
                with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, member.mode & 0o777), "wb") as file:
                    shutil.copyfileobj(source, file, protocol.CHUNK)
            names.add(member.name)
    while plain.read(protocol.CHUNK):  # up to the checksum: only then was it whole
        pass
    return names


def _make_room(root: str, name: str) -> str:
    """A path in the tree where nothing is, with real folders on the way: what was a file or a link there is replaced.

    Raises OSError for a name that leads out of the tree.
    """
    parts = name.split("/")
    if not all(parts) or {".", ".."} & set(parts):
        raise OSError(f"{name} would be written outside of the work tree")
    path = root
    for part in parts[:-1]:
        path = os.path.join(path, part)
        if os.path.islink(path) or (os.path.lexists(path) and not os.path.isdir(path)):
            os.unlink(path)
        os.makedirs(path, mode=0o700, exist_ok=True)
    path = os.path.join(path, parts[-1])
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)
    return path


def _is_inside(root: str, folder: str) -> bool:
    return folder == root or folder.startswith(root + os.sep)
