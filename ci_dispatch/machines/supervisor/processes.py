"""Which processes belong to a job, and how to end every one of them, also when its supervisor is dead."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from typing import Any, Callable, NamedTuple
from urllib.parse import quote

from .folder import UNLOCKED_PREFIX, AttemptFolder

MARK = "CI_DISPATCH_JOB"  # in the environment of every process of a job: the directory of its attempt

LEFT_BEHIND_SECONDS = 2.0  # between TERM and KILL, for what outlived the root of its job
KILL_SECONDS = 5.0  # KILL cannot be refused, but a process in uninterruptible sleep dies late
UNLOCKED_SECONDS = 600.0  # far longer than any supervisor needs from making its folder to locking it
KEEP_SECONDS = 3 * 24 * 3600.0  # an attempt's files, for a person who looks for them


class Process(NamedTuple):
    pid: int
    parent: int
    session: int
    name: str
    mark: str  # "" when it has none or may not be looked at


def reset_signals() -> None:
    """Every signal at its default and none blocked, whatever this process has inherited.

    What is started by `&` in a script, by nohup or by cron ignores INT or HUP, and so does everything it starts; a
    runner that ignores INT writes no reports.
    """
    for number in signal.valid_signals():
        try:
            signal.signal(number, signal.SIG_DFL)
        except (OSError, ValueError):  # KILL, STOP, and those that the C library keeps for itself
            continue
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def processes() -> dict[int, Process]:
    """Every living process we may look at; zombies are dead already."""
    found = _from_proc() if os.path.isdir("/proc/self") else _from_ps()
    return {process.pid: process for process in found}


def _from_proc() -> set[Process]:
    found = set()
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", "rb") as file:
                # pid (name) state ppid pgrp session ...; the name may hold blanks and brackets
                before, _, after = file.read().rpartition(b")")
            state, parent, _group, session = after.split()[:4]
            if state in {b"Z", b"X"}:
                continue
            name = before.partition(b"(")[2].decode("utf-8", "replace")
            found.add(Process(int(entry), int(parent), int(session), name, _mark_from_proc(entry)))
        except (OSError, ValueError):  # it ended while we looked
            continue
    return found


def _mark_from_proc(pid: str) -> str:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return _mark_in(file.read().split(b"\0"))
    except OSError:  # another user's
        return ""


def _from_ps() -> set[Process]:
    """macOS: ps prints the environment behind the command; a mark therefore holds no blank."""
    listing = subprocess.run(
        ["ps", "-axEww", "-o", "pid=,ppid=,sess=,stat=,command="], stdout=subprocess.PIPE, check=False
    ).stdout
    found = set()
    for line in listing.splitlines():
        fields = line.split(None, 4)
        if len(fields) < 5 or fields[3].startswith(b"Z"):
            continue
        words = fields[4].split()
        session = int(fields[2]) if fields[2].isdigit() else 0
        name = os.path.basename(words[0].decode("utf-8", "replace"))
        found.add(Process(int(fields[0]), int(fields[1]), session, name, _mark_in(words)))
    return found


def _mark_in(words: list[bytes]) -> str:
    prefix = MARK.encode() + b"="
    for word in words:
        if word.startswith(prefix):
            return os.fsdecode(word[len(prefix) :])
    return ""


def belonging(mark: str, root: int | None = None) -> dict[int, str]:
    """pid -> name of what belongs to the job: marked, in the session of `root`, or descended from us or from `root`."""
    everything = processes()
    me = os.getpid()
    family = set() if root is None else {me, root}
    members = {p.pid for p in everything.values() if p.mark == mark or (root is not None and p.session == root)}
    while True:
        grown = {p.pid for p in everything.values() if p.parent in family | members} | members
        if grown == members:
            break
        members = grown
    return {pid: everything[pid].name for pid in members if pid != me}


def names_of(members: dict[int, str]) -> str:
    """For people: each name once."""
    return ", ".join(sorted(set(members.values())))


def count_of(members: dict[int, str]) -> str:
    return f"{len(members)} process{'es' if len(members) != 1 else ''}"


class Children:
    """Our children, reaped as they end; orphans of the job come to us (Linux), so they are among them."""

    def __init__(self, root: int) -> None:
        self.root = root
        self.root_status: int | None = None

    def reap(self) -> bool:
        """Take in who ended; True while the root of the job still runs."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if pid == self.root:
                self.root_status = status
        return self.root_status is None


def end(
    children: Children, mark: str, *, interrupt: float, terminate: float, hurry: Callable[[], bool]
) -> tuple[dict[int, str], dict[int, str]]:
    """End the job and everything it started; gives (what outlived its root, what outlived KILL), both pid -> name.

    `interrupt` are the seconds after INT in which the runner writes its reports, `terminate` those after TERM; both
    are cut short when `hurry()`.
    """
    for number, seconds in ((signal.SIGINT, interrupt), (signal.SIGTERM, terminate)):
        if seconds > 0 and children.reap():
            _signal_group(children.root, number)
            _wait(lambda: not children.reap() or hurry(), seconds)
    left_behind = belonging(mark, children.root)
    survivors = end_members(mark, children, terminate=min(terminate, LEFT_BEHIND_SECONDS))
    left_behind.pop(children.root, None)
    return left_behind, survivors


def end_members(mark: str, children: Children | None = None, *, terminate: float) -> dict[int, str]:
    """TERM, then KILL for all that belongs to the mark; gives what is still there afterwards."""
    root = children.root if children else None

    def none_left() -> bool:
        if children:
            children.reap()
        return not belonging(mark, root)

    if terminate > 0:
        _signal_each(mark, root, signal.SIGTERM)
        if _wait(none_left, terminate):
            return {}
    deadline = time.monotonic() + KILL_SECONDS
    while not none_left() and time.monotonic() < deadline:
        _signal_each(mark, root, signal.SIGKILL)  # again and again: it may be forking
        time.sleep(0.02)
    return belonging(mark, root)


def _signal_each(mark: str, root: int | None, number: int) -> None:
    for pid in belonging(mark, root):
        try:
            os.kill(pid, number)
        except OSError:
            continue


def _signal_group(root: int, number: int) -> None:
    try:
        os.killpg(root, number)
    except OSError:
        return


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.05)
    return True


def end_abandoned(folder: AttemptFolder) -> int:
    """End what is left of a job whose supervisor was killed, and say so in its status. Returns how many there were.

    Its lock is taken for that and kept by this process, for others may find the dead supervisor too.
    """
    if not folder.lock() or folder.status() is not None:
        return 0
    left = belonging(folder.mark)
    survivors = end_members(folder.mark, terminate=1.0)
    reason = "its supervisor was killed (out of memory, or a restart of the machine?)"
    if left:
        reason += f"; ended {count_of(left)} that it had left running: {names_of(left)}"
    if survivors:
        reason += f"; could not be killed: {names_of(survivors)}"
    folder.write_status({"ended": "lost", "reason": reason})
    folder.remove_temporary_files()
    return len(left)


def sweep(root: str) -> dict[str, Any]:
    """Jobs under `root` whose supervisor is dead are ended; those with a living one belong to a run or end by lease.

    Clears away what nobody will ask for any more. Returns {"ended": processes ended}.
    """
    jobs = os.path.join(root, "jobs")
    ended = 0
    for name in _entries(jobs):
        folder = AttemptFolder(os.path.join(jobs, name))
        if name.startswith(UNLOCKED_PREFIX):  # its lock is not ours to try: a supervisor may be about to take it
            if folder.age() > UNLOCKED_SECONDS:
                folder.remove()
        elif folder.supervised():
            continue
        elif folder.status() is None:
            ended += end_abandoned(folder)
        elif folder.age("status") > KEEP_SECONDS:
            shutil.rmtree(folder.path, ignore_errors=True)
    return {"ended": ended + _end_escaped(jobs)}


def _end_escaped(jobs: str) -> int:
    """End processes that carry the mark of a job which is over."""
    ours = quote(jobs) + "/"
    marks: dict[str, int] = {}
    for process in processes().values():
        if process.mark.startswith(ours):
            marks[process.mark] = marks.get(process.mark, 0) + 1
    ended = 0
    for mark, count in marks.items():
        folder = AttemptFolder(os.path.join(jobs, mark[len(ours) :]))
        if not folder.supervised():
            end_members(mark, terminate=1.0)
            ended += count
    return ended


def _entries(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []
