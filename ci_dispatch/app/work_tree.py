"""What is brought to the machines: the work tree as it lies here, or a commit they fetch themselves."""

from __future__ import annotations

import subprocess
from pathlib import Path

from ci_dispatch.config import Config
from ci_dispatch.config.choices import Transfer
from ci_dispatch.core.errors import UsageError
from ci_dispatch.run.ports import WorkTree

GIT_SECONDS = 30


def work_tree(config: Config, root: Path) -> WorkTree:
    """The tree under `root`, by `run.transfer`.

    Raises UsageError when machines would fetch something else than what lies here: changes that are not committed.
    """
    exclude = (config.run.folder, *config.suite.exclude)
    if config.run.transfer is Transfer.COPY:
        return WorkTree(root=root, exclude=exclude)
    if changed := _git(root, "status", "--porcelain", "--untracked-files=no"):
        raise UsageError(
            "The work tree was not sent",
            why=f"transfer is git, and {len(changed.splitlines())} files have changes that no commit has",
            hint='commit and push them, or set transfer = "copy" in the section [run]',
        )
    url = _git(root, "remote", "get-url", "origin")
    return WorkTree(root=root, sha=_git(root, "rev-parse", "HEAD"), remote_url=url, exclude=exclude)


def _git(root: Path, *words: str) -> str:
    try:
        done = subprocess.run(
            ["git", *words], cwd=root, capture_output=True, text=True, check=True, timeout=GIT_SECONDS
        )
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", "") or str(error)
        raise UsageError(
            "The work tree was not sent",
            why=f"transfer is git, and `git {' '.join(words)}` failed: {said.strip()}",
            hint='run it in a clone with a remote called origin, or set transfer = "copy" in the section [run]',
        ) from error
    return done.stdout.strip()
