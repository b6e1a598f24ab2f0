"""Work trees on the machine: which one a run gets, and how it becomes the content that the run began with.

A tree `trees/NAME`, `trees/NAME-1` ... stays where it is from run to run, so that installed dependencies (which git
ignores and nobody sends) stay too. It belongs to one run at a time: another run gets the newest tree that nobody needs,
brought up to date in place, or else a new one. `TreeCopy` says what lies beside it.
"""

from __future__ import annotations

import errno
import itertools
import os
import re
import shutil
import stat
import tempfile
import time
from typing import IO, Any, Iterator

from . import protocol
from .archive import ArchiveError, ArchiveMember, Limits, members
from .checkout import Commit
from .content import excluded, state_on_disk
from .tree_copy import TreeCopy

KEEP_TREE_SECONDS = 14 * 24 * 3600.0  # that no run has used, for its installed dependencies
FREE_SHARE = 0.15  # of the disk: with less, trees that nobody needs go. A machine with less than 10 % gets no work

_TRASH = ".trash-"


def sync(root: str, name: str, request: dict[str, Any], archive: IO[bytes]) -> dict[str, Any]:
    """A tree with the content `request["state"]`, from here, from git or from the controller, in this order."""
    folder = os.path.join(root, "trees")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    _remove_old(folder)
    for path in _candidates(folder, name, request):
        with TreeCopy(path) as tree:
            if _becomes(tree, request, archive):
                return {"tree": tree.path, "root": root, "generation": tree.generation()}
    raise AssertionError("there is always one more")


def release(root: str, name: str, request: dict[str, Any]) -> dict[str, Any]:
    """The owner needs its tree no longer."""
    for tree in _trees(os.path.join(root, "trees"), name):
        tree.release(request["owner"])
    return {}


def _candidates(folder: str, name: str, request: dict[str, Any]) -> Iterator[str]:
    """Paths of trees: the owner's, then those with its content, then the newest, then new ones without end."""

    def order(tree: TreeCopy) -> Any:
        return tree.owner() != request["owner"], tree.state() != request["state"], -tree.last_use()

    yield from (tree.path for tree in sorted(_trees(folder, name), key=order))
    for number in itertools.count():
        path = os.path.join(folder, name + (f"-{number}" if number else ""))
        if not os.path.lexists(path):
            yield path


def _trees(folder: str, name: str = "") -> list[TreeCopy]:
    """All trees, or those that are called so."""
    pattern = re.compile((re.escape(name) + r"(-\d+)?" if name else ".+") + r"\.lock")
    entries = os.listdir(folder) if os.path.isdir(folder) else []
    return [TreeCopy(os.path.join(folder, entry[: -len(".lock")])) for entry in entries if pattern.fullmatch(entry)]


def _becomes(tree: TreeCopy, request: dict[str, Any], archive: IO[bytes]) -> bool:
    """Whether it has that content and belongs to that owner from now on."""
    alone = tree.lock()
    if not alone and not tree.lock(shared=True):  # somebody is changing it
        return False
    ours, same = tree.owner() == request["owner"], tree.state() == request["state"]
    if not (ours and same):
        if not alone or (tree.is_leased() and not ours):
            return False
        if not same or not tree.is_intact():
            _renew(tree, request, archive)
    tree.give_to(request["owner"])
    return True


def _renew(tree: TreeCopy, request: dict[str, Any], archive: IO[bytes]) -> None:
    tree.begin()  # from here on its content is nothing anybody may rely on
    _make_space(tree, request["size"])
    files = _from_git(tree, request, archive) if request["sha"] and request["remote_url"] else None
    if files is None:
        protocol.send(protocol.COPY_WANTED)
        files = _extract(archive, tree, request)
    tree.delete(tree.files() - files)
    if not _has_content(tree, request, files):
        raise OSError("the work tree that came is not the one that was announced")
    tree.finish(request["state"], files)


def _from_git(tree: TreeCopy, request: dict[str, Any], archive: IO[bytes]) -> set[str] | None:
    """The files of the commit, and from the controller those it does not have (submodules, new files).

    None when this machine cannot get it, or gets something else (no git-lfs, other line ends): all is copied then.
    """
    url, authorization, sha = request["remote_url"], request["authorization"], request["sha"]
    commit = Commit(tree.path, url, authorization, sha, request["seconds"] / 2)  # the copy needs time too
    names = commit.fetch()
    if names is None:
        return None
    tree.record("", tree.files().union(names))
    if not commit.check_out():
        return None
    files = {name for name in names if not excluded(name, request["exclude"])}
    if request["rest"]:
        protocol.send(protocol.COPY_WANTED, protocol.REST)
        files |= _extract(archive, tree, request)
    return files if _has_content(tree, request, files) else None


def _has_content(tree: TreeCopy, request: dict[str, Any], files: set[str]) -> bool:
    try:
        return bool(state_on_disk(tree.path, files, request["sha"]) == request["state"])
    except OSError:  # a file that is not there, or no file
        return False


def _extract(archive: IO[bytes], tree: TreeCopy, request: dict[str, Any]) -> set[str]:
    """The files of a tar.gz stream, by name. Nothing leaves the tree. Raises OSError."""
    recorded = tree.files()
    names = set()
    try:
        for member in members(archive, Limits(members=request["files"], content=request["size"])):
            if member.is_link or member.is_file:
                path = _path_for(tree.path, member.name)
                if member.name not in recorded:
                    tree.add_to_record(member.name)
                _write(member, path)
                names.add(member.name)
    except ArchiveError as error:
        raise OSError(f"the copy of the work tree cannot be used: {error}") from error
    return names


def _write(member: ArchiveMember, path: str) -> None:
    if member.is_link:
        os.symlink(member.target, path)
        return
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:
        file.writelines(member.pieces())
        os.fchmod(descriptor, member.mode)  # whatever the umask is


def _path_for(root: str, name: str) -> str:
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
        os.makedirs(path, exist_ok=True)
        if stat.S_IMODE(os.stat(path).st_mode) != 0o755:
            os.chmod(path, 0o755)  # noqa: S103  # the tree's own folder is the private one
    path = os.path.join(path, parts[-1])
    if os.path.isdir(path) and not os.path.islink(path):
        remove(path)
    elif os.path.lexists(path):
        os.unlink(path)
    return path


def remove(path: str) -> None:
    """Delete a folder, also when tests have made folders in it read-only. Raises OSError."""
    for directory, folders, _ in os.walk(path):
        for folder in folders:
            inner = os.path.join(directory, folder)
            if not os.path.islink(inner):
                os.chmod(inner, 0o700)
    shutil.rmtree(path)


def _remove_old(folder: str) -> None:
    """Trees that no run has used for long, and what an earlier removal could not finish."""
    for entry in os.listdir(folder):
        if entry.startswith(_TRASH):
            _quietly_remove(os.path.join(folder, entry))
    for tree in _trees(folder):
        if time.time() - tree.last_use() > KEEP_TREE_SECONDS:
            _remove_unused(tree)


def _make_space(tree: TreeCopy, size: int) -> None:
    """Room for a tree of `size` bytes: others that nobody needs go, oldest first. Raises OSError when there is none."""
    folder = os.path.dirname(tree.path)
    for other in sorted(_trees(folder), key=TreeCopy.last_use):
        disk = shutil.disk_usage(folder)
        if disk.free - size > FREE_SHARE * disk.total:
            return
        if other.path != tree.path:
            _remove_unused(other)
    free = shutil.disk_usage(folder).free
    if free < size:
        told = f"the work tree has {size >> 10} KB, and {free >> 10} KB are free in {folder}"
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), told)


def _remove_unused(tree: TreeCopy) -> None:
    """Unless somebody needs it. Renamed first: half a tree is never taken for one."""
    with tree:
        if not tree.lock() or tree.is_leased():
            return
        trash = tempfile.mkdtemp(prefix=_TRASH, dir=os.path.dirname(tree.path))
        if os.path.lexists(tree.path):
            os.rename(tree.path, os.path.join(trash, "tree"))
        tree.forget()
    _quietly_remove(trash)


def _quietly_remove(path: str) -> None:
    try:
        remove(path)
    except OSError:  # the next run tries again
        return
