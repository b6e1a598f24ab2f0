"""What is brought to the machines: never something else than what lies here."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ci_dispatch.app.work_tree import work_tree
from ci_dispatch.config import Config
from ci_dispatch.config.choices import Transfer
from ci_dispatch.core.codec import replace
from ci_dispatch.core.errors import UsageError

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
