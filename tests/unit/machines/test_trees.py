"""A work tree on its machine: after any interruption the next copy leaves exactly the files that were sent."""

from __future__ import annotations

import errno
import fcntl
import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ci_dispatch.machines.supervisor import content, tree_copy, trees


@pytest.fixture(autouse=True)
def _no_controller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ci_dispatch.machines.supervisor.protocol.send", lambda *_args: None)


def archive(files: dict[str, str], modes: dict[str, str] | None = None) -> bytes:
    """A copy of a tree; a value that begins with "-> " is a symbolic link."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            if content.startswith("-> "):
                member.type, member.linkname = tarfile.SYMTYPE, content[3:]
                tar.addfile(member)
            else:
                member.size, member.mode = len(content.encode()), int((modes or {}).get(name, "644"), 8)
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


def request_for(files: dict[str, str]) -> dict[str, Any]:
    return {
        "state": state_of(files),
        "owner": "run",
        "files": len(files),
        "size": sum(map(len, files.values())),
        "sha": "",
        "remote_url": "",
        "seconds": 10,
    }


def send(root: Path, content: dict[str, str], data: bytes | None = None, **given: Any) -> Path:
    """Bring a tree with these files to the machine; `data` is what comes instead of a whole copy."""
    copy = io.BytesIO(archive(content) if data is None else data)
    return Path(trees.sync(str(root), "tree", request_for(content) | given, copy)["tree"])


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


# -- whose it is -----------------------------------------------------------------------------------------------------


def release(root: Path, owner: str) -> None:
    trees.release(str(root), "tree", {"owner": owner})


def test_runs_with_different_content_get_trees_of_their_own(tmp_path: Path) -> None:
    """The first one lost the machine: its tree was another's when its next job began."""
    paths = {owner: send(tmp_path, {"a.py": owner}, owner=owner) for owner in map(str, range(12))}
    assert len(set(paths.values())) == 12
    for owner, path in paths.items():
        assert (path / "a.py").read_text() == owner
        assert send(tmp_path, {"a.py": owner}, b"not asked for", owner=owner) == path


def test_a_tree_that_was_released_is_brought_up_to_date_in_place(tmp_path: Path) -> None:
    """What was installed in it stays, and needs no other place on the disk."""
    first = send(tmp_path, {"a.py": "1"}, owner="first")
    second = send(tmp_path, {"a.py": "2"}, owner="second")
    (first / "node_modules").mkdir()
    release(tmp_path, "first")
    third = send(tmp_path, {"a.py": "3"}, owner="third")
    assert third == first != second
    assert (third / "node_modules").is_dir()
    assert (second / "a.py").read_text() == "2"


def test_the_newest_free_tree_is_taken_and_one_with_the_same_content_before_it(tmp_path: Path) -> None:
    kept = {text: send(tmp_path, {"a.py": text}, owner=text) for text in "123"}
    for age, text in enumerate("231"):
        release(tmp_path, text)
        os.utime(f"{kept[text]}.state", (1e9 * 2 + age, 1e9 * 2 + age))
    assert send(tmp_path, {"a.py": "2"}, b"not asked for", owner="again") == kept["2"]
    assert send(tmp_path, {"a.py": "4"}, owner="new") == kept["1"]


def test_two_runs_with_the_same_content_do_not_share_a_tree(tmp_path: Path) -> None:
    """One's `npm ci` would empty node_modules under the other's tests."""
    assert send(tmp_path, {"a.py": "1"}, owner="first") != send(tmp_path, {"a.py": "1"}, owner="second")


def test_a_tree_whose_run_died_is_free_when_its_lease_has_ended(tmp_path: Path) -> None:
    tree = send(tmp_path, {"a.py": "1"}, owner="first")
    ago = time.time() - tree_copy.TREE_LEASE_SECONDS - 1
    os.utime(f"{tree}.owner", (ago, ago))
    assert send(tmp_path, {"a.py": "2"}, owner="second") == tree
    assert send(tmp_path, {"a.py": "1"}, owner="first") != tree, "it comes back, and gets another"


def test_a_tree_in_which_a_job_runs_is_left_alone_whatever_its_lease_says(tmp_path: Path) -> None:
    tree = send(tmp_path, {"a.py": "1"}, owner="first")
    release(tmp_path, "first")
    with Path(f"{tree}.lock").open() as job:
        fcntl.flock(job, fcntl.LOCK_SH)
        assert send(tmp_path, {"a.py": "2"}, owner="second") != tree
    assert send(tmp_path, {"a.py": "3"}, owner="third") == tree


def test_a_job_and_its_own_run_do_not_stand_in_each_others_way(tmp_path: Path) -> None:
    tree = send(tmp_path, {"a.py": "1"})
    with Path(f"{tree}.lock").open() as job:
        fcntl.flock(job, fcntl.LOCK_SH)
        assert send(tmp_path, {"a.py": "1"}, b"not asked for") == tree


def test_what_tests_have_changed_in_a_tree_is_brought_anew_for_the_next_run(tmp_path: Path) -> None:
    tree = send(tmp_path, {"a.py": "1", "b.py": "1"}, owner="first")
    (tree / "a.py").write_text("changed by a test")
    (tree / "b.py").unlink()
    assert send(tmp_path, {"a.py": "1", "b.py": "1"}, b"not asked for", owner="first") == tree, "its own doing"
    release(tmp_path, "first")
    assert send(tmp_path, {"a.py": "1", "b.py": "1"}, owner="second") == tree
    assert {name: (tree / name).read_text() for name in files_of(tree)} == {"a.py": "1", "b.py": "1"}


def test_each_making_of_a_content_has_a_name_and_a_second_of_its_own(tmp_path: Path) -> None:
    """`__pycache__` stays from run to run, and Python compares sizes and seconds."""
    generations, times = [], []
    for text in "123":
        tree = send(tmp_path, {"a.py": text})
        times.append(int((tree / "a.py").stat().st_mtime))
        [found] = (tmp_path / "trees").glob("*.files")
        generations.append(json.loads(found.read_text())["time"])
    assert len(set(times)) == len(set(generations)) == 3


def test_trees_that_nobody_has_used_for_long_are_deleted_also_with_read_only_folders(tmp_path: Path) -> None:
    old = send(tmp_path, {"deep/a.py": "1"}, owner="first")
    used = send(tmp_path, {"a.py": "2"}, owner="second")
    release(tmp_path, "first")
    (old / "deep").chmod(0o500)
    ago = time.time() - trees.KEEP_TREE_SECONDS - 1
    for tree in (old, used):
        os.utime(f"{tree}.state", (ago, ago))
    trees.sync(str(tmp_path), "other", request_for({}), io.BytesIO(archive({})))
    assert sorted(path.name for path in (tmp_path / "trees").iterdir() if "other" not in path.name) == sorted(
        path.name for path in (tmp_path / "trees").glob(f"{used.name}*")
    )


def test_a_full_disk_costs_the_trees_that_nobody_needs_oldest_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {text: send(tmp_path, {"a.py": text}, owner=text) for text in "1234"}
    for age, text in enumerate("213"):
        release(tmp_path, text)
        os.utime(f"{made[text]}.state", (1e9 * 2 + age, 1e9 * 2 + age))
    gone: list[str] = []
    free = {0: 5, 1: 5}  # GB, by how many are gone: the second removal is enough

    def disk_usage(_folder: str) -> Any:
        gone[:] = [text for text, tree in made.items() if not tree.exists()]
        return shutil._ntuple_diskusage(total=100 << 30, used=0, free=free.get(len(gone), 50) << 30)

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    send(tmp_path, {"b.py": "5"}, owner="5")
    assert gone == ["1", "2"]
    assert made["4"].exists(), "somebody needs it"


def test_a_tree_that_does_not_fit_is_refused_before_it_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = shutil._ntuple_diskusage(total=100 << 30, used=0, free=1 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: full)
    with pytest.raises(OSError, match="No space left on device: 'the work tree has 2097152 KB, and 1024 KB are free"):
        send(tmp_path, {"a.py": "1"}, b"not asked for", size=2 << 30)


# -- its files -------------------------------------------------------------------------------------------------------


@pytest.fixture
def _private_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_private_umask")
def test_files_have_the_permissions_that_they_had_under_any_umask(tmp_path: Path) -> None:
    modes = {"a.py": "664", "b/run.sh": "775", "b/c/secret": "600", "b/c/read-only": "444"}
    state = content.state_of((name, mode, hashlib.sha256(b"1").hexdigest()) for name, mode in modes.items())
    tree = send(tmp_path, dict.fromkeys(modes, "1"), archive(dict.fromkeys(modes, "1"), modes=modes), state=state)
    assert {name: f"{(tree / name).stat().st_mode & 0o777:o}" for name in modes} == modes
    assert {f"{(tree / folder).stat().st_mode & 0o777:o}" for folder in ("b", "b/c")} == {"755"}
    assert f"{tree.stat().st_mode & 0o777:o}" == "700"


@pytest.fixture
def _nobody_is_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests: a file in a read-only folder, and `immutable`, cannot be deleted."""
    unlink = os.unlink

    def careful(path: str) -> None:
        if path.endswith("immutable") or not os.stat(os.path.dirname(path)).st_mode & 0o200:  # noqa: PTH116, PTH120
            raise PermissionError(errno.EPERM, "Operation not permitted", path)
        unlink(path)

    monkeypatch.setattr(os, "unlink", careful)


@pytest.mark.usefixtures("_nobody_is_root")
def test_a_stale_file_in_a_folder_that_tests_have_made_read_only_is_deleted(tmp_path: Path) -> None:
    """It stayed for ever: what could not be deleted was forgotten."""
    tree = send(tmp_path, {"deep/a.py": "1", "old/conftest.py": "old"})
    (tree / "old").chmod(0o500)
    send(tmp_path, {"deep/a.py": "1"})
    assert files_of(tree) == {"deep/a.py"}


@pytest.mark.usefixtures("_nobody_is_root")
def test_a_stale_file_that_cannot_be_deleted_is_an_error_and_not_forgotten(tmp_path: Path) -> None:
    tree = send(tmp_path, {"a.py": "1", "immutable": "old"})
    for _ in range(2):
        with pytest.raises(PermissionError):
            send(tmp_path, {"a.py": "1"})
    assert "immutable" in Path(f"{tree}.state").read_text()


# -- limits ----------------------------------------------------------------------------------------------------------


def test_a_copy_of_more_than_was_announced_is_refused(tmp_path: Path) -> None:
    files = {"a.py": "1" * 100, "b.py": "2" * 100}
    with pytest.raises(OSError, match="unpacks to more than 150 bytes"):
        send(tmp_path, files, size=150)
    with pytest.raises(OSError, match="more than 1 files"):
        send(tmp_path, files, files=1)


def test_a_copy_with_other_content_than_announced_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="not the one that was announced"):
        send(tmp_path, {"a.py": "1"}, archive({"a.py": "2"}))
    assert send(tmp_path, {"a.py": "2"}) == tmp_path / "trees" / "tree", "it was not taken for whole"


def test_a_file_system_without_locks_is_an_error_and_no_search_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match="No locks available"):
        send(tmp_path, {"a.py": "1"})
