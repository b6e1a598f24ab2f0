"""What a frozen tree holds: the files as they were read, whatever becomes of them meanwhile."""

from __future__ import annotations

import errno
import io
import os
import socket
from pathlib import Path

import pytest

from ci_dispatch.core.errors import ControllerError
from ci_dispatch.machines import frozen_tree, work_tree
from ci_dispatch.machines.frozen_tree import Snapshot, freeze, kept, thaw, write_copy
from ci_dispatch.machines.supervisor.archive import Limits, members
from ci_dispatch.machines.supervisor.content import state_on_disk
from ci_dispatch.run.ports import MachineError, WorkTree


@pytest.fixture(autouse=True)
def _no_git(monkeypatch: pytest.MonkeyPatch) -> None:
    """Below tests/unit no process is started."""
    monkeypatch.setattr(work_tree, "_git", lambda *_args, **_kwargs: "")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.py").write_text("a")
    (folder / "sub" / "run.sh").write_text("#!/bin/sh\n")
    (folder / "sub" / "run.sh").chmod(0o751)
    (folder / "link").symlink_to("sub")
    (folder / "dangling").symlink_to("nowhere")
    return folder


def frozen(tree: Path, *, copy: bool = True, **given: object) -> Snapshot:
    return freeze(WorkTree(root=tree, **given), tree.parent / "frozen", copy=copy)  # type: ignore[arg-type]


def copied(tree: Path, here: Snapshot, *, rest: bool = False) -> dict[str, tuple[str, str]]:
    """Mode and content by name."""
    stream = io.BytesIO()
    write_copy(tree.parent / "frozen", stream, rest=rest)
    limits = Limits(members=len(here.entries), content=sum(entry.size for entry in here.entries))
    return {
        member.name: ("link", member.target)
        if member.is_link
        else (f"{member.mode:o}", b"".join(member.pieces()).decode())
        for member in members(io.BytesIO(stream.getvalue()), limits)
    }


WHOLE = {
    "a.py": ("644", "a"),
    "sub/run.sh": ("751", "#!/bin/sh\n"),
    "link": ("link", "sub"),
    "dangling": ("link", "nowhere"),
}


def test_the_copy_is_what_was_frozen_whatever_is_edited_later(tree: Path) -> None:
    here = frozen(tree)
    (tree / "a.py").write_text("edited")
    (tree / "sub" / "run.sh").unlink()
    (tree / "new.py").write_text("new")
    assert copied(tree, here) == WHOLE
    assert thaw(tree.parent / "frozen") == here


def test_what_identifies_it_is_what_a_machine_finds_on_its_disk(tree: Path) -> None:
    here = frozen(tree)
    assert here.state == state_on_disk(str(tree), [entry.name for entry in here.entries])
    assert here.state == frozen_tree.freeze(WorkTree(root=tree), tree.parent / "again", copy=False).state


def test_a_file_that_grows_while_it_is_read_is_what_was_read(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody's log, in the tree: it must not stand in the way of a run."""
    (tree / "run.log").write_text("1")
    read = frozen_tree._Hashed.read

    def grow(file: frozen_tree._Hashed, size: int) -> bytes:
        with (tree / "run.log").open("a") as log:
            log.write("2")
        return read(file, size)

    monkeypatch.setattr(frozen_tree._Hashed, "read", grow)
    here = frozen(tree)
    assert (tree / "run.log").stat().st_size > 1
    [entry] = [entry for entry in here.entries if entry.name == "run.log"]
    assert len(copied(tree, here)["run.log"][1]) == entry.size
    assert not entry.watched


def test_a_file_that_is_gone_before_it_is_read_is_not_in_it(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = {"a.py": False, "gone.py": False}
    monkeypatch.setattr(frozen_tree, "files_of", lambda *_args, **_kwargs: listed)
    assert [entry.name for entry in frozen(tree).entries] == ["a.py"]


def test_pipes_and_sockets_are_not_files(tree: Path) -> None:
    os.mkfifo(tree / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(tree / "socket"))
        assert {entry.name for entry in frozen(tree).entries} == set(WHOLE)


@pytest.mark.parametrize("name", ["node_modules/x.js", "__pycache__/a.pyc", "test-results/junit.xml", ".hypothesis/x"])
def test_what_is_plainly_made_is_not_of_the_tree(tree: Path, name: str) -> None:
    (tree / name).parent.mkdir()
    (tree / name).write_text("1")
    assert {entry.name for entry in frozen(tree).entries} == set(WHOLE)


def test_with_a_commit_git_knows_two_permissions_and_the_rest_goes_by_itself(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen_tree, "committed", lambda *_args: frozenset({"a.py", "sub/run.sh", "link"}))
    (tree / "a.py").chmod(0o600)
    here = frozen(tree, sha="1234")
    assert here.sha == "1234"
    assert copied(tree, here) == {**WHOLE, "sub/run.sh": ("755", "#!/bin/sh\n")}
    assert copied(tree, here, rest=True) == {"dangling": ("link", "nowhere")}


def refuse(name: str) -> object:
    """An `open` that may not open files of this name."""
    original = Path.open

    def careful(path: Path, *args: object, **kwargs: object) -> object:
        if path.name == name:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return original(path, *args, **kwargs)  # type: ignore[call-overload]

    return careful


def test_a_file_that_cannot_be_read_stands_in_the_way_of_a_copy(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "open", refuse("a.py"))
    with pytest.raises(ControllerError, match=r"a\.py: Permission denied"):
        frozen(tree)


def test_a_file_that_cannot_be_read_is_watched_by_its_time_when_nothing_is_sent(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A data base of another user, in a folder of the tree: this computer alone can do without it."""

    def refused(path: str) -> tuple[str, str]:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(frozen_tree, "mode_and_content", refused)
    here = frozen(tree, copy=False)
    assert {entry.name for entry in here.entries if entry.is_unread} == {"a.py", "sub/run.sh"}


def test_a_very_large_tree_is_not_read_to_its_end_when_nothing_is_sent(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen_tree, "_HASHED_BYTES", 5)
    assert [entry.is_unread for entry in frozen(tree, copy=False).entries if entry.name == "sub/run.sh"] == [True]


def test_a_full_disk_is_this_computers_trouble(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "whole.tar.gz")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ControllerError, match="No space left on device"):
        frozen(tree)
    assert not (tree.parent / "frozen").exists(), "half a copy would hold the room that is missing"


def test_a_damaged_snapshot_is_none_and_a_lost_one_is_no_machines_trouble(tree: Path) -> None:
    frozen(tree)
    folder = tree.parent / "frozen"
    (folder / "snapshot.json").write_text('{"root": 1}')
    assert thaw(folder) is None
    with pytest.raises(ControllerError, match="is gone"), kept(WorkTree(root=tree, frozen=folder)):
        pass
    (folder / "whole.tar.gz").unlink()
    with pytest.raises(ControllerError, match="was not sent"):
        write_copy(folder, io.BytesIO(), rest=False)


def test_a_repository_that_git_does_not_list_is_watched_and_not_sent(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container the repository often is another user's: what is used where it lies needs no list."""

    def dubious(*_args: object, **_kwargs: object) -> str:
        raise MachineError("the work tree was not sent", stage="sync", why="dubious ownership")

    monkeypatch.setattr(work_tree, "_git", dubious)
    assert {entry.name for entry in frozen(tree, copy=False).entries} == set(WHOLE)
    with pytest.raises(MachineError, match="dubious ownership"):
        freeze(WorkTree(root=tree), tree.parent / "sent", copy=True)
