"""The work tree as it lies on the controller: which files belong to it, and which of them tests do not write."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePath

from ci_dispatch.machines.supervisor.content import excluded
from ci_dispatch.run.ports import MachineError, WorkTree

# What runners and tools make, unless git tracks it
_MADE = ("__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis", ".benchmarks", ".coverage",
         "htmlcov", ".nyc_output", "test-results", "playwright-report", "blob-report")  # fmt: skip
_NEVER = (".git", ".ci-dispatch", "node_modules", ".venv")  # besides, where no git says what to leave out
_SOURCE = (".bash", ".c", ".cc", ".cfg", ".cjs", ".cpp", ".cs", ".css", ".cts", ".feature", ".go", ".graphql",
           ".groovy", ".h", ".hpp", ".ini", ".java", ".js", ".jsx", ".kt", ".kts", ".less", ".lua", ".mjs", ".mts",
           ".php", ".pl", ".proto", ".ps1", ".py", ".pyi", ".pyx", ".rb", ".robot", ".rs", ".scala", ".scss", ".sh",
           ".sql", ".svelte", ".swift", ".toml", ".ts", ".tsx", ".vue", ".yaml", ".yml")  # fmt: skip
_SOURCE_NAMES = ("Dockerfile", "Gemfile", "Makefile", "Rakefile", "package.json", "tsconfig.json")
_GIT_SECONDS = 60
_NO_REPOSITORY = "not a git repository (or any "  # "of the parent directories", "parent up to mount point"


def files_of(tree: WorkTree, *, sent: bool) -> dict[str, bool]:
    """The names of all files and symbolic links, relative to the root and in order, and whether git tracks each.

    They are what git would keep, or without git (or in a folder that git ignores) everything that is not plainly made.
    Raises MachineError when there is a repository that git does not list, and the tree is `sent` to machines: what git
    ignores (`.env`) must not go there.
    """
    root = tree.root.resolve()
    if not root.is_dir():
        raise MachineError(f"the work tree {root} does not exist", stage="sync")
    try:
        found = dict(_listed_by_git(root))
    except MachineError:
        if sent:
            raise
        found = {}
    names = found or dict.fromkeys(_walked(root), False)
    return {name: names[name] for name in sorted(names) if not excluded(name, tree.exclude)}


def stamps(tree: WorkTree, *, sent: bool) -> dict[str, tuple[int, ...]]:
    """How each watched file lies there now: the same again means that nobody has touched any. Raises MachineError."""
    root = tree.root.resolve()
    found = {}
    for name, tracked in files_of(tree, sent=sent).items():
        with suppress(OSError):  # it is gone
            status = (root / name).lstat()
            if is_watched(name, status, tracked=tracked):
                found[name] = seen(status)
    return found


def seen(status: os.stat_result) -> tuple[int, ...]:
    """What shows without reading that a file was touched."""
    return status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def is_watched(name: str, status: os.stat_result, *, tracked: bool) -> bool:
    """Whether it is a file that people write: one that git tracks, or that looks like source.

    Tests write logs, reports and databases into their tree, and may: nobody has to tell git about these.
    """
    path = PurePath(name)
    script = not path.suffix and stat.S_ISREG(status.st_mode) and bool(status.st_mode & 0o111)
    return tracked or script or path.suffix.lower() in _SOURCE or path.name in _SOURCE_NAMES


def committed(root: Path, sha: str) -> frozenset[str]:
    """The files of a commit. Raises MachineError."""
    listed = _git(root, ["git", "ls-tree", "-r", "-z", "--name-only", "--full-tree", sha])
    return frozenset(filter(None, listed.split("\0")))


def _walked(root: Path) -> Iterator[str]:
    for directory, folders, names in os.walk(root):
        links = [folder for folder in folders if Path(directory, folder).is_symlink()]
        folders[:] = [folder for folder in folders if folder not in (*_NEVER, *_MADE)]
        for name in (*names, *links):
            path = Path(directory, name)
            if name not in _MADE and _is_file(path):
                yield str(path.relative_to(root))


def _is_file(path: Path) -> bool:
    """Not: a folder, a pipe, a socket."""
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return False
    return stat.S_ISREG(kind) or stat.S_ISLNK(kind)


def _listed_by_git(root: Path, inside: str = "") -> Iterator[tuple[str, bool]]:
    """Also of submodules, and of repositories in the repository; nothing where there is no git."""
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
