"""The work tree on its way to a machine: what goes, what stays, what is refused."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from ci_dispatch.core.errors import ControllerError
from ci_dispatch.core.model import Ended
from ci_dispatch.machines import frozen_tree
from ci_dispatch.machines.report_archive import unpack
from ci_dispatch.machines.ssh.machine import SshMachine
from ci_dispatch.machines.work_tree import files_of
from ci_dispatch.run.ports import MachineError, WorkTree
from tests.fleet.fixtures import Loopback
from tests.fleet.recorder import Recorder, Running, job, until


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "a.py").write_text("a")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "link").symlink_to("src/a.py")
    (folder / "node_modules").mkdir()
    (folder / "node_modules" / "big.js").write_text("big")
    return folder


@pytest.fixture
def machine(loopback: Loopback, tmp_path: Path) -> Iterator[SshMachine]:
    machine = loopback.machine(workdir=tmp_path / "far")
    yield machine
    machine.close()


def arrived(machine: SshMachine) -> set[str]:
    root = Path(machine.place("x").tree)
    return {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}


def names(tree: WorkTree) -> tuple[str, ...]:
    return tuple(files_of(tree, sent=True))


def state(tree: Path) -> str:
    with frozen_tree.kept(WorkTree(root=tree)) as (here, _):
        return here.state


def git(folder: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@t", *words]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def nobody_holds(lock: Path) -> bool:
    with lock.open() as file, contextlib.suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


@pytest.mark.needs("sshd")
def test_files_modes_and_links_arrive_and_dependencies_stay_where_they_are(machine: SshMachine, tree: Path) -> None:
    machine.sync(WorkTree(root=tree), 20)
    there = Path(machine.place("x").tree)
    assert arrived(machine) == {"src/a.py", "run.sh", "link"}
    assert os.access(there / "run.sh", os.X_OK)
    assert (there / "link").readlink() == Path("src/a.py")
    (there / "node_modules").mkdir()
    (there / "node_modules" / "installed.js").write_text("x")
    (tree / "src" / "a.py").unlink()
    (tree / "link").unlink()
    (tree / "src" / "b.py").write_text("b")
    machine.sync(WorkTree(root=tree), 20)
    assert arrived(machine) == {"src/b.py", "run.sh", "node_modules/installed.js"}


@pytest.mark.needs("sshd")
def test_an_unchanged_tree_is_not_sent_again(machine: SshMachine, tree: Path) -> None:
    machine.sync(WorkTree(root=tree), 20)
    there = Path(machine.place("x").tree, "src", "a.py")
    written = there.stat().st_mtime_ns, there.stat().st_ino
    machine.sync(WorkTree(root=tree), 20)
    assert (there.stat().st_mtime_ns, there.stat().st_ino) == written
    (tree / "src" / "a.py").write_text("changed")
    machine.sync(WorkTree(root=tree), 20)
    assert there.read_text() == "changed"


@pytest.mark.needs("sshd")
def test_a_tree_that_a_job_is_using_is_left_alone(machine: SshMachine, tree: Path) -> None:
    machine.sync(WorkTree(root=tree), 20)
    used = machine.place("busy").tree
    running = Running(machine, job("busy", "/bin/sh", "-c", "echo in; sleep 3; cat src/a.py", cwd=used))
    until(lambda: running.recorder.out)
    (tree / "src" / "a.py").write_text("changed")
    machine.sync(WorkTree(root=tree), 20)
    assert machine.place("x").tree != used
    assert Path(machine.place("x").tree, "src", "a.py").read_text() == "changed"
    assert running.end().exit_code == 0
    assert running.recorder.out == b"in\na"


@pytest.mark.needs("sshd")
def test_a_job_does_not_begin_in_a_tree_that_has_become_another(
    machine: SshMachine, loopback: Loopback, tree: Path, tmp_path: Path
) -> None:
    machine.sync(WorkTree(root=tree), 20)
    (tree / "src" / "a.py").write_text("changed")
    other = loopback.machine(workdir=tmp_path / "far")
    other.sync(WorkTree(root=tree), 20)
    other.close()
    end = machine.run(job("late", "true", cwd=machine.place("late").tree), Recorder())
    assert end.ended is Ended.NOT_STARTED
    assert "another run has changed the work tree" in end.reason


@pytest.mark.needs("sshd")
def test_a_commit_is_checked_out_where_the_machine_can_get_it_and_copied_where_it_cannot(
    machine: SshMachine, tree: Path
) -> None:
    git(tree, "init", "-q")
    (tree / ".gitignore").write_text("node_modules\n")
    git(tree, "add", "-A")
    git(tree, "commit", "-qm", "one")
    git(tree, "config", "uploadpack.allowAnySHA1InWant", "true")
    sha = git(tree, "rev-parse", "HEAD")
    machine.sync(WorkTree(root=tree, sha=sha, remote_url=f"file://{tree}"), 30)
    there = Path(machine.place("x").tree)
    assert (there / ".git").is_dir()
    assert (there / "src" / "a.py").read_text() == "a"
    git(tree, "commit", "-qm", "two", "--allow-empty")
    second = git(tree, "rev-parse", "HEAD")
    (there / "src" / "a.py").write_text("touched by a test")
    machine.sync(WorkTree(root=tree, sha=second, remote_url="file:///nowhere"), 30)
    assert (there / "src" / "a.py").read_text() == "a"


@pytest.mark.needs("sshd")
@pytest.mark.parametrize("first", ["copy", "git"])
def test_a_copy_that_breaks_off_leaves_nothing_stale_behind(
    machine: SshMachine, tree: Path, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """A stale conftest.py stayed on the machine for ever: its name was forgotten before the copy had succeeded."""
    (tree / "conftest.py").write_text("old")
    git(tree, "init", "-q")
    (tree / ".gitignore").write_text("node_modules\n")
    git(tree, "add", "-A")
    git(tree, "commit", "-qm", "one")
    sha = git(tree, "rev-parse", "HEAD") if first == "git" else ""
    machine.sync(WorkTree(root=tree, sha=sha, remote_url=f"file://{tree}"), 30)
    (tree / "conftest.py").unlink()
    (tree / "zz-fill").write_bytes(os.urandom(500_000))
    with monkeypatch.context() as broken:
        write = frozen_tree.write_copy

        def cut(folder: Path, stream: IO[bytes], *, rest: bool) -> None:
            whole = io.BytesIO()
            write(folder, whole, rest=rest)
            stream.write(whole.getvalue()[:200_000])
            stream.flush()
            raise MachineError("the copy broke off", stage="sync")

        broken.setattr(frozen_tree, "write_copy", cut)
        with pytest.raises(MachineError, match="broke off"):
            machine.sync(WorkTree(root=tree), 20)
    there = Path(machine.place("x").tree)
    assert there.with_name(there.name + ".state").read_text().startswith("\n")  # it had begun
    until(lambda: nobody_holds(there.with_name(there.name + ".lock")))
    (tree / "zz-fill").unlink()
    machine.sync(WorkTree(root=tree), 20)
    assert Path(machine.place("x").tree) == there
    assert {name for name in arrived(machine) if not name.startswith(".git/")} == {
        ".gitignore", "src/a.py", "run.sh", "link"
    }  # fmt: skip


@pytest.mark.parametrize(
    "trouble", ["dubious ownership", "a broken index", "a repository that is gone", "another version's format"]
)
def test_a_repository_that_git_does_not_list_is_an_error_and_not_taken_for_none(
    tree: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    """Without git's list everything would go, and with it what git ignores: .env with its secrets."""
    git(tree, "init", "-q")
    (tree / ".gitignore").write_text(".env\nnode_modules\n")
    (tree / ".env").write_text("PASSWORD=1")
    git(tree, "add", "-A")
    if trouble == "dubious ownership":
        monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own way to test this
    elif trouble == "a broken index":
        (tree / ".git" / "index").write_bytes(b"broken")
    elif trouble == "a repository that is gone":  # a work tree of `git worktree`, or a submodule, that was moved
        (tree / ".git").rename(tree.parent / "elsewhere")
        (tree / ".git").write_text("gitdir: nowhere\n")
    else:
        git(tree, "config", "core.repositoryFormatVersion", "99")
    with pytest.raises(MachineError, match="not sent") as refused:
        names(WorkTree(root=tree))
    assert refused.value.stage == "sync"
    assert "git" in refused.value.why
    assert refused.value.hint
    if trouble == "dubious ownership":
        assert "dubious ownership" in refused.value.why
        assert "safe.directory" in refused.value.hint


@pytest.mark.parametrize("language", ["C", "de_DE.UTF-8"])
def test_a_folder_without_a_repository_goes_as_it_is(
    tree: Path, monkeypatch: pytest.MonkeyPatch, language: str
) -> None:
    monkeypatch.setenv("LC_ALL", language)
    monkeypatch.setenv("LANGUAGE", language[:2])
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tree.parent))
    assert names(WorkTree(root=tree)) == ("link", "run.sh", "src/a.py")


def test_without_git_a_folder_goes_as_it_is(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tree / "empty"))
    assert names(WorkTree(root=tree)) == ("link", "run.sh", "src/a.py")


def test_what_git_ignores_and_patterns_exclude_does_not_go(tree: Path) -> None:
    git(tree, "init", "-q")
    (tree / ".gitignore").write_text("*.log\nnode_modules\n")
    (tree / "x.log").write_text("x")
    (tree / "out").mkdir()
    (tree / "out" / "deep.txt").write_text("x")
    git(tree, "add", "run.sh")
    assert names(WorkTree(root=tree)) == (".gitignore", "link", "out/deep.txt", "run.sh", "src/a.py")
    assert names(WorkTree(root=tree, exclude=("out/", "*.sh"))) == (".gitignore", "link", "src/a.py")


def test_a_folder_that_git_ignores_is_not_empty(tree: Path) -> None:
    git(tree, "init", "-q")
    (tree / ".gitignore").write_text("src\n")
    assert names(WorkTree(root=tree / "src")) == ("a.py",)


def test_the_state_follows_names_modes_contents_and_links(tree: Path) -> None:
    states = {state(tree)}
    (tree / "run.sh").chmod(0o644)
    states.add(state(tree))
    (tree / "run.sh").rename(tree / "walk.sh")
    states.add(state(tree))
    (tree / "link").unlink()
    (tree / "link").symlink_to("walk.sh")
    states.add(state(tree))
    (tree / "src" / "a.py").write_text("b")
    os.utime(tree / "src" / "a.py", ns=(1, 1))
    states.add(state(tree))
    assert len(states) == 5


def test_a_tree_that_is_not_there_is_an_error_in_words(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="does not exist"):
        names(WorkTree(root=tmp_path / "nowhere"))


def packed(*members: tuple[str, bytes, bytes]) -> io.BytesIO:
    """(name, type, content or link target)"""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.type = kind
            if kind == tarfile.REGTYPE:
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
            else:
                member.linkname = content.decode()
                tar.addfile(member)
    return io.BytesIO(archive.getvalue())


def test_an_archive_can_put_nothing_outside_of_its_folder(tmp_path: Path) -> None:
    into = tmp_path / "in" / "deep"
    archive = packed(
        ("../escape", tarfile.REGTYPE, b"x"),
        (f"{tmp_path}/absolute", tarfile.REGTYPE, b"x"),
        ("a/../../escape", tarfile.REGTYPE, b"x"),
        ("out", tarfile.SYMTYPE, b".."),
        ("out/escape", tarfile.REGTYPE, b"kept inside"),
        ("hard", tarfile.LNKTYPE, b"/etc/passwd"),
        ("device", tarfile.CHRTYPE, b""),
        ("pipe", tarfile.FIFOTYPE, b""),
        ("good/report.xml", tarfile.REGTYPE, b"<x/>"),
    )
    assert unpack(archive, into) == 2
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if not path.is_dir()}
    assert found == {"in/deep/good/report.xml", "in/deep/out/escape"}


@pytest.mark.parametrize("length", [0, 10, 60, 100])
def test_an_archive_that_was_cut_is_an_error_in_words(tmp_path: Path, length: int) -> None:
    whole = packed(("a", tarfile.REGTYPE, os.urandom(5000))).getvalue()
    with pytest.raises(MachineError, match="cannot be used"):
        unpack(io.BytesIO(whole[:length]), tmp_path)


@pytest.mark.parametrize(
    ("names", "refusal"),
    [
        (["x" * 300], MachineError),
        (["a/b", "a"], MachineError),
        (["a", "a/b"], MachineError),
        (["here/file"], ControllerError),
    ],
    ids=["a name that is too long", "a folder that is a file", "a file that is a folder", "our disk takes nothing"],
)
def test_what_a_machine_names_is_its_trouble_and_a_full_disk_is_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str], refusal: type[Exception]
) -> None:
    if refusal is ControllerError:

        def full(*_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device", "here")

        monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(refusal):
        unpack(packed(*((name, tarfile.REGTYPE, b"x") for name in names)), tmp_path / "in")


def test_a_frozen_tree_that_cannot_be_read_is_not_the_machines_trouble(tmp_path: Path) -> None:
    tree = WorkTree(root=tmp_path, frozen=tmp_path / "gone", run="r")
    with pytest.raises(ControllerError, match="is gone"), frozen_tree.kept(tree):
        raise AssertionError("there is nothing to send")
    with pytest.raises(ControllerError, match="was not sent"):
        frozen_tree.write_copy(tmp_path / "gone", io.BytesIO(), rest=False)


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ci_dispatch.machines.report_archive.MAX_BYTES", 1000)
    with pytest.raises(MachineError, match="more than"):
        unpack(packed(("bomb", tarfile.REGTYPE, bytes(5000))), tmp_path)
    assert not (tmp_path / "bomb").exists()
