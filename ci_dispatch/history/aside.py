"""A history that cannot be used is put aside under another name: nothing is lost, and a new one can begin."""

from __future__ import annotations

import fcntl
import os
from itertools import chain, count
from pathlib import Path

Identity = tuple[int, int]


def identity(file: Path) -> Identity | None:
    """Which file a name stands for just now; None: no file."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def put_aside(file: Path, seen: Identity | None, word: str, stamp: str) -> Path | None:
    """Rename the file that was `seen` under this name to `NAME.word-stamp`, with what SQLite has beside it.

    What has that name already stays: the next free of `-2`, `-3` ... is taken.

    None when another process has done so, or does. Raises OSError.
    """
    if seen is None:
        return None
    folder = os.open(file.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)  # one process at a time looks and renames
        if identity(file) != seen:
            return None
        names = (f"{file.name}.{word}-{stamp}{again}" for again in chain([""], (f"-{n}" for n in count(2))))
        aside = next(path for path in map(file.with_name, names) if not path.exists())
        for ending in ("-wal", "-shm", ""):  # the file last: changes of the old one must not be taken for the new one's
            beside = file.with_name(file.name + ending)
            if beside.exists():
                beside.rename(aside.with_name(aside.name + ending))
    except BlockingIOError:
        return None
    finally:
        os.close(folder)
    return aside
