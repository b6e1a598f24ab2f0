"""Where a run lives on the controller's disk: `runs/<id>/` in the folder of `run.folder`, by default `.ci-dispatch`.

    events.jsonl            the journal: the run itself
    attempts/<lease>/       output.log, live.jsonl and the reports of each attempt
    merged.xml summary.md run.json metrics.prom      what it came to
    controller.lock         held by the controller that drives it

Disk trouble becomes a `UsageError` or `RunFolderError` that says what to do; nothing here is left half written.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ci_dispatch.core.errors import CiDispatchError, ExitCode, UsageError
from ci_dispatch.core.model import RunId


class RunFolderError(CiDispatchError):
    """The disk under the run folder does not take what must be written."""

    exit_code = ExitCode.INCOMPLETE


@dataclass(frozen=True, slots=True)
class RunFolder:
    path: Path

    @property
    def id(self) -> RunId:
        return RunId(self.path.name)

    @property
    def begun(self) -> bool:
        return self.journal.is_file() and self.journal.stat().st_size > 0

    @property
    def journal(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def attempts(self) -> Path:
        return self.path / "attempts"

    @property
    def merged_xml(self) -> Path:
        return self.path / "merged.xml"

    @property
    def summary(self) -> Path:
        return self.path / "summary.md"

    @property
    def run_json(self) -> Path:
        return self.path / "run.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.prom"

    def open_journal(self) -> IO[bytes]:
        """The journal, open for appending and unbuffered. A last line cut by a killed controller is taken off first."""
        with _teaching(self.journal):
            stream = self.journal.open("r+b" if self.journal.exists() else "w+b", buffering=0)
            end = stream.seek(0, os.SEEK_END)
            stream.truncate(_end_of_last_line(stream, end))
            stream.seek(0, os.SEEK_END)
            return stream

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the run: one controller at a time drives it. The lock goes with the process, also when it is killed."""
        with ExitStack() as stack:
            with _teaching(self.path):  # only taking the lock: an error of the run itself says what it is
                lock = stack.enter_context((self.path / "controller.lock").open("w"))
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    raise UsageError(
                        f"Run {self.id} is being driven by another controller",
                        why="its lock is held",
                        hint="watch it with `ci-dispatch dashboard`, or end the other controller first",
                    ) from error
            yield


def create(base: Path, run: RunId) -> RunFolder:
    """A new run folder under `base`; what it holds is ignored by git."""
    folder = RunFolder(base / "runs" / run)
    with _teaching(folder.path):
        folder.attempts.mkdir(parents=True)
        ignore = base / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")
    return folder


def find(base: Path, name: str = "") -> RunFolder:
    """The run called `name` (an id, its beginning, or a path in any form), or the newest one.

    Raises UsageError when there is no such run, or more than one.
    """
    if name and os.path.isfile(Path(name) / "events.jsonl"):  # noqa: PTH113  (False for any name, however long)
        return RunFolder(Path(name).resolve())  # the name of the folder is the run's id: "." has none
    runs = all_runs(base)
    found = [run for run in runs if run.id.startswith(name)]
    if not name and found:
        return found[-1]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{name} may be any of {len(found)} runs", hint=_newest(found))
    raise UsageError(
        f"There is no run {name}" if name else "There is no run yet",
        why=f"nothing of that name in {base / 'runs'}",
        hint=f"one of: {_newest(runs)}" if runs else "`ci-dispatch run` makes one",
    )


def find_journal(base: Path, name: str = "") -> Path:
    """The journal of the run that `find` finds; a journal from anywhere is named by its path."""
    return Path(name) if name and os.path.isfile(name) else find(base, name).journal  # noqa: PTH113  (as above)


def _newest(runs: list[RunFolder], most: int = 5) -> str:
    more = f", and {len(runs) - most} older ones" if len(runs) > most else ""
    return ", ".join(run.id for run in reversed(runs[-most:])) + more


def all_runs(base: Path) -> list[RunFolder]:
    """All runs under `base` that began, oldest first."""
    folder = base / "runs"
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    return [run for run in map(RunFolder, paths) if run.begun]


def timings_file(base: Path) -> Path:
    return base / "timings.json"


def write_whole(path: Path, data: bytes) -> None:
    """Replace `path` by `data`, or leave it as it was: nobody ever reads half of it."""
    with _teaching(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
            Path(name).chmod(0o644)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def _end_of_last_line(stream: IO[bytes], end: int) -> int:
    while end > 0:
        begin = max(0, end - 65536)
        stream.seek(begin)
        newline = stream.read(end - begin).rfind(b"\n")
        if newline >= 0:
            return begin + newline + 1
        end = begin
    return 0


@contextmanager
def _teaching(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunFolderError(
            f"{path} could not be written", why=error.strerror or str(error), hint="free space, or check who owns it"
        ) from error
