"""A work tree as it was when the run began: kept in the run's folder, the same for every machine and every resume."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import stat
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from ci_dispatch.core import codec
from ci_dispatch.core.codec import Value
from ci_dispatch.core.errors import ControllerError
from ci_dispatch.machines.supervisor.archive import CHUNK
from ci_dispatch.machines.supervisor.content import LINK, mode_and_content, state_of
from ci_dispatch.machines.work_tree import committed, files_of, is_watched, seen
from ci_dispatch.run.ports import WorkTree

_SNAPSHOT, _WHOLE, _REST = "snapshot.json", "whole.tar.gz", "rest.tar.gz"
_HASHED_BYTES = 1 << 30  # of a tree that goes nowhere: what is beyond is known by size and time alone
_UNREAD = "size and time: "


class TreeEntry(Value):
    """One file of a tree, and how it lay here when it was read."""

    name: str  # relative to the root
    mode: str  # permissions in octal digits; "link" for a symbolic link
    content: str  # SHA-256 of its bytes, or where the link leads
    size: int
    seen: tuple[int, ...]  # as `seen` gives it
    watched: bool  # tests have no business writing it
    committed: bool = False  # a machine that fetches the commit has it from there

    @property
    def is_unread(self) -> bool:
        return self.mode != LINK and self.content.startswith(_UNREAD)


class Snapshot(Value):
    """The files of a tree, in order. Equal states are equal names, permissions and contents, and equal commits."""

    root: str
    entries: tuple[TreeEntry, ...]
    taken: float  # seconds since the epoch; no file was read before
    sha: str = ""  # of the commit that machines may fetch

    @property
    def state(self) -> str:
        return state_of(((entry.name, entry.mode, entry.content) for entry in self.entries), self.sha)

    @property
    def name(self) -> str:
        """What the tree is called on a machine: the same from run to run, different for different trees."""
        folder = Path(self.root).name
        plain = "".join(each if each.isascii() and (each.isalnum() or each in "-_.") else "-" for each in folder)
        return f"{plain}-{hashlib.sha256(os.fsencode(self.root)).hexdigest()[:10]}"

    @property
    def rest(self) -> frozenset[str]:
        """What a machine does not get with the commit."""
        return frozenset(entry.name for entry in self.entries if not entry.committed)


def unread(status: os.stat_result) -> str:
    """In place of the content of a file that was not read."""
    return f"{_UNREAD}{status.st_size}, {status.st_mtime_ns}"


def freeze(tree: WorkTree, folder: Path, *, copy: bool) -> Snapshot:
    """Keep the tree as it lies there now in a new `folder`, with a `copy` of its files for machines that ask for it.

    Each file is read once, so that the copy is what the snapshot says. A tree without a copy is only watched: what
    cannot be read is known by its time.
    Raises MachineError when the tree cannot be listed, ControllerError when it cannot be read or kept.
    """
    root, began = tree.root.resolve(), time.time()
    names = files_of(tree, sent=copy)
    ours = committed(root, tree.sha) if tree.sha else frozenset()
    try:
        folder.mkdir(mode=0o700)
        with ExitStack() as stack:
            tar = stack.enter_context(_packing(folder / _WHOLE)) if copy else None
            reader = _Reader(root, tar)
            read = (reader.entry(name, tracked=tracked, ours=name in ours) for name, tracked in names.items())
            entries = tuple(entry for entry in read if entry is not None)
        here = Snapshot(root=str(root), entries=entries, taken=began, sha=tree.sha)
        if copy and tree.sha:
            _pack_rest(here, folder)
        (folder / _SNAPSHOT).write_bytes(codec.encode(here))  # the last: without it nothing is there
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)  # half a copy would hold the room that is missing
        raise unusable(f"The work tree {root} could not be kept for the run", error) from error
    return here


def thaw(folder: Path) -> Snapshot | None:
    """The snapshot in a folder; None when there is none, or it is damaged. Raises ControllerError."""
    try:
        return codec.decode(Snapshot, (folder / _SNAPSHOT).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    except OSError as error:
        raise unusable(f"What {folder} keeps was not used", error) from error


def unusable(what: str, error: OSError) -> ControllerError:
    """This computer cannot read or write what a work tree is made of."""
    why = f"{error.filename}: {error.strerror}" if error.errno else str(error)
    return ControllerError(what, why=why, hint="free space, or check who owns it; then run it again")


@contextmanager
def kept(tree: WorkTree) -> Iterator[tuple[Snapshot, Path]]:
    """The snapshot and the folder of a tree that was frozen, or of one that is frozen for now.

    Raises MachineError and ControllerError.
    """
    if tree.frozen is None:
        with tempfile.TemporaryDirectory(prefix="ci-dispatch-") as folder:
            yield freeze(tree, Path(folder, "tree"), copy=True), Path(folder, "tree")
    elif here := thaw(tree.frozen):
        yield here, tree.frozen
    else:
        raise ControllerError(
            "The work tree that the run began with is gone", why=f"it was in {tree.frozen}", hint="ci-dispatch resume"
        )


def write_copy(folder: Path, stream: IO[bytes], *, rest: bool) -> None:
    """All files as tar.gz, or those that are in no commit. Raises ControllerError, and whatever `stream` raises."""
    path = folder / (_REST if rest else _WHOLE)
    with ExitStack() as stack:
        try:
            stored = stack.enter_context(path.open("rb"))
            while piece := stored.read(CHUNK):
                stream.write(piece)
        except OSError as error:
            raise unusable(f"The copy of the work tree in {folder} was not sent", error) from error


@contextmanager
def _packing(path: Path) -> Iterator[tarfile.TarFile]:
    with (
        path.open("wb") as stream,
        gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=1, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        yield tar


def _pack_rest(here: Snapshot, folder: Path) -> None:
    """Out of the whole: where the files lie they may have changed since."""
    rest = here.rest
    with tarfile.open(folder / _WHOLE) as whole, _packing(folder / _REST) as tar:
        for member in whole:
            if member.name in rest:
                tar.addfile(member, whole.extractfile(member) if member.isfile() else None)


class _Reader:
    """Reads files of a tree, each once: into the archive when there is one."""

    def __init__(self, root: Path, tar: tarfile.TarFile | None) -> None:
        self._root, self._tar = root, tar
        self._left = _HASHED_BYTES

    def entry(self, name: str, *, tracked: bool, ours: bool) -> TreeEntry | None:
        """None for a file that is gone. `ours`: it is in the commit."""
        path = self._root / name
        try:
            status = path.lstat()
            if stat.S_ISLNK(status.st_mode):
                mode, size, content = LINK, 0, self._link(name, str(path.readlink()))
            else:
                mode = f"{status.st_mode & 0o777:o}"
                if ours:  # git knows no more than that
                    mode = "755" if status.st_mode & 0o100 else "644"
                size, content = self._pack(path, name, mode) if self._tar else self._hash(path, status)
        except FileNotFoundError:
            return None
        watched = is_watched(name, status, tracked=tracked)
        return TreeEntry(
            name=name, mode=mode, content=content, size=size, seen=seen(status), watched=watched, committed=ours
        )

    def _link(self, name: str, target: str) -> str:
        if self._tar:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            self._tar.addfile(member)
        return target

    def _pack(self, path: Path, name: str, mode: str) -> tuple[int, str]:
        member = tarfile.TarInfo(name)
        with path.open("rb") as file:
            member.size, member.mode = os.fstat(file.fileno()).st_size, int(mode, 8)
            content = _Hashed(file)
            assert self._tar is not None
            try:
                self._tar.addfile(member, content)  # type: ignore[arg-type]  # it only reads
            except OSError as error:
                if error.errno is None:  # tarfile's own: the file has become shorter
                    raise OSError(f"{name} changed while it was read") from error
                raise
        return member.size, content.hash.hexdigest()

    def _hash(self, path: Path, status: os.stat_result) -> tuple[int, str]:
        self._left -= status.st_size
        if self._left > 0:
            try:
                return status.st_size, mode_and_content(str(path))[1]
            except PermissionError:
                pass
        return status.st_size, unread(status)


class _Hashed:
    """Hashes what is read from a file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.hash = file, hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self.hash.update(data)
        return data
