"""A work tree on its machine: after any interruption the next copy leaves exactly the files that were sent."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from ci_dispatch.machines.supervisor import content, trees


@pytest.fixture(autouse=True)
def _no_controller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ci_dispatch.machines.supervisor.protocol.send", lambda *_args: None)


def archive(files: dict[str, str]) -> bytes:
    """A copy of a tree; a value that begins with "-> " is a symbolic link."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            if content.startswith("-> "):
                member.type, member.linkname = tarfile.SYMTYPE, content[3:]
                tar.addfile(member)
            else:
                member.size = len(content.encode())
                tar.addfile(member, io.BytesIO(content.encode()))
    return packed.getvalue()


def state_of(files: dict[str, str]) -> str:
    """The identity of a tree with these files, as `archive` packs them."""
    return content.state_of(
        (name, content.LINK, text[3:])
        if text.startswith("-> ")
        else (name, "644", hashlib.sha256(text.encode()).hexdigest())
        for name, text in files.items()
    )


def send(root: Path, files: dict[str, str], data: bytes | None = None, *, owner: str = "run", **rest: Any) -> Path:
    """Bring a tree with these files to the machine; `data` is what comes instead of a whole copy."""
    request: dict[str, Any] = {
        "state": state_of(files),
        "owner": owner,
        "files": len(files),
        "size": sum(map(len, files.values())),
        "sha": "",
        "remote_url": "",
        "seconds": 10,
        **rest,
    }
    return Path(trees.sync(str(root), "tree", request, io.BytesIO(archive(files) if data is None else data))["tree"])


def cut(files: dict[str, str], *, after: int) -> bytes:
    """A copy of which only `after` files arrive whole: the connection breaks in the middle of the next one."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for number, (name, content) in enumerate(files.items()):
            if number == after:
                break
            member = tarfile.TarInfo(name)
            member.size = len(content.encode())
            tar.addfile(member, io.BytesIO(content.encode()))
        end = tar.offset
    whole = gzip.compress(plain.getvalue()[:end] + os.urandom(100_000))
    return whole[:-50_000]


def files_of(tree: Path) -> set[str]:
    return {str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_symlink() or not path.is_dir()}


def test_a_file_deleted_before_an_interrupted_copy_is_gone_after_the_next(tmp_path: Path) -> None:
    """A stale conftest.py changes what the tests do, for ever."""
    tree = send(tmp_path, {"a.py": "1", "conftest.py": "old"})
    with pytest.raises(OSError, match="cannot be used"):
        send(tmp_path, {"a.py": "2", "b.py": "2"}, cut({"a.py": "2", "b.py": "2"}, after=1))
    assert send(tmp_path, {"a.py": "2", "b.py": "2"}) == tree
    assert files_of(tree) == {"a.py", "b.py"}


def test_a_file_that_only_the_interrupted_copy_had_is_gone_after_the_next(tmp_path: Path) -> None:
    send(tmp_path, {"a.py": "1"})
    with pytest.raises(OSError, match="cannot be used"):
        send(tmp_path, {"a.py": "2", "b.py": "2", "c.py": "2"}, cut({"a.py": "2", "b.py": "2", "c.py": "2"}, after=2))
    tree = send(tmp_path, {"a.py": "3", "c.py": "3"})
    assert files_of(tree) == {"a.py", "c.py"}


def test_the_very_first_copy_may_be_the_interrupted_one(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="cannot be used"):
        send(tmp_path, {"a.py": "1", "b.py": "1"}, cut({"a.py": "1", "b.py": "1"}, after=1))
    assert files_of(send(tmp_path, {"b.py": "2"})) == {"b.py"}


def test_an_interrupted_copy_is_never_taken_for_a_whole_one(tmp_path: Path) -> None:
    send(tmp_path, {"a.py": "1"})
    for _ in range(2):
        with pytest.raises(OSError, match="cannot be used"):
            send(tmp_path, {"a.py": "2", "b.py": "2"}, cut({"a.py": "2", "b.py": "2"}, after=1))
    tree = send(tmp_path, {"a.py": "1"})
    assert {name: (tree / name).read_text() for name in files_of(tree)} == {"a.py": "1"}


def test_what_the_machine_installed_itself_stays(tmp_path: Path) -> None:
    tree = send(tmp_path, {"a.py": "1"})
    (tree / "node_modules").mkdir()
    (tree / "node_modules" / "x.js").write_text("x")
    send(tmp_path, {"b.py": "2"})
    assert files_of(tree) == {"b.py", "node_modules/x.js"}


def test_a_name_with_a_line_end_is_deleted_and_no_other_in_its_place(tmp_path: Path) -> None:
    tree = send(tmp_path, {"a\nb": "1", "100%0A": "1"})
    (tree / "b").write_text("installed by the machine")
    send(tmp_path, {"c": "2"})
    assert files_of(tree) == {"b", "c"}


def test_a_folder_that_becomes_a_link_to_its_new_name_loses_nothing(tmp_path: Path) -> None:
    """Deleting old/x.py would go through the link and delete new/x.py."""
    tree = send(tmp_path, {"old/x.py": "1"})
    send(tmp_path, {"new/x.py": "2", "old": "-> new"})
    assert files_of(tree) == {"new/x.py", "old"}
    assert (tree / "old" / "x.py").read_text() == "2"


def test_nothing_outside_of_the_tree_is_deleted_through_a_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x.py").write_text("mine")
    send(tmp_path, {"lib/x.py": "1"})
    send(tmp_path, {"lib": f"-> {outside}"})
    assert (outside / "x.py").read_text() == "mine"


@pytest.mark.parametrize("before", ["content", "-> elsewhere", "-> ."])
def test_a_file_or_link_becomes_a_folder(tmp_path: Path, before: str) -> None:
    tree = send(tmp_path, {"lib": before, "elsewhere/y.py": "1"})
    send(tmp_path, {"lib/x.py": "2", "elsewhere/y.py": "2"})
    assert not (tree / "lib").is_symlink()
    assert files_of(tree) == {"lib/x.py", "elsewhere/y.py"}


@pytest.mark.parametrize("name", ["../escape", "{outside}/escape", "a/../../escape", "./../escape", "..", "a//b"])
def test_a_copy_can_put_nothing_outside_of_the_tree(tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    before = set(tmp_path.rglob("*"))
    with pytest.raises(OSError, match="outside of the work tree"):
        send(tmp_path, {name.format(outside=outside): "1"})
    assert not {path for path in set(tmp_path.rglob("*")) - before if path.is_file() and "escape" in path.name}


def test_a_copy_writes_through_no_link_of_its_own(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    with pytest.raises(OSError, match="not the one that was announced"):
        send(tmp_path, {"link": f"-> {outside}", "link/escape": "1"})
    assert not list(outside.iterdir())
    assert files_of(tmp_path / "trees" / "tree") == {"link/escape"}
