"""What `ci-dispatch dashboard` does: serve the web page of a run that is over, goes on elsewhere, or died."""

from __future__ import annotations

import signal
import threading
import webbrowser

from ci_dispatch.app.result_files import open_history, run_context
from ci_dispatch.app.say import say
from ci_dispatch.app.settings import Settings
from ci_dispatch.core.errors import ExitCode, UsageError
from ci_dispatch.run import run_folder
from ci_dispatch.run.state import RunState


def serve(
    settings: Settings,
    *,
    run: str = "",
    journal: str = "",
    speed: float | None = None,
    host: str,
    port: int,
    open_browser: bool = False,
) -> ExitCode:
    """Serve the page of `run` (the newest without one), or of that of a `journal` at `speed`, until INT or TERM.

    Raises UsageError when both are given, or the token in the environment cannot be used.
    """
    from ci_dispatch.reporters.dashboard.auth import fixed_token
    from ci_dispatch.reporters.dashboard.journal_source import JournalSource, ReplaySource
    from ci_dispatch.reporters.dashboard.service import DashboardService
    from ci_dispatch.reporters.metrics.figures import figures, prometheus
    from ci_dispatch.run.run_report import ReportCache

    history = open_history(settings.runs_folder, settings.config, settings.root, settings.environ)

    def metrics(state: RunState) -> str:
        reports = ReportCache(run_context(state.started, settings.environ), history.look_back)
        return prometheus(figures(state, reports.past(state)))

    if run and journal:
        raise UsageError("The dashboard was not started", why="RUN and --replay are two runs", hint="give one of them")
    file = run_folder.find_journal(settings.runs_folder, journal or run)
    source = ReplaySource(file, speed) if journal and speed else JournalSource(file)
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    served = DashboardService(
        source,
        host=host,
        port=port,
        token=fixed_token(settings.environ),
        metrics=metrics,
        earlier=lambda state, test: history.outcomes(
            run_context(state.started, settings.environ), test, state.started_at
        ),
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
