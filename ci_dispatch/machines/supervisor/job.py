"""Start a job that outlives its connection, and watch over it until it and everything it started has ended."""

from __future__ import annotations

import base64
import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import time
from fnmatch import fnmatchcase
from typing import Any, Iterable

from .folder import OUTPUT_FILE, AttemptFolder
from .processes import MARK, Children, count_of, end, names_of, reset_signals
from .watchdog import Progress, watch

BEGIN = "CI_DISPATCH_BEGIN"  # for a runner started ahead: the file that is there when it may begin

POLL_SECONDS = 0.05
_PR_SET_CHILD_SUBREAPER = 36


def start(path: str, spec: dict[str, Any], umask: int) -> str:
    """Start the job of `spec` in the folder `path` unless it exists; returns "" or why it could not be started.

    `umask` is the job's, not ours.
    """
    if os.path.isdir(path):
        return ""
    files = {name: base64.b64decode(data) for name, data in spec["files"].items()}
    try:
        folder = AttemptFolder.create(path, files, waits=bool(spec.get("waits")))
    except OSError as error:
        return f"cannot make the attempt's folder: {error.strerror or error}: {error.filename or path}"
    answer, ready = os.pipe()
    middle = os.fork()
    if middle == 0:
        try:
            os.close(answer)
            os.setsid()
            if os.fork() == 0:
                _begin(folder, path, spec, umask, ready)
        finally:
            os._exit(0)
    os.close(ready)
    os.waitpid(middle, 0)
    with os.fdopen(answer, "rb") as pipe:
        return pipe.read().decode("utf-8", "replace")


def _begin(folder: AttemptFolder, path: str, spec: dict[str, Any], umask: int, ready: int) -> None:
    """The watchdog's whole life, in a process of its own; `ready` is closed when the job may be attached to."""
    try:
        _detach(ready)
        if not folder.lock():
            raise OSError("somebody else holds the lock of a folder nobody knows")  # noqa: TRY301
        os.rename(folder.path, path)  # from here on others see it, supervised from the first moment
        folder.path = path
        progress = Progress(folder)
        supervisor = os.fork()
    except OSError as error:
        folder.remove()
        if not os.path.isdir(path):  # else another `run` of the same job was faster: that one is attached to
            os.write(ready, f"cannot begin: {error}".encode())
        return
    os.close(ready)
    if supervisor == 0:
        _supervise(folder, spec, umask, progress)
    else:
        watch(supervisor, progress, folder, spec["lease"])


def _supervise(folder: AttemptFolder, spec: dict[str, Any], umask: int, progress: Progress) -> None:
    """The supervisor's whole life. Ends with 0 when nothing of its job runs any more; else see the watchdog."""
    try:
        _adopt_orphans()
        status = _Supervision(folder, spec, umask, progress).run()
    except BaseException as error:  # noqa: BLE001  # whatever it was, somebody must end the job
        progress.fail(f"its supervisor failed: {error!r}")
        progress.wake_watchdog()
        os._exit(1)
    progress.advance(over=True)
    try:
        folder.write_status(status)
    finally:
        folder.remove_temporary_files()
        progress.wake_watchdog()
        os._exit(0)


def _detach(ready: int) -> None:
    """No terminal, no files of the connection, no signal that could end us before the job has ended."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    os.set_inheritable(ready, False)  # noqa: FBT003  # it takes no keywords
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _frame: _signals.append(number))
    _adopt_orphans()


def _adopt_orphans() -> None:
    """Orphans of the job become our children; each process has to say so for itself."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


_signals: list[int] = []  # that asked the supervisor itself to end


class _Supervision:
    """One job from its first to its last process."""

    def __init__(self, folder: AttemptFolder, spec: dict[str, Any], umask: int, progress: Progress) -> None:
        self._folder, self._spec, self._umask, self._progress = folder, spec, umask, progress
        self._waits = bool(spec.get("waits"))  # for the job that takes it over
        self._began = time.monotonic()
        self._renewals, self._renewed = folder.lease_renewals(), self._began

    def run(self) -> dict[str, Any]:
        """Returns its status. Whatever is raised, something of it may be running."""
        folder, spec = self._folder, self._spec
        try:
            tree, ended = self._hold_tree()
            if ended:
                return {"ended": ended, "reason": "it waited for the work tree, which another run was changing"}
            pid = self._spawn()
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            folder.refuse()
            return {"ended": "not started", "reason": _cannot_start(spec, error), "seconds": 0.0}
        self._progress.advance(pid)
        children = Children(pid, self._progress.advance)
        ended = self._wait(children)
        live_lines = folder.lines_of(spec["live"])  # before the runner hears that it has to end
        interrupt, terminate = spec["interrupt_grace"], spec["terminate_grace"]
        if folder.cancelled_now():
            interrupt = terminate = 0.0
        left_behind, survivors = end(
            children, folder.mark, interrupt=interrupt, terminate=terminate, hurry=folder.cancelled_now
        )
        if tree is not None:
            os.close(tree)
        code, number = _exit_of(children.root_status)
        return {
            "ended": ended,
            "exit_code": code,
            "signal": number,
            "reason": _reason(folder, ended, left_behind, survivors),
            "seconds": round(time.monotonic() - self._began, 3),
            "live_lines": live_lines,
        }

    def _hold_tree(self) -> tuple[int | None, str]:
        """Keep the work tree from being changed while the job runs in it, or say what ended the wait for that.

        Raises ValueError when it was changed before.
        """
        spec = self._spec
        if not spec.get("tree"):
            return None, ""
        descriptor = os.open(spec["tree"] + ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                self._progress.advance()
                if ended := self._what_ends_it():
                    return None, ended
                time.sleep(POLL_SECONDS)
        with open(spec["tree"] + ".state", "rb") as file:
            if file.readline().strip().decode() != spec["state"]:
                raise ValueError("another run has changed the work tree since it was brought here")
        return descriptor, ""

    def _spawn(self) -> int:
        folder, spec = self._folder, self._spec
        environment = {name: value for name, value in os.environ.items() if not _matches(name, spec["hidden"])}
        environment.update(spec["env"])
        environment["TMPDIR"] = os.readlink(folder.file("tmp"))
        environment[MARK] = folder.mark
        if self._waits:
            environment[BEGIN] = folder.file("begin")
        output = os.open(folder.file(OUTPUT_FILE), os.O_WRONLY | os.O_APPEND)
        try:
            job = subprocess.Popen(
                spec["argv"],
                cwd=spec["cwd"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=self._become_the_job,  # noqa: PLW1509  # this process has one thread
            )
        finally:
            os.close(output)
        job.returncode = 0  # `Children` waits for it, not subprocess
        return job.pid

    def _become_the_job(self) -> None:
        reset_signals()
        os.umask(self._umask)

    def _wait(self, children: Children) -> str:
        """Until the job ends or has to be ended; says which."""
        while children.reap():
            if ended := self._what_ends_it():
                return ended
            time.sleep(POLL_SECONDS)
        self._folder.refuse()
        return "exited"

    def _what_ends_it(self) -> str:
        """Why the job may not go on, "" while it may."""
        ended = self._why_not_on()
        if not self._waits or (ended and self._folder.refuse()):
            return ended
        if self._folder.begun():  # its time begins now, whatever was to end it while it waited
            self._waits, self._began, self._renewed = False, time.monotonic(), time.monotonic()
        return ""

    def _why_not_on(self) -> str:
        """A lease that cannot be read is not renewed."""
        now = time.monotonic()
        renewals = self._folder.lease_renewals()
        if renewals and renewals != self._renewals:
            self._renewals, self._renewed = renewals, now
        if self._folder.cancelled():
            return "cancelled"
        if not self._waits and now - self._began > self._spec["timeout"]:
            return "timed out"
        if now - self._renewed > self._spec["lease"]:
            return "lease ended"
        if _signals:
            return "lost"  # the machine is shutting down, or somebody ends us
        return ""


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _cannot_start(spec: dict[str, Any], error: Exception) -> str:
    program = spec["argv"][0]
    if isinstance(error, FileNotFoundError) and not os.path.isdir(spec["cwd"]):
        return f"the folder {spec['cwd']} does not exist on this machine"
    if isinstance(error, FileNotFoundError):
        return f"{program} was not found on this machine, PATH is {spec['env'].get('PATH', os.environ.get('PATH', ''))}"
    return f"{program} cannot be started: {error}"


def _reason(folder: AttemptFolder, ended: str, left_behind: dict[int, str], survivors: dict[int, str]) -> str:
    reasons = []
    if ended == "lost":
        reasons.append(f"signal {_signals[0]} ended the supervisor: is the machine shutting down?")
    reasons.append(folder.disk_problem())
    if survivors:
        reasons.append(f"could not be killed: {names_of(survivors)}")
    if left_behind and ended == "exited":
        reasons.append(f"ended {count_of(left_behind)} that the job had left running: {names_of(left_behind)}")
    return "; ".join(filter(None, reasons))


def _exit_of(status: int | None) -> tuple[int | None, int | None]:
    if status is None:
        return None, None
    return (None, os.WTERMSIG(status)) if os.WIFSIGNALED(status) else (os.WEXITSTATUS(status), None)
