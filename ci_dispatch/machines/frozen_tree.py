"""A work tree as it was when the run began: kept in the run's folder, the same for every machine and every resume."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from ci_dispatch.core import codec
from ci_dispatch.machines.supervisor.archive import CHUNK
from ci_dispatch.machines.supervisor.content import LINK
from ci_dispatch.machines.work_tree import Snapshot, TreeEntry, snapshot, unreadable
from ci_dispatch.run.ports import MachineError, WorkTree

_SNAPSHOT, _WHOLE, _REST = "snapshot.json", "whole.tar.gz", "rest.tar.gz"


def freeze(here: Snapshot, folder: Path, *, copy: bool) -> None:
    """Keep a snapshot in a new `folder`, and a `copy` of its files for machines that will ask for it.

    Raises MachineError when a file is not what the snapshot says any more, or the disk does not take it.
    """
    try:
        folder.mkdir(mode=0o700)
        if copy:
            with (folder / _WHOLE).open("wb") as stream:
                _pack(here, here.entries, stream)
            with (folder / _REST).open("wb") as stream:
                _pack(here, _rest(here), stream)
        (folder / _SNAPSHOT).write_bytes(codec.encode(here))  # the last: without it nothing is there
    except OSError as error:
        why, hint = f"{error.strerror}: {error.filename or folder}", "make room"
        raise MachineError("the work tree was not kept for the run", stage="sync", why=why, hint=hint) from error


def thaw(folder: Path) -> Snapshot | None:
    """The snapshot in a folder; None when there is none, or it is damaged."""
    try:
        return codec.decode(Snapshot, (folder / _SNAPSHOT).read_bytes())
    except (OSError, ValueError):
        return None


def current(tree: WorkTree) -> Snapshot:
    """The snapshot that machines get. Raises MachineError."""
    if tree.frozen is None:
        return snapshot(tree)
    if (here := thaw(tree.frozen)) is None:
        raise MachineError("the work tree that the run began with is gone", stage="sync", why=f"no {tree.frozen}")
    return here


def rest_count(here: Snapshot) -> int:
    """How many files a machine does not get from the commit."""
    return sum(1 for _ in _rest(here))


def write_copy(tree: WorkTree, here: Snapshot, stream: IO[bytes], *, rest: bool) -> None:
    """All files as tar.gz, or those that are in no commit. Raises MachineError, and whatever `stream` raises."""
    if tree.frozen is None:
        _pack(here, _rest(here) if rest else here.entries, stream)
        return
    with (tree.frozen / (_REST if rest else _WHOLE)).open("rb") as kept:
        shutil.copyfileobj(kept, stream, CHUNK)


def _rest(here: Snapshot) -> Iterable[TreeEntry]:
    return (entry for entry in here.entries if not entry.committed)


def _pack(here: Snapshot, entries: Iterable[TreeEntry], stream: IO[bytes]) -> None:
    packed = gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=1, mtime=0)
    with packed, tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for entry in entries:
            _add(tar, Path(here.root), entry)


def _add(tar: tarfile.TarFile, root: Path, entry: TreeEntry) -> None:
    member = tarfile.TarInfo(entry.name)
    if entry.mode == LINK:
        member.type, member.linkname = tarfile.SYMTYPE, entry.content
        tar.addfile(member)
        return
    member.mode, member.size = int(entry.mode, 8), entry.seen[1]
    try:
        file = (root / entry.name).open("rb")
    except FileNotFoundError as error:
        raise _changed(entry) from error
    except OSError as error:
        raise unreadable(root, error) from error
    with file:
        content = _Hashed(file)
        try:
            tar.addfile(member, content)  # type: ignore[arg-type]  # it only reads
        except OSError as error:
            if error.errno:
                raise
            raise _changed(entry) from error  # tarfile's own, for a file that is too short
        if content.hash.hexdigest() != entry.content:
            raise _changed(entry)


class _Hashed:
    """Hashes what is read from a file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.hash = file, hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self.hash.update(data)
        return data


def _changed(entry: TreeEntry) -> MachineError:
    return MachineError(f"the work tree changed while the run began: {entry.name}", stage="sync", hint="run it again")
