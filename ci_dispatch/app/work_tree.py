"""What is tested, and brought to machines: the work tree as it lies here when the run begins, kept in its folder."""

from __future__ import annotations

import base64
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from ci_dispatch.config import Config
from ci_dispatch.config.choices import Transfer
from ci_dispatch.core.codec import replace
from ci_dispatch.core.errors import CiDispatchError, UsageError
from ci_dispatch.core.model import Connection
from ci_dispatch.machines import frozen_tree
from ci_dispatch.machines import work_tree as work_tree_files
from ci_dispatch.machines.frozen_tree import Snapshot
from ci_dispatch.machines.local import folder_of
from ci_dispatch.machines.tree_watch import TreeWatch
from ci_dispatch.run.ports import WorkTree
from ci_dispatch.run.run_folder import RunFolder
from ci_dispatch.run.state import RunState

GIT_SECONDS = 30
KEEP_SECONDS = 7 * 24 * 3600.0  # the copy of a run that its controller left and nobody has resumed


def work_tree(config: Config, root: Path) -> WorkTree:
    """The tree under `root`, by `run.transfer`.

    Raises UsageError when machines would fetch something else than what lies here: changes that are not committed.
    """
    tree = WorkTree(root=root, exclude=(*_own_folders(config, root), *config.suite.exclude))
    if config.run.transfer is Transfer.COPY:
        return tree
    if changed := _git(root, "status", "--porcelain", "--untracked-files=no"):
        raise UsageError(
            "The work tree was not sent",
            why=f"transfer is git, and {len(changed.splitlines())} files have changes that no commit has",
            hint='commit and push them, or set transfer = "copy" in the section [run]',
        )
    if inside := _git(root, "rev-parse", "--show-prefix"):
        raise UsageError(
            "The work tree was not sent",
            why=f"transfer is git, and {root} is not a repository but the folder {inside} of one",
            hint='move ci-dispatch.toml to the repository\'s root, or set transfer = "copy" in the section [run]',
        )
    return _fetchable(replace(tree, sha=_git(root, "rev-parse", "HEAD")))


def _fetchable(tree: WorkTree) -> WorkTree:
    url, authorization = without_credentials(_git(tree.root, "remote", "get-url", "origin"))
    return replace(tree, remote_url=url, authorization=authorization)


def without_credentials(url: str) -> tuple[str, str]:
    """An address that anybody may see, and the HTTP header for whom it lets in, "" for none.

    "" as the address when its secret cannot be taken out of it: machines get a copy then.
    """
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    if "://" not in url or not at:
        return ("" if parts.query else url), ""
    if parts.scheme not in ("http", "https"):
        return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}@{host}", query="")), ""
    name, _, password = user.partition(":")
    token = base64.b64encode(f"{unquote(name)}:{unquote(password)}".encode()).decode()
    return ("" if parts.query else urlunsplit(parts._replace(netloc=host))), f"Basic {token}"


def stamps(config: Config, root: Path) -> dict[str, tuple[int, ...]]:
    """How the files of the tree lie now, without reading them. Raises UsageError or MachineError."""
    return work_tree_files.stamps(work_tree(config, root), sent=_is_sent(config))


def freeze(config: Config, root: Path, folder: RunFolder) -> Snapshot:
    """Keep what lies under `root` for a new run. Raises UsageError, MachineError or ControllerError."""
    _forget_old(folder)
    return frozen_tree.freeze(work_tree(config, root), folder.tree, copy=_is_sent(config))


def frozen(config: Config, root: Path, folder: RunFolder, state: RunState) -> WorkTree:
    """The tree that the run in `folder` began with.

    Raises UsageError when it is gone, or when tests are left that could only run here, in another.
    """
    here = frozen_tree.thaw(folder.tree) or _frozen_again(config, root, folder, state)
    if state.ledger.undecided and not _is_sent(config) and (changed := TreeWatch(here).changed()):
        raise UsageError(
            "The run was not resumed",
            why=f"the work tree has changed since it began: {changed}",
            hint="undo that (git stash) and resume it, or start a new run",
        )
    exclude = (*_own_folders(config, root), *config.suite.exclude)
    tree = WorkTree(root=root, sha=here.sha, exclude=exclude, frozen=folder.tree, run=folder.id)
    if not here.sha:
        return tree
    try:
        return _fetchable(tree)
    except UsageError:  # machines get a copy
        return tree


def _frozen_again(config: Config, root: Path, folder: RunFolder, state: RunState) -> Snapshot:
    """For a run whose copy is gone, or that an earlier version began: the tree as it lies here, if it is the same."""
    shutil.rmtree(folder.tree, ignore_errors=True)
    here = frozen_tree.freeze(work_tree(config, root), folder.tree, copy=_is_sent(config))
    if state.started and state.started.tree not in ("", here.state):
        forget(folder)
        raise UsageError(
            "The run cannot be resumed",
            why=f"the copy of its work tree is gone from {folder.path}, and the tree has changed since it began",
            hint="start a new one",
        )
    return here


def forget(folder: RunFolder) -> None:
    """The run is over."""
    shutil.rmtree(folder.tree, ignore_errors=True)


def _forget_old(folder: RunFolder) -> None:
    for old in map(RunFolder, folder.path.parent.iterdir()):
        with suppress(OSError, CiDispatchError):  # it has none, or is being driven
            if time.time() - old.tree.stat().st_mtime > KEEP_SECONDS:
                with old.held():
                    forget(old)


def _is_sent(config: Config) -> bool:
    return any(machine.connection is not Connection.LOCAL for machine in config.fleet)


def _own_folders(config: Config, root: Path) -> list[str]:
    """Where we write while the tests run, when that is in the tree."""
    ours = [root / config.run.folder]
    ours += [folder_of(machine) for machine in config.fleet if machine.connection is Connection.LOCAL]
    top = root.resolve()
    return [str(path.relative_to(top)) for path in map(Path.resolve, ours) if top in path.parents]


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
