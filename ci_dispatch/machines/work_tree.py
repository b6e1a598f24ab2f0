"""The work tree as it lies on the controller: which files belong to it, and what identifies its content."""

from __future__ import annotations

import hashlib
import os
import shlex
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ci_dispatch.core.codec import Value
from ci_dispatch.machines.supervisor.content import LINK, excluded, mode_and_content, state_of
from ci_dispatch.run.ports import MachineError, WorkTree

# What runners and tools make, unless git tracks it: no machine gets it, and it may change while tests run.
_MADE = ("__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".coverage", "htmlcov", ".nyc_output",
         "test-results", "playwright-report", "blob-report")  # fmt: skip
_NEVER = (".git", ".ci-dispatch", "node_modules", ".venv")  # besides, where no git says what to leave out
_GIT_SECONDS = 60
_HASHED_BYTES = 1 << 30  # of a tree that goes nowhere: what is beyond is known by size and time alone
_TIME = "size and time: "
_NO_REPOSITORY = "not a git repository (or any "  # "of the parent directories", "parent up to mount point"


class TreeEntry(Value):
    """One file of a tree, and how it lay here when it was read."""

    name: str  # relative to the root
    mode: str  # permissions in octal digits; "link" for a symbolic link
    content: str  # SHA-256 of its bytes, or where the link leads
    seen: tuple[int, ...]  # as `seen` gives it
    committed: bool = False  # a machine that fetches the commit has it from there


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
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.seen[1] for entry in self.entries)


def snapshot(tree: WorkTree, *, sent: bool = True) -> Snapshot:
    """What lies there now. One that is not `sent` is only watched: what cannot be read is known by its time.

    Raises MachineError when a tree that is sent cannot be listed or read.
    """
    root, began = tree.root.resolve(), time.time()
    if not root.is_dir():
        raise MachineError(f"the work tree {root} does not exist", stage="sync")
    try:
        names = {name: tracked for name, tracked in _names(root, sent=sent) if not excluded(name, tree.exclude)}
        committed = _committed(root, tree.sha) if tree.sha else frozenset()
        read = mode_and_content if sent else _Sparing().mode_and_content
        entries = tuple(_entry(root, name, read, committed=name in committed) for name in sorted(names))
    except OSError as error:
        raise unreadable(root, error) from error
    return Snapshot(root=str(root), entries=entries, taken=began, sha=tree.sha)


def seen(status: os.stat_result) -> tuple[int, ...]:
    """What shows without reading that a file was touched; the size is the second."""
    return status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _entry(root: Path, name: str, read: Callable[[str], tuple[str, str]], *, committed: bool) -> TreeEntry:
    path = root / name
    before = seen(path.lstat())
    mode, content = read(str(path))
    if committed and mode != LINK:  # git knows no more than that
        mode = "755" if int(mode, 8) & 0o100 else "644"
    return TreeEntry(name=name, mode=mode, content=content, seen=before, committed=committed)


class _Sparing:
    """Reads files of a tree that goes nowhere: not all of a very large one, and none that refuses."""

    def __init__(self) -> None:
        self._left = _HASHED_BYTES

    def mode_and_content(self, path: str) -> tuple[str, str]:
        status = os.lstat(path)
        self._left -= status.st_size
        if self._left > 0 or stat.S_ISLNK(status.st_mode):
            try:
                return mode_and_content(path)
            except PermissionError:
                pass
        return by_time(status)


def by_time(status: os.stat_result) -> tuple[str, str]:
    """Mode and content of a file that was not read."""
    return f"{status.st_mode & 0o777:o}", f"{_TIME}{status.st_size}:{status.st_mtime_ns}"


def is_by_time(content: str) -> bool:
    return content.startswith(_TIME)


def _names(root: Path, *, sent: bool) -> Iterator[tuple[str, bool]]:
    """What git would keep, or without git (or in a folder that git ignores) everything that is not plainly made.

    With each name whether git tracks it.
    """
    try:
        listed = list(_listed_by_git(root))
    except MachineError:
        if sent:
            raise
        listed = []
    if listed:
        yield from listed
        return
    for directory, folders, names in os.walk(root):
        links = [folder for folder in folders if Path(directory, folder).is_symlink()]
        folders[:] = [folder for folder in folders if folder not in (*_NEVER, *_MADE)]
        for name in (*names, *links):
            path = Path(directory, name)
            if name not in _MADE and _is_file(path):
                yield str(path.relative_to(root)), False


def _is_file(path: Path) -> bool:
    """Not: a folder, a pipe, a socket."""
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return False
    return stat.S_ISREG(kind) or stat.S_ISLNK(kind)


def _listed_by_git(root: Path, inside: str = "") -> Iterator[tuple[str, bool]]:
    """What git would keep, of submodules and of repositories in the repository too; nothing where there is no git.

    Raises MachineError when there is a repository that git does not list: what it ignores (`.env`) must not be sent.
    """
    folder = root / inside
    command = ["git", "ls-files", "-z", "-t", "--cached", "--others", "--exclude-standard"]  # -t: "? " if not tracked
    for entry in filter(None, _git(folder, command, nested=bool(inside)).split("\0")):
        tracked, name = entry[0] != "?", entry[2:].rstrip("/")
        path = folder / name
        if _is_file(path):
            if tracked or not any(part in _MADE for part in name.split("/")):
                yield str(Path(inside, name)), tracked
        elif path.is_dir() and (path / ".git").exists():
            yield from _listed_by_git(root, str(Path(inside, name)))


def _committed(root: Path, sha: str) -> frozenset[str]:
    listed = _git(root, ["git", "ls-tree", "-r", "-z", "--name-only", "--full-tree", sha])
    return frozenset(filter(None, listed.split("\0")))


def _git(folder: Path, command: list[str], *, nested: bool = False) -> str:
    """What it prints; "" where there is no git, or no repository."""
    environment = {**os.environ, "LC_ALL": "C", "LANGUAGE": ""}  # its messages are read
    if nested:  # in a hook of the outer repository they name that one
        environment = {name: value for name, value in environment.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, check=False, timeout=_GIT_SECONDS
        )
    except FileNotFoundError:  # there is no git
        return ""
    except subprocess.TimeoutExpired as error:
        raise MachineError(f"git did not list {folder} within {_GIT_SECONDS} s", stage="sync") from error
    stderr = os.fsdecode(done.stderr)
    if done.returncode and (nested or _NO_REPOSITORY not in stderr):
        raise _not_listed(folder, stderr, done.returncode)
    return os.fsdecode(done.stdout) if done.returncode == 0 else ""


def _not_listed(root: Path, stderr: str, code: int) -> MachineError:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    fatal = next((line for line in lines if line.startswith("fatal: ")), lines[-1] if lines else f"exit code {code}")
    remedy = next((line for line in lines if line.startswith("git config ")), f"git -C {shlex.quote(str(root))} status")
    return MachineError(
        f"the work tree {root} was not sent",
        stage="sync",
        why=f"git does not say which files belong to it: {fatal.removeprefix('fatal: ')}",
        hint=remedy,
    )


def unreadable(root: Path | str, error: OSError) -> MachineError:
    return MachineError(
        f"the work tree {root} cannot be read",
        stage="sync",
        why=f"{error.filename}: {error.strerror}",
        hint="run it again",
    )
