"""What is brought to the machines: never something else than what lies here."""

from __future__ import annotations

import base64
import os
import subprocess
from pathlib import Path

import pytest

from ci_dispatch.app.work_tree import freeze, without_credentials, work_tree
from ci_dispatch.config import Config
from ci_dispatch.config.choices import Transfer
from ci_dispatch.core.codec import replace
from ci_dispatch.core.errors import UsageError
from ci_dispatch.core.model import Connection, MachineName, MachineSpec, RunId
from ci_dispatch.run import run_folder

BY_GIT = replace(Config(), run=replace(Config().run, transfer=Transfer.GIT))


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    done = subprocess.run(["git", *identity, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "--quiet", "--message", "one")
    git(tmp_path, "remote", "add", "origin", "https://example.org/shop.git")
    return tmp_path


def test_a_copy_is_the_tree_without_runs_and_what_was_excluded(tmp_path: Path) -> None:
    config = replace(Config(), suite=replace(Config().suite, exclude=("*.mp4",)))
    tree = work_tree(config, tmp_path)
    assert (tree.sha, tree.exclude) == ("", (".ci-dispatch", "*.mp4"))


def test_by_git_machines_fetch_the_commit_that_lies_here(clone: Path) -> None:
    tree = work_tree(BY_GIT, clone)
    assert tree.sha == git(clone, "rev-parse", "HEAD")
    assert tree.remote_url == "https://example.org/shop.git"


def test_changes_no_commit_has_are_not_left_behind_silently(clone: Path) -> None:
    (clone / "a").write_text("2")
    with pytest.raises(UsageError, match="not sent") as refused:
        work_tree(BY_GIT, clone)
    assert "1 files have changes" in str(refused.value)


def test_a_folder_that_is_no_clone_is_refused_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not sent") as refused:
        work_tree(BY_GIT, tmp_path)
    assert 'transfer = "copy"' in str(refused.value)


@pytest.mark.parametrize(
    ("address", "url", "user"),
    [
        ("https://user:t%40ken@host/a.git", "https://host/a.git", "user:t@ken"),
        ("https://token@host:8443/a.git", "https://host:8443/a.git", "token:"),
        ("https://host/a.git", "https://host/a.git", ""),
        ("https://host/a.git?private_token=secret", "", ""),
        ("https://user:pass@host/a.git?private_token=secret", "", "user:pass"),
        ("ssh://git@host/a.git", "ssh://git@host/a.git", ""),
        ("ssh://git:pass@host/a.git", "ssh://git@host/a.git", ""),
        ("git@host:a.git", "git@host:a.git", ""),
        ("/srv/a.git", "/srv/a.git", ""),
        ("file:///srv/a.git", "file:///srv/a.git", ""),
    ],
)
def test_the_address_of_an_origin_is_one_that_anybody_may_see(address: str, url: str, user: str) -> None:
    header = f"Basic {base64.b64encode(user.encode()).decode()}" if user else ""
    assert without_credentials(address) == (url, header)


def test_the_address_of_an_origin_goes_without_its_credentials(clone: Path) -> None:
    git(clone, "remote", "set-url", "origin", "https://user:secret@example.org/shop.git")
    tree = work_tree(BY_GIT, clone)
    assert tree.remote_url == "https://example.org/shop.git"
    assert "secret" not in repr(tree)
    assert "Basic" not in repr(tree)


def test_a_folder_of_a_repository_is_no_commit(clone: Path) -> None:
    (clone / "e2e").mkdir()
    with pytest.raises(UsageError, match="not sent") as refused:
        work_tree(BY_GIT, clone / "e2e")
    assert "the folder e2e/ of one" in str(refused.value)


def test_what_we_write_ourselves_in_the_tree_is_not_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / ".home"))
    near = MachineSpec(
        name=MachineName("near"), connection=Connection.LOCAL, workdir=str(tmp_path / "machines" / "near")
    )
    here = MachineSpec(name=MachineName("here"), connection=Connection.LOCAL)
    far = MachineSpec(name=MachineName("far"), workdir=str(tmp_path / "far"))
    tree = work_tree(replace(Config(), machines=(near, here, far)), tmp_path)
    assert tree.exclude == (".ci-dispatch", "machines/near", ".home/.cache/ci-dispatch")


def test_the_copies_of_runs_that_nobody_resumes_go_after_a_week(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("1")
    folders = {name: run_folder.create(tmp_path / ".ci-dispatch", RunId(name)) for name in ("old", "driven", "young")}
    for folder in folders.values():
        freeze(Config(), tmp_path, folder)
    for name in ("old", "driven"):
        os.utime(folders[name].tree, (1e9, 1e9))
    with folders["driven"].held():
        freeze(Config(), tmp_path, run_folder.create(tmp_path / ".ci-dispatch", RunId("new")))
    assert {name for name, folder in folders.items() if folder.tree.exists()} == {"driven", "young"}
