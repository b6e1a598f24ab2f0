"""What travels between the controller and a machine: the work tree to it, an attempt's files back from it."""

from __future__ import annotations

import fnmatch
import gzip
import hashlib
import os
import shlex
import shutil
import subprocess
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import IO

from ci_dispatch.run.ports import MachineError, WorkTree

_NEVER = (".git", ".ci-dispatch", "node_modules", ".venv", "__pycache__")  # where no git says what to leave out
_GIT_SECONDS = 60
MAX_FILES = 20_000  # of one attempt
MAX_BYTES = 512 * 1024 * 1024  # of all its files together, unpacked
_NO_REPOSITORY = "not a git repository (or any "  # "of the parent directories", "parent up to mount point"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The files of a tree, relative and in order, with the hash of their names, modes and contents."""

    root: Path
    files: tuple[str, ...]
    state: str

    def name(self) -> str:
        """What the tree is called on a machine: the same from run to run, different for different trees."""
        return f"{_plain(self.root.name)}-{hashlib.sha256(os.fsencode(self.root)).hexdigest()[:10]}"

    def write(self, stream: IO[bytes]) -> None:
        """All files as tar.gz. Raises MachineError when a file changed or went away meanwhile."""
        try:
            packed = gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=1, mtime=0)
            with packed, tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar:
                for name in self.files:
                    tar.add(self.root / name, arcname=name, recursive=False)
        except OSError as error:
            raise _unreadable(self.root, error) from error


def snapshot(tree: WorkTree) -> Snapshot:
    """What there is to send now. A tree with a commit is identified by it, any other by its content.

    Raises MachineError when it cannot be read.
    """
    root = tree.root.resolve()
    if not root.is_dir():
        raise MachineError(f"the work tree {root} does not exist", stage="sync")
    try:
        files = tuple(sorted(name for name in _names(root) if not _excluded(name, tree.exclude)))
        state = f"git:{tree.sha}" if tree.sha else f"copy:{_content_hash(root, files)}"
    except OSError as error:
        raise _unreadable(root, error) from error
    return Snapshot(root, files, state)


def _names(root: Path) -> Iterator[str]:
    """What git would keep, or without git (or in a folder that git ignores) everything that is not plainly made."""
    if listed := _listed_by_git(root):
        for name in filter(None, listed.split("\0")):
            path = root / name
            if path.is_symlink() or path.is_file():  # not: deleted, or a submodule
                yield name
        return
    for directory, folders, names in os.walk(root):
        folders[:] = [folder for folder in folders if folder not in _NEVER]
        for name in names:
            yield str(Path(directory, name).relative_to(root))


def _listed_by_git(root: Path) -> str:
    """Names that end in NUL; "" where there is no git, no repository, or nothing that git would keep.

    Raises MachineError when there is a repository that git does not list: what it ignores (`.env`) must not be sent.
    """
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"]
    environment = {**os.environ, "LC_ALL": "C", "LANGUAGE": ""}  # its messages are read
    try:
        listed = subprocess.run(
            command, cwd=root, env=environment, capture_output=True, check=False, timeout=_GIT_SECONDS
        )
    except FileNotFoundError:  # there is no git
        return ""
    except subprocess.TimeoutExpired as error:
        raise MachineError(f"git did not list {root} within {_GIT_SECONDS} s", stage="sync") from error
    stderr = os.fsdecode(listed.stderr)
    if listed.returncode and _NO_REPOSITORY not in stderr:
        raise _not_listed(root, stderr, listed.returncode)
    return os.fsdecode(listed.stdout) if listed.returncode == 0 else ""


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


def _excluded(name: str, patterns: tuple[str, ...]) -> bool:
    parts = PurePosixPath(name)
    return any(
        fnmatch.fnmatchcase(str(path), pattern.rstrip("/")) for pattern in patterns for path in (parts, *parts.parents)
    )


def _content_hash(root: Path, files: tuple[str, ...]) -> str:
    total = hashlib.sha256()
    for name in files:
        path = root / name
        stat = path.lstat()
        content = (
            os.fsencode(path.readlink()) if path.is_symlink() else _file_hash(path, stat.st_size, stat.st_mtime_ns)
        )
        total.update(b"%s\0%o\0%s\0" % (os.fsencode(name), stat.st_mode, content))
    return total.hexdigest()


@cache
def _file_hash(path: Path, _size: int, _modified: int) -> bytes:
    """Read once a process for every machine: size and time stand for an unchanged file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _plain(name: str) -> str:
    return "".join(letter if letter.isascii() and (letter.isalnum() or letter in "-_.") else "-" for letter in name)


def _unreadable(root: Path, error: OSError) -> MachineError:
    return MachineError(
        f"the work tree {root} cannot be read",
        stage="sync",
        why=f"{error.filename}: {error.strerror}",
        hint="run it again",
    )


def unpack(archive: IO[bytes], into: Path) -> int:
    """The regular files of a machine's tar.gz, below `into`; the rest of it is passed over. Returns their number.

    What comes from a machine is foreign: nothing of it may land outside of that folder.
    The rules of tarfile's "data" filter and stricter (no links at all), for Pythons that have none.
    https://docs.python.org/3/library/tarfile.html#extraction-filters
    Raises MachineError for an archive that is broken or too big, or a disk that is full.
    """
    count = total = 0
    try:
        with gzip.GzipFile(fileobj=archive) as plain, tarfile.open(fileobj=plain, mode="r|") as tar:
            for member in tar:
                if not member.isfile() or not _harmless(member.name):
                    continue
                count, total = count + 1, total + member.size
                if count > MAX_FILES or total > MAX_BYTES:
                    raise _broken(f"more than {MAX_FILES} files or {MAX_BYTES // 1024**2} MB")
                source = tar.extractfile(member)
                assert source is not None  # it is a regular file
                path = into / member.name
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as file:
                    shutil.copyfileobj(source, file)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _broken(str(error)) from error
    except OSError as error:
        raise MachineError(
            "the reports cannot be stored", stage="collect", why=f"{error.strerror}: {error.filename}", hint="make room"
        ) from error
    return count


def _harmless(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\0" not in name and bool(path.parts)


def _broken(why: str) -> MachineError:
    return MachineError("the machine's archive of reports cannot be used", stage="collect", why=why)
