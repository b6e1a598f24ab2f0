"""Whether a tree has changed since it was frozen: nothing that tests could see is missed, and nothing else counts."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ci_dispatch.core.errors import ControllerError
from ci_dispatch.machines import frozen_tree, tree_watch, work_tree
from ci_dispatch.machines.supervisor.content import mode_and_content
from ci_dispatch.machines.tree_watch import TreeWatch
from ci_dispatch.run.ports import WorkTree


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Made long ago, and without git: below tests/unit no process is started."""
    monkeypatch.setattr(work_tree, "_git", lambda *_args, **_kwargs: "")
    folder = tmp_path / "project"
    (folder / "lib").mkdir(parents=True)
    for name in ("a.py", "b.py", "lib/c.py", "data.json"):
        (folder / name).write_text(name)
        os.utime(folder / name, (1e9, 1e9))
    (folder / "run").write_text("#!/bin/sh\n")
    (folder / "run").chmod(0o755)
    (folder / "link.py").symlink_to("a.py")
    (folder / "latest").symlink_to("a.py")
    (folder / "app.bin").touch(0o777)
    return folder


def watch(tree: Path, *, copy: bool = False) -> TreeWatch:
    return TreeWatch(frozen_tree.freeze(WorkTree(root=tree), tree.parent / "frozen", copy=copy))


def same_time(path: Path, text: str) -> None:
    """An edit of the same size that keeps the file's time, as some tools do."""
    status = path.stat()
    path.write_text(text)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def grow(path: Path) -> None:
    with path.open("a") as file:
        file.write("x")


def instead(make: Callable[[Path], object], name: str = "a.py") -> Callable[[Path], None]:
    """Something else in place of a file or folder."""

    def edit(tree: Path) -> None:
        remove = shutil.rmtree if (tree / name).is_dir() and not (tree / name).is_symlink() else os.unlink
        remove(tree / name)
        make(tree / name)

    return edit


EDITS: dict[str, Callable[[Path], object]] = {
    "other bytes": lambda tree: (tree / "a.py").write_text("other"),
    "as many bytes, and the same time": lambda tree: same_time(tree / "a.py", "A.py"),
    "more at the end": lambda tree: grow(tree / "lib" / "c.py"),
    "deleted": lambda tree: (tree / "a.py").unlink(),
    "its folder is deleted": lambda tree: shutil.rmtree(tree / "lib"),
    "its folder is a file": instead(Path.touch, "lib"),
    "a folder in its place": instead(Path.mkdir),
    "a pipe in its place": instead(os.mkfifo),
    "a link in its place": instead(lambda path: path.symlink_to("b.py")),
    "a link that leads elsewhere": instead(lambda path: path.symlink_to("b.py"), "link.py"),
    "executable now": lambda tree: (tree / "a.py").chmod(0o755),
    "executable no more": lambda tree: (tree / "run").chmod(0o644),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
@pytest.mark.parametrize("copy", [False, True], ids=["watched", "copied"])
def test_every_edit_is_noticed(tree: Path, edit: Callable[[Path], object], copy: bool) -> None:
    watching = watch(tree, copy=copy)
    assert watching.changed() == ""
    edit(tree)
    assert watching.changed()


NO_EDITS: dict[str, Callable[[Path], object]] = {
    "nothing": lambda _tree: None,
    "touched": lambda tree: (tree / "a.py").touch(),
    "the same bytes": lambda tree: (tree / "a.py").write_text("a.py"),
    "written anew": instead(lambda path: path.write_text("a.py")),
    "for nobody else": lambda tree: (tree / "a.py").chmod(0o600),
    "a new file": lambda tree: (tree / "new.py").write_text("1"),
    "a link to the newest result": instead(lambda path: path.symlink_to("b.py"), "latest"),
    "a program that was built": lambda tree: (tree / "app.bin").write_text("2"),
    "a result": lambda tree: (tree / "data.json").write_text("2"),
    "a result is deleted": lambda tree: (tree / "data.json").unlink(),
}


@pytest.mark.parametrize("edit", NO_EDITS.values(), ids=NO_EDITS)
def test_what_is_no_edit(tree: Path, edit: Callable[[Path], object]) -> None:
    watching = watch(tree)
    edit(tree)
    assert watching.changed() == ""


def test_an_edit_that_was_undone_is_none(tree: Path) -> None:
    watching = watch(tree)
    (tree / "a.py").write_text("other")
    assert watching.changed() == "a.py"
    (tree / "a.py").write_text("a.py")
    assert watching.changed() == ""


def test_only_files_that_were_touched_are_read_again_and_only_once(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watching = watch(tree)
    time_of_checks = time.time() + 3600
    monkeypatch.setattr(time, "time", lambda: time_of_checks)
    watching.changed()
    (tree / "b.py").touch()
    read: list[str] = []

    def listen(path: str) -> tuple[str, str]:
        read.append(Path(path).name)
        return mode_and_content(path)

    monkeypatch.setattr(tree_watch, "mode_and_content", listen)
    for _ in range(3):
        assert watching.changed() == ""
    assert read == ["b.py"]


def test_a_file_so_young_that_its_time_may_not_move_is_read_each_time(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock of a file system stands still for some milliseconds, on some for two seconds."""
    (tree / "a.py").write_text("a.py")
    watching = watch(tree)
    was = work_tree.seen((tree / "a.py").lstat())
    (tree / "a.py").write_text("A.py")
    monkeypatch.setattr(tree_watch, "seen", lambda status: was if status.st_size == 4 else work_tree.seen(status))
    assert watching.changed() == "a.py"


def test_the_first_files_are_named_and_the_others_counted(tree: Path) -> None:
    for number in range(5):
        (tree / f"n{number}.py").write_text("1")
    watching = watch(tree)
    for number in range(5):
        (tree / f"n{number}.py").write_text("2")
    assert watching.changed() == "n0.py, n1.py, n2.py and 2 more"


def test_what_nobody_can_tell_is_this_computers_trouble(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file descriptors left: that is not an edit."""
    watching = watch(tree)
    (tree / "a.py").touch()

    def refuse(_path: str) -> None:
        raise OSError(errno.EMFILE, "Too many open files", "a.py")

    monkeypatch.setattr(tree_watch, "mode_and_content", refuse)
    with pytest.raises(ControllerError, match="Too many open files"):
        watching.changed()
