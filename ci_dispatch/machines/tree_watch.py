"""Whether a work tree that is used where it lies is still what the run began with."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

from ci_dispatch.machines.frozen_tree import Snapshot, TreeEntry, unread, unusable
from ci_dispatch.machines.supervisor.content import mode_and_content
from ci_dispatch.machines.work_tree import seen
from report_merge.render.wording import some

_SHOWN = 3  # files: the reason stands beside every test that did not run
_COARSE_SECONDS = 2.0  # a file as young as this may be changed once more and show the same time


class TreeWatch:
    """Compares files of a snapshot with those on disk. Only those that have been touched are read."""

    def __init__(self, here: Snapshot) -> None:
        self._root = here.root
        self._entries = [entry for entry in here.entries if entry.watched]
        self._known = {entry.name: (entry.seen, here.taken) for entry in self._entries}

    def changed(self) -> str:
        """Which files were changed or deleted, for people; "" for none.

        New files are no change, nor are equal bytes written again. Raises ControllerError when nobody can tell.
        """
        try:
            files = [entry.name for entry in self._entries if not self._is_same(entry)]
        except OSError as error:
            raise unusable(f"Whether {self._root} has changed is not known", error) from error
        return some(files, _SHOWN)

    def _is_same(self, entry: TreeEntry) -> bool:
        path = Path(self._root, entry.name)
        now = time.time()
        try:
            status = path.lstat()
            known, checked = self._known[entry.name]
            touched = max(status.st_mtime, status.st_ctime)
            if seen(status) != known or touched > checked - _COARSE_SECONDS:
                if not _is_equal(entry, path, status):
                    return False
                self._known[entry.name] = (seen(status), now)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return False
        return True


def _is_equal(entry: TreeEntry, path: Path, status: os.stat_result) -> bool:
    was = entry.seen[0]
    if stat.S_IFMT(status.st_mode) != stat.S_IFMT(was) or bool(status.st_mode & 0o111) != bool(was & 0o111):
        return False
    return entry.content == (unread(status) if entry.is_unread else mode_and_content(str(path))[1])
