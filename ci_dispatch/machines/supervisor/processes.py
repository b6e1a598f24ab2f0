"""Which processes belong to a job, and how to end every one of them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from typing import Callable, NamedTuple

MARK = "CI_DISPATCH_JOB"  # in the environment of every process of a job: the directory of its attempt

LEFT_BEHIND_SECONDS = 2.0  # between TERM and KILL, for what outlived the root of its job
KILL_SECONDS = 5.0  # KILL cannot be refused, but a process in uninterruptible sleep dies late


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


def started_with(*words: str) -> list[int]:
    """The living processes besides this one that have all these words among their arguments."""
    wanted = {os.fsencode(word) for word in words}
    return [pid for pid in processes() if pid != os.getpid() and wanted <= set(_arguments_of(pid))]


def _arguments_of(pid: int) -> list[bytes]:
    if not os.path.isdir("/proc/self"):
        command = ["ps", "-ww", "-o", "args=", "-p", str(pid)]
        return subprocess.run(command, stdout=subprocess.PIPE, check=False).stdout.split()
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().split(b"\0")
    except OSError:
        return []


def _mark_in(words: list[bytes]) -> str:
    prefix = MARK.encode() + b"="
    for word in words:
        if word.startswith(prefix):
            return os.fsdecode(word[len(prefix) :])
    return ""


class Children:
    """Our children, reaped as they end; orphans of the job come to us (Linux), so they are among them."""

    def __init__(self, root: int = 0, look: Callable[[], None] = lambda: None) -> None:
        """`root` is the job's first process, 0 when it is not known; `look` is called at every look."""
        self.root = root
        self.root_status: int | None = None
        self._look = look

    def reap(self) -> bool:
        """Take in who ended; True while the root of the job still runs."""
        self._look()
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


def belonging(mark: str, children: Children | None = None) -> dict[int, str]:
    """pid -> name of what belongs to the job: marked, or (given its `children`) in its session or descended from us.

    Parents come before their children, so that who is ended in this order never sees a child die and reports that as
    a crash. Raises OSError when the system does not say which processes there are.
    """
    everything = processes()
    me, root = os.getpid(), children.root if children else 0
    family = ({me, root} if root else {me}) if children else set()
    members = {p.pid for p in everything.values() if p.mark == mark or (root and p.session == root)}
    while True:
        grown = {p.pid for p in everything.values() if p.parent in family | members} | members
        if grown == members:
            break
        members = grown
    ordered = sorted(members - {me}, key=lambda pid: (_depth(pid, everything), pid))
    return {pid: everything[pid].name for pid in ordered}


def _depth(pid: int, everything: dict[int, Process]) -> int:
    """How many living ancestors it has."""
    above: set[int] = set()
    while (process := everything.get(pid)) and process.parent not in above:
        above.add(process.parent)
        pid = process.parent
    return len(above)


def names_of(members: dict[int, str]) -> str:
    """For people: each name once."""
    return ", ".join(sorted(set(members.values())))


def count_of(members: dict[int, str]) -> str:
    return f"{len(members)} process{'es' if len(members) != 1 else ''}"


def end(
    children: Children, mark: str, *, interrupt: float, terminate: float, hurry: Callable[[], bool]
) -> tuple[dict[int, str], dict[int, str]]:
    """End the job and everything it started; gives (what outlived its root, what outlived KILL), both pid -> name.

    `interrupt` are the seconds after INT in which the runner writes its reports, `terminate` those after TERM; both
    are cut short when `hurry()`.
    """
    for number, seconds in ((signal.SIGINT, interrupt), (signal.SIGTERM, terminate)):
        if seconds > 0 and children.reap():
            signal_group(children.root, number)
            _wait(lambda: not children.reap() or hurry(), seconds)
    left_behind = belonging(mark, children)
    survivors = end_members(mark, children, terminate=min(terminate, LEFT_BEHIND_SECONDS))
    left_behind.pop(children.root, None)
    return left_behind, survivors


def end_members(mark: str, children: Children | None = None, *, terminate: float) -> dict[int, str]:
    """TERM, then KILL for all that belongs to the mark; gives what is still there afterwards. Raises OSError."""

    def none_left() -> bool:
        if children:
            children.reap()
        return not belonging(mark, children)

    if terminate > 0:
        _signal_each(mark, children, signal.SIGTERM)
        if _wait(none_left, terminate):
            return {}
    deadline = time.monotonic() + KILL_SECONDS
    while not none_left() and time.monotonic() < deadline:
        _signal_each(mark, children, signal.SIGKILL)  # again and again: it may be forking
        time.sleep(0.02)
    return belonging(mark, children)


def _signal_each(mark: str, children: Children | None, number: int) -> None:
    for pid in belonging(mark, children):
        try:
            os.kill(pid, number)
        except OSError:
            continue


def signal_group(root: int, number: int) -> None:
    """To the root of a job and whoever has not left its group; needs nothing but the root's number."""
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
