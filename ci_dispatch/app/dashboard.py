"""What `ci-dispatch dashboard` does: serve the web page of a run that is over, goes on elsewhere, or died."""

from __future__ import annotations

import re
import signal
import threading
import webbrowser
from collections.abc import Callable, Mapping
from pathlib import Path

from ci_dispatch.app import result_files
from ci_dispatch.app.recorded import journal_of
from ci_dispatch.app.say import say
from ci_dispatch.app.settings import Settings
from ci_dispatch.core.errors import ExitCode, UsageError
from ci_dispatch.reporters import metrics
from ci_dispatch.run import run_folder
from ci_dispatch.run.state import RunState

TOKEN_VARIABLE = "CI_DISPATCH_DASHBOARD_TOKEN"  # noqa: S105  its name, not its value
TOKEN_LENGTH = 16


def serve(
    settings: Settings,
    *,
    run: str = "",
    journal: Path | None = None,
    speed: float | None = None,
    host: str,
    port: int,
    open_browser: bool = False,
) -> ExitCode:
    """Serve the page of `run` (the newest without one), or of a `journal` at `speed`, until INT or TERM.

    Raises UsageError when both are given, or the token in the environment cannot be used.
    """
    from ci_dispatch.reporters.dashboard.follow import JournalTail, Replay
    from ci_dispatch.reporters.dashboard.service import Dashboard

    if run and journal:
        raise UsageError("The dashboard was not started", why="RUN and --replay are two runs", hint="give one of them")
    file = journal_of(journal) if journal else run_folder.find(settings.runs_folder, run).journal
    source = Replay(file, speed) if journal and speed else JournalTail(file)
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    served = Dashboard(
        source, host=host, port=port, token=fixed_token(settings.environ), metrics=live_metrics(settings.environ)
    )
    served.start()
    try:
        say(f"Dashboard: {served.url}\nCtrl-C ends it.")
        if open_browser:
            webbrowser.open(served.url)
        while not stopped.wait(0.5) and not served.failure:
            pass
    finally:
        served.stop()
    if served.failure:
        raise RuntimeError(served.failure)
    return ExitCode.PASSED


def live_metrics(environ: Mapping[str, str]) -> Callable[[RunState], str]:
    """What /metrics shows of a run that goes on."""
    return lambda state: metrics.text(state, result_files.context(state, environ))


def fixed_token(environ: Mapping[str, str]) -> str:
    """The token of CI_DISPATCH_DASHBOARD_TOKEN, with which a link outlives a restart; empty: make a new one.

    Raises UsageError for one that is short or has characters that do not belong into a link.
    """
    token = environ.get(TOKEN_VARIABLE, "")
    if token and (len(token) < TOKEN_LENGTH or not re.fullmatch(r"[\w~-]+", token, re.ASCII)):
        raise UsageError(
            f"{TOKEN_VARIABLE} cannot be used as a token",
            why=f"it needs {TOKEN_LENGTH} or more of the characters A-Z a-z 0-9 _ ~ -",
            hint="`openssl rand -hex 16` makes a good one; without the variable a new token is made",
        )
    return token
