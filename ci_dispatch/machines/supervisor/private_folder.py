"""The folder for everything we put on a machine: nobody else may change what lies in it, for it is executed."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from typing import Iterator

_LINKS = 40  # on one way, as the kernel counts


class NotPrivate(Exception):
    """Somebody else can change what is in a folder."""

    def __init__(self, path: str, why: str, remedy: str) -> None:
        super().__init__(f"nothing is run from {path} on this machine")
        self.why = why
        self.hint = f"{remedy}, or give this machine another `workdir`"


def make_private(path: str) -> None:
    """Make the folder `path` (absolute) unless it exists.

    As OpenSSH asks of an `authorized_keys` file (StrictModes): it is ours, and neither it nor a folder or a symbolic
    link on the way to it can be changed by anybody but us and root. Raises NotPrivate, and OSError.
    """
    trusted = {0, os.getuid(), os.stat("/").st_uid}  # in a container root may have another number
    for place, found in _way_to(path):
        if found.st_uid not in trusted:
            raise NotPrivate(path, f"{place} belongs to {_user(found.st_uid)}", "change its owner")
        if not stat.S_ISLNK(found.st_mode):
            _refuse_writers(path, place, found, sticky_is_enough=True)
    os.makedirs(path, mode=0o700, exist_ok=True)
    found = os.stat(path)
    if found.st_uid != os.getuid():
        raise NotPrivate(path, f"it belongs to {_user(found.st_uid)}, not to {_user(os.getuid())}", "change its owner")
    _refuse_writers(path, path, found, sticky_is_enough=False)


def _way_to(path: str) -> Iterator[tuple[str, os.stat_result]]:
    """Every folder and symbolic link on the way to `path`, step by step, as far as there is one."""
    here, todo, links = "/", path.split("/")[::-1], 0
    yield here, os.lstat(here)
    while todo:
        part = todo.pop()
        if part in ("", "."):
            continue
        place = os.path.dirname(here) if part == ".." else os.path.join(here, part)
        try:
            found = os.lstat(place)
        except FileNotFoundError:
            return
        yield place, found
        if not stat.S_ISLNK(found.st_mode):
            here = place
            continue
        links += 1
        if links > _LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        target = os.readlink(place)
        here = "/" if target.startswith("/") else here
        todo += target.split("/")[::-1]


def _refuse_writers(path: str, place: str, found: os.stat_result, *, sticky_is_enough: bool) -> None:
    if sticky_is_enough and found.st_mode & stat.S_ISVTX:  # as /tmp: nobody can replace what is another's
        return
    mode = stat.S_IMODE(found.st_mode)
    if mode & stat.S_IWOTH:
        raise NotPrivate(path, f"everybody may write in {place} (mode {mode:o})", f"chmod go-w {place}")
    if mode & stat.S_IWGRP and not _is_own_group(found.st_gid):
        raise NotPrivate(path, f"its group may write in {place} (mode {mode:o})", f"chmod g-w {place}")


def _is_own_group(group: int) -> bool:
    """A group of one's own, as many systems give to every user together with a umask of 002."""
    try:
        name, entry = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(group)
    except KeyError:
        return False
    return entry.gr_name == name and set(entry.gr_mem) <= {name}


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"
