"""What identifies a work tree: its files' names, modes and contents, the same on both ends."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import stat
from typing import Iterable, Sequence

LINK = "link"  # in place of a mode: systems disagree about those of symbolic links


def state_of(entries: Iterable[tuple[str, str, str]], sha: str = "") -> str:
    """The identity of a tree with these (name, mode, content), and of the commit `sha` if it is one.

    The order of entries does not matter.
    """
    total = hashlib.sha256(sha.encode())
    for name, mode, content in sorted((os.fsencode(name), mode, content) for name, mode, content in entries):
        total.update(b"%s\0%s\0%s\0" % (name, mode.encode(), content.encode("utf-8", "surrogateescape")))
    return f"sha256:{total.hexdigest()}"


def state_on_disk(root: str, names: Iterable[str], sha: str = "") -> str:
    """The same, of what lies there. Raises OSError for a file that is missing."""
    return state_of(((name, *mode_and_content(os.path.join(root, name))) for name in names), sha)


def mode_and_content(path: str) -> tuple[str, str]:
    """Of a file its permissions and the hash of its bytes, of a symbolic link where it leads. Raises OSError."""
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        return LINK, os.readlink(path)
    with open(path, "rb") as file:
        found = hashlib.sha256()
        while piece := file.read(1024 * 1024):
            found.update(piece)
    return f"{status.st_mode & 0o777:o}", found.hexdigest()


def excluded(name: str, patterns: Sequence[str]) -> bool:
    """Whether a pattern matches the file or a folder it lies in."""
    parts = name.split("/")
    folders = ["/".join(parts[:count]) for count in range(len(parts), 0, -1)]
    return any(fnmatch.fnmatchcase(path, pattern.rstrip("/")) for pattern in patterns for path in folders)
