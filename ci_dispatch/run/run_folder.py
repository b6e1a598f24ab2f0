"""Where a run lives on the controller's disk: `runs/<id>/` in the folder of `run.folder`, by default `.ci-dispatch`.

    events.jsonl            the journal: the run itself
    events.jsonl.lost       what was damaged at its end, when a controller had died
    attempts/<lease>/       output.log, live.jsonl and the reports of each attempt
    tree/                   the work tree as it was when the run began, until it has finished
    merged.xml summary.md report.html run.json metrics.prom      what it came to
    controller.lock         held by the controller that drives it

Nobody but its owner can read it: names, messages and output of tests are theirs. Disk trouble becomes a `UsageError` or
`RunFolderError` that says what to do; nothing here is left half written.
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

from ci_dispatch.core.errors import ControllerError, UsageError
from ci_dispatch.core.model import LeaseNumber, RunId


class RunFolderError(ControllerError):
    """The disk under the run folder does not take what must be written."""


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
    def tree(self) -> Path:
        return self.path / "tree"

    @property
    def merged_xml(self) -> Path:
        return self.path / "merged.xml"

    @property
    def summary(self) -> Path:
        return self.path / "summary.md"

    @property
    def html(self) -> Path:
        return self.path / "report.html"

    @property
    def run_json(self) -> Path:
        return self.path / "run.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.prom"

    def open_journal(self) -> IO[bytes]:
        """The journal, open for appending and unbuffered; `journal.recover` has taken off what is no whole line."""
        with _teaching(self.journal):
            return open(self.journal, "ab", buffering=0, opener=_private)

    def last_attempt(self) -> LeaseNumber:
        """The highest lease that anything was stored for, whatever the journal says."""
        with _teaching(self.attempts):
            names = [path.name for path in self.attempts.iterdir()] if self.attempts.is_dir() else []
        return LeaseNumber(max((int(name) for name in names if name.isdecimal()), default=0))

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the run: one controller at a time drives it. The lock goes with the process, also when it is killed."""
        with ExitStack() as stack:
            with _teaching(self.path):  # only taking the lock: an error of the run itself says what it is
                lock = stack.enter_context(open(self.path / "controller.lock", "w", opener=_private))
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
    """A new run folder under `base`; what it holds is ignored by git. Raises UsageError when the run has one."""
    folder = RunFolder(base / "runs" / run)
    with _teaching(folder.path):
        if folder.path.exists():
            why = f"it has been before: {folder.path} is there"
            raise UsageError(f"Run {run} was not begun", why=why, hint="move that folder away")
        make_base(base)
        folder.path.parent.mkdir(mode=0o700, exist_ok=True)
        folder.path.mkdir(mode=0o700)
        folder.attempts.mkdir(mode=0o700)
    return folder


def make_base(base: Path) -> None:
    """The folder of all runs, for its owner alone and ignored by git. Raises RunFolderError."""
    with _teaching(base):
        base.parent.mkdir(parents=True, exist_ok=True)
        base.mkdir(mode=0o700, exist_ok=True)
        ignore = base / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")


def find(base: Path, name: str = "") -> RunFolder:
    """The run called `name` (an id, its beginning, or a path in any form), or the newest one.

    Raises UsageError when there is no such run, or more than one.
    """
    if name and os.path.isfile(Path(name) / "events.jsonl"):  # noqa: PTH113  (False for any name, however long)
        return RunFolder(Path(name).resolve())  # the name of the folder is the run's id: "." has none
    runs = all_runs(base)
    _mention_lost_journal(base, name, runs)
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


def _mention_lost_journal(base: Path, name: str, begun: list[RunFolder]) -> None:
    """Raises UsageError when the run that is meant, or the newest one, has attempts and no journal."""
    folders = [run for run in _folders(base) if run.id.startswith(name)]
    lost = [run for run in folders if not run.begun and run.attempts.is_dir() and any(run.attempts.iterdir())]
    if lost and (name or not begun or lost[-1].id > begun[-1].id):
        raise UsageError(
            f"Run {lost[-1].id} has lost its journal",
            why=f"{lost[-1].journal} is not there or empty, so nobody knows how far it came",
            hint="start a new run; name another one to look at that",
        )


def all_runs(base: Path) -> list[RunFolder]:
    """All runs under `base` that began, oldest first."""
    return [run for run in _folders(base) if run.begun]


def _folders(base: Path) -> list[RunFolder]:
    folder = base / "runs"
    return [RunFolder(path) for path in sorted(folder.iterdir())] if folder.is_dir() else []


def write_whole(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace `path` by `data`, or leave it as it was: nobody ever reads half of it. `mode`: who may read it at all."""
    with _teaching(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
            Path(name).chmod(mode)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


@contextmanager
def _teaching(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunFolderError(
            f"{path} could not be written", why=error.strerror or str(error), hint="free space, or check who owns it"
        ) from error
