"""A runner that was started ahead of its lease and waits: the job that comes next takes it over, and all it has."""

from __future__ import annotations

import base64
import os

from . import abandoned
from .folder import AttemptFolder


def take_over(jobs: str, name: str, standby: str, files: dict[str, str]) -> bool:
    """Whether the job `name` has what `standby` ("": nothing) started, and that may begin; else it is to be started.

    `files` are the job's, as base64: the standby gets those that it lacks. A request that broke off is gone on with.
    """
    path = os.path.join(jobs, name)
    if standby and not os.path.lexists(path):
        _link(standby, path)
    if not os.path.islink(path):  # nothing waits for it, or it was started afresh
        return False
    folder = AttemptFolder.of(jobs, name)
    try:
        taken = _begin(folder, name, files)
    except OSError:  # a full disk
        taken = folder.begun() and _is_of(folder, name)
    if not taken:
        os.unlink(path)
    return taken


def _begin(folder: AttemptFolder, taker: str, files: dict[str, str]) -> bool:
    """Raises OSError."""
    if not os.path.isdir(folder.path):
        return False
    if folder.begun():
        return _is_of(folder, taker)
    if not folder.supervised():
        abandoned.end_abandoned(folder)
        return False
    _link(taker, folder.file("taker"))
    if not _is_of(folder, taker):
        return False
    for name, data in files.items():
        if not os.path.exists(folder.file(name)):
            folder.add(name, base64.b64decode(data))
    folder.renew_lease()
    return folder.begin()


def _is_of(folder: AttemptFolder, taker: str) -> bool:
    """One job only takes it."""
    try:
        return os.readlink(folder.file("taker")) == taker
    except OSError:
        return False


def _link(target: str, path: str) -> None:
    """The first counts; who wants to know looks."""
    try:
        os.symlink(target, path)
    except OSError:
        return
