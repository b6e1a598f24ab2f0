"""The work tree on the machine, brought up to date in place, and an attempt's files on their way back.

A tree `trees/NAME` stays where it is from run to run, so that installed dependencies (which git ignores and nobody
sends) stay too. Next to it: `NAME.state` (its content hash, then the files we put there) and `NAME.lock`, held shared
by every job that runs in it. A tree that jobs of another run are using is not touched: the next name is taken.
"""

from __future__ import annotations

import fcntl
import gzip
import os
import shutil
import subprocess
import tarfile
from typing import IO, Any

from . import channel
from .folder import INTERNAL

_COPIES = 8  # of one tree, for runs side by side


class Tree:
    def __init__(self, path: str) -> None:
        self.path = path
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        self._lock = os.open(path + ".lock", os.O_RDWR | os.O_CREAT, 0o600)

    def state(self) -> str:
        return (self._recorded() or [""])[0]

    def _recorded(self) -> list[str]:
        try:
            with open(self.path + ".state", encoding="utf-8", errors="surrogateescape") as file:
                return file.read().split("\n")
        except OSError:
            return []

    def take(self) -> bool:
        """Nobody else may use or change it from now on; False when somebody does."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def leave(self) -> None:
        os.close(self._lock)

    def record(self, state: str, files: list[str]) -> None:
        with open(self.path + ".state", "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write("\n".join([state, *files]))

    def forget(self) -> list[str]:
        """The files we put there; from now on its content is nothing anybody may rely on."""
        files = self._recorded()[1:]
        if os.path.exists(self.path + ".state"):
            os.unlink(self.path + ".state")
        return files


def sync(root: str, name: str, request: dict[str, Any], archive: IO[bytes]) -> dict[str, Any]:
    """A tree with the content `request["state"]`, from here, from git or from the controller, in this order."""
    for copy in range(_COPIES):
        tree = Tree(os.path.join(root, "trees", name + (f"-{copy}" if copy else "")))
        try:
            if tree.state() == request["state"]:
                return {"tree": tree.path, "root": root, "from": "cache"}
            if tree.take():
                return {"tree": tree.path, "root": root, "from": _renew(tree, request, archive)}
        finally:
            tree.leave()
    raise OSError(f"{_COPIES} other runs use this work tree here at the moment")


def _renew(tree: Tree, request: dict[str, Any], archive: IO[bytes]) -> str:
    old = tree.forget()
    os.makedirs(tree.path, mode=0o700, exist_ok=True)
    if request.get("sha"):
        files = _checkout(tree.path, request["remote_url"], request["sha"], request["seconds"])
        source = "git"
    else:
        files = None
    if files is None:
        channel.send(b"b", b"send")
        files = extract(archive, tree.path)
        source = "copy"
    for name in set(old) - set(files):
        try:
            os.unlink(os.path.join(tree.path, name))
        except OSError:
            continue
    tree.record(request["state"], files)
    return source


def _checkout(path: str, url: str, sha: str, seconds: float) -> list[str] | None:
    """The files of a commit, or None when this machine cannot get it: the controller sends a copy then."""
    environment = dict(os.environ, GIT_TERMINAL_PROMPT="0", GIT_SSH_COMMAND="ssh -o BatchMode=yes")
    steps = (
        ["init", "--quiet"],
        ["fetch", "--quiet", "--depth=1", "--no-tags", "--", url, sha],
        ["checkout", "--quiet", "--force", "--detach", "FETCH_HEAD"],
        ["ls-files", "-z"],
    )
    output = b""
    for step in steps:
        try:
            done = subprocess.run(
                ["git", *step],
                cwd=path,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=seconds,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        if done.returncode:
            return None
        output = done.stdout
    return [os.fsdecode(name) for name in output.split(b"\0") if name]


def extract(archive: IO[bytes], into: str) -> list[str]:
    """The files of a tar.gz stream, by name. Nothing leaves `into`. Raises OSError, EOFError, tarfile.TarError."""
    names = []
    # gzip by itself: tarfile's own takes a stream that was cut at a block for the end of the archive
    plain = gzip.GzipFile(fileobj=archive, mode="rb")
    with tarfile.open(fileobj=plain, mode="r|") as tar:
        for member in tar:
            path = _inside(into, member.name)
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            elif os.path.lexists(path):
                os.unlink(path)
            if member.issym():
                os.symlink(member.linkname, path)
            elif member.isfile():
                source = tar.extractfile(member)
                assert source is not None  # it is a regular file
                with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, member.mode & 0o777), "wb") as file:
                    shutil.copyfileobj(source, file, channel.CHUNK)
            else:
                continue
            names.append(member.name)
    while plain.read(channel.CHUNK):  # up to the checksum: only then was it whole
        pass
    return names


def _inside(root: str, name: str) -> str:
    """Raises OSError when a link on the way would lead out of the tree."""
    path = os.path.join(root, name)
    real = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    if not real.startswith(os.path.realpath(root) + os.sep):
        raise OSError(f"{name} would be written outside of the work tree")
    return path


def collect(folder: str, archive: IO[bytes], limit: int) -> dict[str, Any]:
    """The attempt's files as tar.gz, small ones first, up to `limit` bytes; says which were left out for their size."""
    sizes = {}
    for directory, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(directory, name)
            relative = os.path.relpath(path, folder)
            if relative.split(os.sep)[0] not in INTERNAL and os.path.isfile(path) and not os.path.islink(path):
                sizes[relative] = os.path.getsize(path)
    left_out, total = [], 0
    packed = gzip.GzipFile(fileobj=archive, mode="wb", compresslevel=1)
    with packed, tarfile.open(fileobj=packed, mode="w|") as tar:
        for relative, size in sorted(sizes.items(), key=lambda item: (item[1], item[0])):
            total += size
            if total > limit:
                left_out.append(relative)
            else:
                tar.add(os.path.join(folder, relative), arcname=relative, recursive=False)
    return {"files": len(sizes) - len(left_out), "left_out": left_out}
