"""How a history travels between jobs: GitHub keeps it with a run's result, and the next run fetches it from there."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from queue import Empty, SimpleQueue

from ci_dispatch.app.github_target import connect, default_branch
from ci_dispatch.app.run_history import DEADLINE, bounds, file_in
from ci_dispatch.app.say import say
from ci_dispatch.app.settings import Settings
from ci_dispatch.core.errors import CiDispatchError, GitHubRefused
from ci_dispatch.fleets.actions.environment import ActionsEnvironment
from ci_dispatch.fleets.actions.history_artifact import FILE, artifact_name, candidates
from ci_dispatch.fleets.actions.rest.artifacts import ArtifactLimits, BadArtifact, fetch
from ci_dispatch.history.store import HistoryStore
from ci_dispatch.run import run_folder
from ci_dispatch.run.run_folder import RunFolder
from report_merge.render.escape import terminal

SECONDS = 60.0  # for asking GitHub and for everything that is downloaded; what has come until then is used
LIMITS = ArtifactLimits(download=100 << 20, unpacked=500 << 20, files=1)
_Answer = tuple[str, Path] | Exception | None  # of a branch, or what was the matter; None: that was all


def bring(settings: Settings, title: str, *, repository: str, branch: str) -> list[str]:
    """Take in what the last runs of the suite `title` on `branch`, and on the default branch, left on GitHub.

    Returns what stood in the way, as at most one sentence. None of it is needed: the run goes on without.
    """
    if not repository:
        return []
    answers: SimpleQueue[_Answer] = SimpleQueue()
    taken: list[str] = []
    problems: list[Exception] = []
    until = time.monotonic() + SECONDS
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:  # a download may be under way
        given = (settings, title, repository, branch, Path(scratch), answers.put)
        threading.Thread(target=_download, args=given, daemon=True).start()
        while (answer := _next(answers, until)) is not None:
            try:
                taken.append(_take_in(settings, answer))
            except Exception as error:  # noqa: BLE001  (whatever it is, it must not change the run)
                problems.append(error)
                if isinstance(error, _TooSlow):
                    break
    if taken:
        say(f"History of earlier runs: of {' and '.join(map(terminal, dict.fromkeys(taken)))}.", err=True)
    return [_sentence(problems[0])] if problems else []


class _TooSlow(GitHubRefused):
    """Nothing more is waited for."""


def _next(answers: SimpleQueue[_Answer], until: float) -> _Answer:
    try:
        return answers.get(timeout=max(0.0, until - time.monotonic()))
    except Empty:
        return _TooSlow("The history of earlier runs was not fetched", why=f"GitHub took longer than {SECONDS:.0f} s")


def _download(
    settings: Settings, title: str, repository: str, branch: str, scratch: Path, tell: Callable[[_Answer], None]
) -> None:
    try:
        github = connect(settings.config, settings.environ, repository)
        with closing(github.client):
            kept = github.artifacts_called(artifact_name(title))
            for artifact in candidates(kept, branch, default_branch(settings.root, settings.environ)):
                try:
                    fetch(github, artifact, scratch / str(artifact.id), LIMITS)
                    tell((artifact.origin.branch, scratch / str(artifact.id) / FILE))
                except CiDispatchError as error:
                    tell(error)
    except Exception as error:  # noqa: BLE001  (it is told, and the other thread goes on)
        tell(error)
    finally:
        tell(None)


def _take_in(settings: Settings, answer: tuple[str, Path] | Exception) -> str:
    """The branch it is of; raises whatever stood in the way."""
    if isinstance(answer, Exception):
        raise answer
    branch, file = answer
    if not file.is_file():
        raise BadArtifact("A history from GitHub was not used", why=f"the artifact holds no {FILE}")
    ours = file_in(settings.runs_folder)
    run_folder.make_base(settings.runs_folder)
    with HistoryStore(file, deadline=DEADLINE, called=Path(f"{FILE} from GitHub")) as other:
        if ours.exists() or not _become(other, ours):
            with HistoryStore(ours, deadline=DEADLINE) as store:
                store.add(other.records(besides=set(store.runs())), other.remembered())
                store.prune(bounds(settings.config), time.time())
    return branch


def _become(other: HistoryStore, ours: Path) -> bool:
    """Begin with it as it is, which is a hundred times faster than to merge.

    False when another process has begun meanwhile, or this place knows no hard links, which alone replace nothing.
    """
    with tempfile.TemporaryDirectory(dir=ours.parent) as folder:
        other.copy_to(Path(folder) / FILE)
        try:
            ours.hardlink_to(Path(folder) / FILE)
        except OSError:
            return False
    return True


def _sentence(error: Exception) -> str:
    if not isinstance(error, CiDispatchError):
        return f"The history of earlier runs was not fetched: {type(error).__name__}: {error}"
    return error.without_hint + (f" (try: {error.hint})" if error.hint else "")


def keep(title: str, base: Path, folder: RunFolder, environ: Mapping[str, str]) -> None:
    """In a job on GitHub: hand the history of the runs under `base` to the step that uploads it.

    Trouble costs the next run its history, and nothing else. What a fork's code had a part in is not handed on.
    """
    here, history = ActionsEnvironment(environ), file_in(base)
    if not here.takes_outputs or here.fork() or not history.exists():
        return
    copy = folder.path / FILE
    try:
        with HistoryStore(history, deadline=DEADLINE) as store:
            store.copy_to(copy)
    except CiDispatchError as error:
        say(terminal(f"note: the history was not kept for the next run: {error}"), err=True)
        return
    here.set_outputs({"history-path": str(copy), "history-name": artifact_name(title)})
