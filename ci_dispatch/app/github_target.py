"""Which repository, branch and token a GitHub command means, and what to set when it cannot be told."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from ci_dispatch.app.settings import Settings
from ci_dispatch.config import Config
from ci_dispatch.core.errors import NothingToRun, UsageError
from ci_dispatch.fleets.actions.environment import ActionsEnvironment
from ci_dispatch.fleets.actions.rest.api import GitHubApi
from ci_dispatch.fleets.actions.rest.client import RestClient
from ci_dispatch.fleets.actions.rest.server import Server, server_at
from ci_dispatch.fleets.actions.run.dispatch_state import DispatchFile, DispatchTarget, load
from ci_dispatch.run.run_folder import RunFolder, all_runs

_REMOTE = re.compile(r"[:/]([A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+?)(?:\.git)?/?$")
GIT_SECONDS = 10


def refuse_strangers(settings: Settings) -> None:
    """Raises NothingToRun for code that nobody who may write here has read, unless that is allowed."""
    here, config = ActionsEnvironment(settings.environ), settings.config.github
    if (fork := here.fork()) and not config.allow_forks:
        raise NothingToRun(
            "Nothing was dispatched",
            why=f"this pull request comes from {fork}, and code from there does not run on this project's own machines",
            hint="a maintainer who has read it can push it to a branch here; thank you for the pull request",
        )
    if here.dependabot() and not config.allow_dependabot:
        raise NothingToRun(
            "Nothing was dispatched",
            why="Dependabot wrote this, and nobody here has read what the new version executes",
            hint="read it and push a commit to its branch's copy, or allow it: `allow-dependabot: true`",
        )


def connect(config: Config, environ: Mapping[str, str], repository: str) -> GitHubApi:
    """A client for one thread; close its `client` when done."""
    return GitHubApi(RestClient(server_of(config, environ), token_of(config, environ), repository))


def server_of(config: Config, environ: Mapping[str, str]) -> Server:
    return server_at(config.github.api_url or ActionsEnvironment(environ).api_url)


def token_of(config: Config, environ: Mapping[str, str]) -> str:
    name = config.github.token_env
    if token := environ.get(name, "").strip():
        return token
    raise UsageError(
        "GitHub cannot be asked",
        why=f"the variable {name} holds no token",
        hint=f"in a workflow: `token: ${{{{ github.token }}}}` for the action; from your desk: "
        f"export {name}=$(gh auth token)",
    )


def target_of(settings: Settings) -> DispatchTarget:
    """Where to dispatch, and what. Raises UsageError when repository or branch cannot be told."""
    here, config = ActionsEnvironment(settings.environ), settings.config.github
    ref = config.ref or here.ref or git_answer(settings.root, "symbolic-ref", "--short", "--quiet", "HEAD")
    if not ref:
        raise UsageError(
            "Nothing was dispatched",
            why="it cannot be told on which branch: this is no branch's working tree",
            hint="name one that GitHub has: --ref BRANCH",
        )
    repository, commit = repository_of(settings), commit_of(settings)
    return DispatchTarget(repository=repository, workflow=config.workflow, ref=ref, commit=commit)


def commit_of(settings: Settings) -> str:
    """The commit that is checked out here, or else the one that GitHub started this job for; empty: nobody can tell."""
    return checked_out(settings.root) or ActionsEnvironment(settings.environ).commit


def checked_out(root: Path) -> str:
    """The commit of the work tree around `root`, that of the outermost repository; empty when git cannot tell."""
    outer = git_answer(root, "rev-parse", "--show-superproject-working-tree")
    return git_answer(Path(outer) if outer else root, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")


def unpublished(root: Path, commit: str) -> list[str]:
    """What of this work tree no runner of GitHub's will see, as warnings."""
    notes = []
    if git_answer(root, "status", "--porcelain", "--untracked-files=no"):
        notes.append(f"what is not committed here is not tested: every runner checks out {commit[:12]}")
    if git_answer(root, "remote") and not git_answer(root, "branch", "--remotes", "--contains", commit):
        notes.append(f"git knows no remote branch with commit {commit[:12]}: push it, or no runner can check it out")
    return notes


def repository_of(settings: Settings) -> str:
    name = settings.config.github.repository or ActionsEnvironment(settings.environ).repository
    if not name:
        found = _REMOTE.search(git_answer(settings.root, "remote", "get-url", "origin"))
        name = found[1] if found else ""
    if not name:
        raise UsageError(
            "GitHub cannot be asked",
            why="git's origin does not say which repository is meant",
            hint="--repository OWNER/NAME",
        )
    return name


def find_run(settings: Settings, name: str) -> tuple[RunFolder, DispatchFile] | int:
    """A run folder that was dispatched, or the id of a GitHub run that no folder here knows.

    Raises UsageError when `name` is neither.
    """
    number = run_number(name)
    for folder in reversed(_folders(settings)):
        dispatched = load(folder.path)
        if dispatched is None:
            continue
        if not name or folder.id == name or number in {saved.run for saved in dispatched.dispatches} - {None}:
            return folder, dispatched
    if number is not None:
        return number
    raise UsageError(
        f"There is no dispatched run {name}" if name else "There is no dispatched run yet",
        why="it is no run folder here and no GitHub run's id or address" if name else "none is kept here",
        hint="the number in the address of the worker run: .../actions/runs/NUMBER",
    )


def run_number(name: str) -> int | None:
    """GitHub's id in `name`, which may be the id itself or the address of the run."""
    found = re.search(r"/actions/runs/(\d+)", name) or re.fullmatch(r"(\d+)", name)
    return int(found[1]) if found else None


def _folders(settings: Settings) -> list[RunFolder]:
    return all_runs(settings.root / settings.config.run.folder)


def repository_root(settings: Settings) -> Path:
    """Where `.github` is: the root of git's work tree, else the folder of the configuration."""
    top = git_answer(settings.root, "rev-parse", "--show-toplevel")
    return Path(top) if top else settings.root


def default_branch(root: Path, environ: Mapping[str, str]) -> str:
    """As GitHub's event names it, or else git here."""
    return ActionsEnvironment(environ).default_branch or default_branch_of(root)


def default_branch_of(root: Path) -> str:
    """The default branch as git here knows it: the remote's; else main or master; else the one that is checked out."""
    if remote := git_answer(root, "symbolic-ref", "--short", "--quiet", "refs/remotes/origin/HEAD"):
        return remote.removeprefix("origin/")
    known = git_answer(root, "for-each-ref", "--format=%(refname:short)", "refs/heads/main", "refs/heads/master")
    return known.partition("\n")[0] or git_answer(root, "symbolic-ref", "--short", "--quiet", "HEAD") or "main"


def git_answer(root: Path, *arguments: str) -> str:
    """What git says without an error, empty when it has no answer."""
    anybodys = ["-c", "safe.directory=*"]  # a job in a container is root in a folder of its host's user
    command: Iterable[str] = ["git", *anybodys, "-C", str(root), *arguments]
    try:
        answer = subprocess.run(list(command), capture_output=True, text=True, check=False, timeout=GIT_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""
